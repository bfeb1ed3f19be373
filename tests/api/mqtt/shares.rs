//! Guards shared subscriptions: each event goes to one member that takes more and may see it, and to another one if that is lost.

use serde_json::json;

use super::super::support::mqtt::{Connect, Message, Mqtt, packet, property};
use super::super::support::{TestServer, User, again, set_scopes, until, user_with};
use super::sessions::{keeping, reopen};
use super::{client, server_with};

/// The messages that have come by now, each acknowledged if it is to be.
pub async fn come(mqtt: &mut Mqtt, acknowledges: bool) -> Vec<Message> {
    let mut messages = Vec::new();
    mqtt.send(&[0xC0, 0]).await;
    loop {
        let packet = mqtt.packet().await.expect("a PINGRESP");
        if packet.first == 0xD0 {
            return messages;
        }
        let message = mqtt.as_message(&packet).unwrap_or_else(|| panic!("no message: {packet:?}"));
        if let Some(id) = message.id.filter(|_| acknowledges) {
            mqtt.acknowledge(id).await;
        }
        messages.push(message);
    }
}

/// What each member is given, once so many events have come together.
async fn given(members: &mut [Mqtt], number: usize) -> Vec<Vec<Message>> {
    let mut given = vec![Vec::new(); members.len()];
    until("all events", async || {
        for (member, given) in members.iter_mut().zip(&mut given) {
            given.extend(come(member, true).await);
        }
        let all: usize = given.iter().map(Vec::len).sum();
        assert!(all <= number, "{all} were given");
        (all == number).then_some(())
    })
    .await;
    for (member, given) in members.iter_mut().zip(&mut given) {
        given.extend(come(member, true).await);
    }
    given
}

fn payloads(given: &[Vec<Message>]) -> Vec<String> {
    let mut all: Vec<_> =
        given.iter().flatten().map(|message| String::from_utf8(message.payload.clone()).unwrap()).collect();
    all.sort_by_key(|payload| payload.parse::<u64>().unwrap_or_default());
    all
}

fn numbers(from: u64, until: u64) -> Vec<String> {
    (from..until).map(|number| number.to_string()).collect()
}

async fn publish(publisher: &mut Mqtt, topic: &str, from: u64, until: u64) {
    for number in from..until {
        assert_eq!(publisher.publish(topic, number.to_string().as_bytes(), false).await, 0);
    }
}

/// Clients of a user that share a filter.
async fn members(server: &TestServer, user: &User, (filter, qos): (&str, u8), number: usize) -> Vec<Mqtt> {
    let mut members = Vec::new();
    for of in 0..number {
        let mut member = client(server, if of % 2 == 0 { 5 } else { 4 }, &format!("{filter} {of}"), user).await;
        assert_eq!(member.subscribe(&[(filter, qos)]).await, [qos]);
        members.push(member);
    }
    members
}

#[tokio::test]
async fn each_event_goes_to_one_member_in_turn_on_whatever_thread_it_is() {
    let (server, alice) = server_with(&[]).await;
    for qos in [0, 1] {
        let mut members = members(&server, &alice, (&format!("$share/g{qos}/jobs/+"), qos), 8).await;
        let mut publisher = client(&server, 4, "publisher", &alice).await;
        publish(&mut publisher, "jobs/1", 0, 80).await;
        let given = given(&mut members, 80).await;
        assert_eq!(payloads(&given), numbers(0, 80), "QoS {qos}");
        assert!(
            given.iter().all(|of| (1..=30).contains(&of.len())),
            "{:?}",
            given.iter().map(Vec::len).collect::<Vec<_>>()
        );
        assert!(given.iter().flatten().all(|message| message.qos == qos && !message.retain));
    }
}

#[tokio::test]
async fn a_burst_over_many_threads_and_members_is_given_once_each() {
    let (server, alice) = server_with(&[]).await;
    let mut members = members(&server, &alice, ("$share/g/#", 1), 20).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    let mut burst = Vec::new();
    for number in 0..3000 {
        burst.extend(publisher.publish_bytes(("a", number.to_string().as_bytes()), 0, false, 0, &[]));
    }
    publisher.send(&burst).await;
    let given = given(&mut members, 3000).await;
    assert_eq!(payloads(&given), numbers(0, 3000));
}

#[tokio::test]
async fn groups_and_plain_subscriptions_each_get_everything_once() {
    let (server, alice) = server_with(&[]).await;
    let mut one = members(&server, &alice, ("$share/one/a/#", 1), 2).await;
    let mut two = members(&server, &alice, ("$share/two/a/#", 1), 3).await;
    // Its own subscription and its share are two, so that it gets what is for each.
    let mut plain = client(&server, 5, "plain", &alice).await;
    assert_eq!(plain.subscribe(&[("a/+", 1)]).await, [1]);
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    publish(&mut publisher, "a/b", 0, 12).await;
    publish(&mut publisher, "other", 0, 3).await;
    assert_eq!(payloads(&given(&mut one, 12).await), numbers(0, 12));
    assert_eq!(payloads(&given(&mut two, 12).await), numbers(0, 12));
    let mut all = [plain];
    assert_eq!(payloads(&given(&mut all, 12).await), numbers(0, 12));
}

#[tokio::test]
async fn what_a_lost_member_has_not_acknowledged_goes_to_another_and_never_twice_to_the_same() {
    let (server, alice) = server_with(&[]).await;
    let mut both = members(&server, &alice, ("$share/g/a", 1), 2).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    publish(&mut publisher, "a", 0, 10).await;
    let (mut silent, mut other) = (Vec::new(), Vec::new());
    until("all events", async || {
        silent.extend(come(&mut both[0], false).await);
        other.extend(come(&mut both[1], true).await);
        (silent.len() + other.len() == 10).then_some(())
    })
    .await;
    assert!(!silent.is_empty() && !other.is_empty(), "{} and {}", silent.len(), other.len());
    // While it is there, it may still acknowledge.
    publish(&mut publisher, "a", 10, 11).await;
    until("one more", async || {
        silent.extend(come(&mut both[0], false).await);
        other.extend(come(&mut both[1], true).await);
        (silent.len() + other.len() == 11).then_some(())
    })
    .await;
    both[0].acknowledge(silent[0].id.unwrap()).await;
    both[0].nothing_comes().await;
    drop(both.remove(0));
    let missing = silent.len() - 1;
    let again = given(&mut both, missing).await;
    // In their order.
    let payloads = |of: &[Message]| of.iter().map(|message| message.payload.clone()).collect::<Vec<_>>();
    assert_eq!(payloads(&again[0]), payloads(&silent[1..]));
    assert!(again[0].iter().all(|message| !message.dup), "it is new to this one");
}

#[tokio::test]
async fn what_is_in_flight_by_qos_2_goes_to_nobody_else() {
    let (server, alice) = server_with(&[]).await;
    let mut first = members(&server, &alice, ("$share/g/a", 2), 1).await.remove(0);
    alice.insert("a", json!(1)).await;
    let message = first.message().await;
    assert_eq!((message.qos, message.payload.as_slice()), (2, &b"1"[..]));
    let mut second = client(&server, 4, "second", &alice).await;
    assert_eq!(second.subscribe(&[("$share/g/a", 2)]).await, [2]);
    drop(first);
    alice.insert("a", json!(2)).await;
    assert_eq!(second.message().await.payload, b"2");
    second.nothing_comes().await;
}

#[tokio::test]
async fn what_a_member_with_a_session_is_given_by_qos_2_is_completed_with_it_over_reconnects_and_kills() {
    let (mut server, mut alice) = server_with(&[]).await;
    let (mut first, _) = reopen(&server, &keeping(4, "first", alice.jwt())).await;
    assert_eq!(first.subscribe(&[("$share/g/a", 2)]).await, [2]);
    for kill in [false, true] {
        alice.insert("a", json!(kill)).await;
        let message = first.message().await;
        drop(first);
        server.keeps_only(1).await;
        if kill {
            server = server.end_and_restart(true).await;
            alice = again(&server, &alice);
        }
        let mut second = members(&server, &alice, ("$share/g/a", 2), 1).await.remove(0);
        second.nothing_comes().await;
        let (resumed, is_present) = reopen(&server, &keeping(4, "first", alice.jwt())).await;
        first = resumed;
        let repeated = first.message().await;
        assert_eq!((is_present, repeated.dup, repeated.id), (true, true, message.id));
        assert_eq!(repeated.payload, message.payload);
        first.send(&packet(0x50, &message.id.unwrap().to_be_bytes())).await;
        assert_eq!(first.packet().await.unwrap().first, 0x62);
        first.send(&packet(0x70, &message.id.unwrap().to_be_bytes())).await;
        first.nothing_comes().await;
        second.nothing_comes().await;
        drop(second);
        server.keeps_only(2).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_while_no_member_takes_more_and_one_that_is_slow_holds_up_nobody() {
    let (server, alice) = server_with(&[]).await;
    let properties = [&[property::RECEIVE_MAXIMUM][..], &2_u16.to_be_bytes()].concat();
    let login = Some(("JWT", alice.jwt()));
    let connect = Connect { level: 5, client_id: "slow", login, properties, ..Connect::default() };
    let (mut slow, _) = Mqtt::open(&server, &connect).await;
    assert_eq!(slow.subscribe(&[("$share/g/a", 1)]).await, [1]);
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    publish(&mut publisher, "a", 0, 20).await;
    let (first, second) = (slow.message().await, slow.message().await);
    assert_eq!((first.payload.as_slice(), second.payload.as_slice()), (&b"0"[..], &b"1"[..]));
    slow.nothing_comes().await;
    slow.acknowledge(first.id.unwrap()).await;
    assert_eq!(slow.message().await.payload, b"2");
    // Another one gets all the rest at once.
    let mut other = members(&server, &alice, ("$share/g/a", 1), 1).await;
    assert_eq!(payloads(&given(&mut other, 17).await), numbers(3, 20));
    publish(&mut publisher, "a", 20, 200).await;
    assert_eq!(payloads(&given(&mut other, 180).await), numbers(20, 200));
    slow.nothing_comes().await;
}

#[tokio::test]
async fn an_event_goes_to_a_member_that_may_see_it_and_is_passed_over_if_none_may() {
    let (server, _) = server_with(&["--authorize=scopes"]).await;
    let admin = user_with(&server, "admin", &["*:post"]).await;
    let bob = user_with(&server, "bob", &["a/*:get", "b/*:get"]).await;
    let carol = user_with(&server, "carol", &["b/*:get"]).await;
    let mut bobs = client(&server, 5, "bob", &bob).await;
    assert_eq!(
        bobs.subscribe(&[("$share/g/#", 1), ("$share/g/c/x", 1), ("$share/x/@carol/#", 1)]).await,
        [1, 0x87, 0x87]
    );
    let mut carols = client(&server, 4, "carol", &carol).await;
    assert_eq!(carols.subscribe(&[("$share/g/#", 1), ("$share/g/a/x", 1)]).await, [1, 0x80]);
    let mut both = [bobs, carols];
    for number in 0..10 {
        admin.insert("a/x", json!(number)).await;
        admin.insert("c/x", json!("nobody")).await;
    }
    let of_a = given(&mut both, 10).await;
    assert_eq!((of_a[0].len(), of_a[1].len()), (10, 0));
    for number in 0..10 {
        admin.insert("b/x", json!(number)).await;
    }
    let of_b = given(&mut both, 10).await;
    assert!(of_b.iter().all(|of| of.len() >= 2), "{of_b:?}");
    // Rights are looked at for every event.
    set_scopes(&server.client(), "bob", &["c/*:get"]).await;
    for number in 0..10 {
        admin.insert("b/x", json!(number)).await;
        admin.insert("c/x", json!(number)).await;
    }
    let after = given(&mut both, 20).await;
    assert!(after[0].iter().all(|message| message.topic == "c/x") && after[0].len() == 10);
    assert!(after[1].iter().all(|message| message.topic == "b/x") && after[1].len() == 10);
}

#[tokio::test]
async fn what_only_a_member_that_takes_no_more_may_see_holds_up_nobody() {
    let (server, _) = server_with(&["--authorize=scopes"]).await;
    let admin = user_with(&server, "admin", &["*:post"]).await;
    let bob = user_with(&server, "bob", &["a/*:get"]).await;
    let carol = user_with(&server, "carol", &["b/*:get"]).await;
    let properties = [&[property::RECEIVE_MAXIMUM][..], &1_u16.to_be_bytes()].concat();
    let connect =
        Connect { level: 5, client_id: "x", login: Some(("JWT", bob.jwt())), properties, ..Connect::default() };
    let (mut bobs, _) = Mqtt::open(&server, &connect).await;
    assert_eq!(bobs.subscribe(&[("$share/g/#", 1)]).await, [1]);
    let mut carols = client(&server, 4, "y", &carol).await;
    assert_eq!(carols.subscribe(&[("$share/g/#", 1)]).await, [1]);
    for number in 0..20 {
        admin.insert("a/x", json!(number)).await;
        admin.insert("b/x", json!(number)).await;
    }
    assert_eq!(payloads(&given(&mut [carols], 20).await), numbers(0, 20));
    for number in 0..20 {
        let message = bobs.message().await;
        assert_eq!(message.payload, number.to_string().as_bytes());
        bobs.acknowledge(message.id.unwrap()).await;
    }
}

#[tokio::test]
async fn an_inbox_is_shared_by_its_owners_clients() {
    let (server, alice) = server_with(&[]).await;
    let bob = server.user("bob", "acme").await;
    let mut two = members(&server, &alice, ("$share/g/@alice/+", 1), 2).await;
    let mut bobs = client(&server, 5, "bob", &bob).await;
    assert_eq!(bobs.subscribe(&[("$share/g/@alice/+", 1)]).await, [0x87]);
    for number in 0..6 {
        bob.insert("@alice/mail", json!(number)).await;
    }
    let given = given(&mut two, 6).await;
    assert_eq!(payloads(&given), numbers(0, 6));
    assert!(given.iter().all(|of| !of.is_empty()));
}

#[tokio::test]
async fn tenants_share_nothing_and_nobody_is_present_for_a_share() {
    let (server, alice) = server_with(&[]).await;
    let eve = server.user("eve", "other").await;
    let mut of_acme = members(&server, &alice, ("$share/g/#", 1), 1).await;
    let mut of_other = members(&server, &eve, ("$share/g/#", 1), 1).await;
    alice.insert("a", json!(1)).await;
    eve.insert("a", json!(2)).await;
    assert_eq!(payloads(&given(&mut of_acme, 1).await), ["1"]);
    assert_eq!(payloads(&given(&mut of_other, 1).await), ["2"]);
    let present = alice.get("/presence").await.json();
    let names: Vec<_> = present.as_array().unwrap().iter().map(|person| person["username"].clone()).collect();
    assert_eq!(names, ["alice"], "{present}");
}

#[tokio::test]
async fn a_share_begins_with_its_first_member_and_ends_with_its_last_one() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    publisher.publish("a", b"before", true).await;
    let mut members = members(&server, &alice, ("$share/g/a", 1), 2).await;
    // Nothing retained is given, whatever is asked for.
    members[0].nothing_comes().await;
    // Behind the length of the properties.
    assert_eq!(members[0].unsubscribe(&["$share/g/a", "$share/g/b", "$share/"]).await, [0, 0, 0x11, 0x11]);
    publish(&mut publisher, "a", 0, 4).await;
    let of_both = given(&mut members, 4).await;
    assert_eq!((of_both[0].len(), of_both[1].len()), (0, 4));
    members[1].unsubscribe(&["$share/g/a"]).await;
    publish(&mut publisher, "a", 4, 8).await;
    assert_eq!(members[0].subscribe(&[("$share/g/a", 1)]).await, [1]);
    publish(&mut publisher, "a", 8, 10).await;
    let after = given(&mut members, 2).await;
    assert_eq!(payloads(&after), numbers(8, 10));
}

#[tokio::test]
async fn a_client_that_unsubscribes_may_still_acknowledge_and_is_lost_only_when_it_goes() {
    let (server, alice) = server_with(&[]).await;
    let mut first = members(&server, &alice, ("$share/g/a", 1), 1).await.remove(0);
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    publish(&mut publisher, "a", 0, 2).await;
    let (one, _two) = (first.message().await, first.message().await);
    let mut second = [client(&server, 4, "second", &alice).await];
    assert_eq!(second[0].subscribe(&[("$share/g/a", 1)]).await, [1]);
    first.unsubscribe(&["$share/g/a"]).await;
    second[0].nothing_comes().await;
    first.acknowledge(one.id.unwrap()).await;
    first.nothing_comes().await;
    drop(first);
    assert_eq!(payloads(&given(&mut second, 1).await), ["1"]);
}

#[tokio::test]
async fn the_options_of_each_member_count_and_a_filter_is_one_of_those_that_a_connection_may_have() {
    let (server, alice) = server_with(&["--mqtt_filters=3"]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    let id = [property::SUBSCRIPTION_ID, 7];
    assert_eq!(
        mqtt.subscribe_with(&[("$share/g/a", 0), ("$share//a", 1), ("$share/g", 1)], &id).await,
        [0, 0x8F, 0x8F]
    );
    alice.insert("a", json!(1)).await;
    let message = mqtt.message().await;
    assert_eq!((message.qos, message.retain, message.property(property::SUBSCRIPTION_ID)), (0, false, vec![&[7][..]]));
    // Subscribed again, it is the same member with other options; retain as published.
    assert_eq!(mqtt.subscribe_with(&[("$share/g/a", 0b1001)], &[]).await, [1]);
    alice.insert("a", json!(2)).await;
    let message = mqtt.message().await;
    assert_eq!((message.qos, message.retain, message.property(property::SUBSCRIPTION_ID)), (1, true, vec![]));
    assert_eq!(mqtt.subscribe(&[("$share/g/b", 0), ("b", 0), ("$share/g/c", 0), ("c", 0)]).await, [0, 0, 0x97, 0x97]);
}

#[tokio::test]
async fn a_client_that_takes_nothing_leaves_its_share_to_others() {
    let (server, alice) = server_with(&[]).await;
    let mut stuck = client(&server, 4, "stuck", &alice).await;
    stuck.subscribe(&[("$share/g/a", 0)]).await;
    let mut other = members(&server, &alice, ("$share/g/a", 0), 1).await.remove(0);
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    // More than sockets take.
    let large = vec![b'x'; 60_000];
    for _ in 0..500 {
        publisher.publish("a", &large, false).await;
    }
    publisher.publish("a", b"end", false).await;
    let mut got = 0;
    until("the end", async || {
        let messages = come(&mut other, false).await;
        got += messages.len();
        messages.iter().any(|message| message.payload == b"end").then_some(())
    })
    .await;
    assert!(got > 250, "{got}");
    drop(stuck);
}
