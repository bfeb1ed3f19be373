//! Guards sessions: one connection has a session at a time, and it outlives connections, restarts and kills if it is to.

use super::super::support::mqtt::{Connect, Mqtt, Packet, packet, property};
use super::super::support::{TestServer, again, until};
use super::{client, server_with};

#[tokio::test]
async fn a_second_connection_takes_the_session_over_and_the_first_is_told() {
    let (server, alice) = server_with(&[]).await;
    let bob = server.user("bob", "acme").await;
    let mut theirs = client(&server, 5, "x", &bob).await;
    for level in [4, 5] {
        let mut first = client(&server, level, "x", &alice).await;
        let mut second = client(&server, level, "x", &alice).await;
        assert_eq!(first.ended().await, (level == 5).then_some(0x8E));
        second.nothing_comes().await;
    }
    theirs.nothing_comes().await;
}

#[tokio::test]
async fn of_many_that_come_at_once_one_is_left() {
    let (server, alice) = server_with(&[]).await;
    let connects = (0..50).map(|_| {
        let login = Some(("JWT", alice.jwt()));
        let connect = Connect { level: 5, client_id: "x", login, ..Connect::default() };
        let server = &server;
        async move {
            let (mut mqtt, connack) = Mqtt::open(server, &connect).await;
            assert_eq!(connack.body[1], 0);
            mqtt.send(&[0xC0, 0]).await;
            let packet = mqtt.packet().await.unwrap();
            (packet.first, mqtt)
        }
    });
    let ended = futures_util::future::join_all(connects).await;
    // Each was let in, and all but the last were told that another took over; some had an answer to their ping before.
    server.keeps_only(2).await;
    let mut left = 0;
    for (first, mqtt) in ended {
        assert!(matches!(first, 0xD0 | 0xE0), "{first:x}");
        if first == 0xD0 {
            match mqtt.socket.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => left += 1,
                _ => {}
            }
        }
    }
    assert_eq!(left, 1);
}

/// What a client says that wants its session kept.
pub fn keeping<'a>(level: u8, client_id: &'a str, token: &'a str) -> Connect<'a> {
    let properties = if level == 5 { expiry(3600) } else { Vec::new() };
    Connect { level, client_id, login: Some(("JWT", token)), keeps_session: true, properties, ..Connect::default() }
}

fn expiry(seconds: u32) -> Vec<u8> {
    [&[property::SESSION_EXPIRY][..], &seconds.to_be_bytes()].concat()
}

/// Connects, and whether there was a session.
pub async fn reopen(server: &TestServer, connect: &Connect<'_>) -> (Mqtt, bool) {
    let (mqtt, connack) = Mqtt::open(server, connect).await;
    assert_eq!(connack.body[1], 0, "{connack:?}");
    (mqtt, connack.body[0] == 1)
}

#[tokio::test]
async fn a_session_goes_on_after_a_disconnect_a_restart_and_a_kill() {
    let (mut server, mut alice) = server_with(&[]).await;
    for level in [4, 5] {
        let client_id = format!("c{level}");
        let (mut mqtt, is_present) = reopen(&server, &keeping(level, &client_id, alice.jwt())).await;
        assert!(!is_present);
        assert_eq!(mqtt.subscribe(&[("a/+", 1), ("b", 0)]).await, [1, 0]);
        if level == 5 {
            // From the turn before.
            let retained = mqtt.message().await;
            assert_eq!(retained.brief(), ("a/1", "1", 1, true));
            mqtt.acknowledge(retained.id.unwrap()).await;
            mqtt.nothing_comes().await;
        }
        for how in 0..3 {
            drop(mqtt);
            server.keeps_only(1).await;
            let mut publisher = client(&server, 4, "publisher", &alice).await;
            for (topic, payload, retain) in [("a/1", b"1", true), ("a/2", b"2", false), ("b", b"3", false)] {
                publisher.publish(topic, payload, retain).await;
            }
            let zero = publisher.publish_bytes(("a/3", b"4"), 0, false, 0, &[]);
            publisher.send(&zero).await;
            publisher.nothing_comes().await;
            drop(publisher);
            if how > 0 {
                server = server.end_and_restart(how == 2).await;
                alice = again(&server, &alice);
            }
            let (resumed, is_present) = reopen(&server, &keeping(level, &client_id, alice.jwt())).await;
            mqtt = resumed;
            assert!(is_present, "{level} {how}");
            for expected in [("a/1", "1", 1, false), ("a/2", "2", 1, false)] {
                let message = mqtt.message().await;
                assert_eq!(message.brief(), expected, "{level} {how}");
                mqtt.acknowledge(message.id.unwrap()).await;
            }
            mqtt.nothing_comes().await;
        }
        // It is live again.
        let mut publisher = client(&server, 4, "publisher", &alice).await;
        publisher.publish("b", b"5", false).await;
        assert_eq!(mqtt.message().await.brief(), ("b", "5", 0, false));
        drop(publisher);
    }
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_after_a_reconnect_and_not_before() {
    let (mut server, mut alice) = server_with(&[]).await;
    let (mut mqtt, _) = reopen(&server, &keeping(4, "x", alice.jwt())).await;
    mqtt.subscribe(&[("a", 1)]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    for number in 1..=3_u8 {
        publisher.publish("a", &[number], false).await;
    }
    drop(publisher);
    let ids = [mqtt.message().await, mqtt.message().await, mqtt.message().await].map(|message| message.id.unwrap());
    mqtt.acknowledge(ids[1]).await;
    mqtt.nothing_comes().await;
    for how in 0..3 {
        drop(mqtt);
        server.keeps_only(1).await;
        if how > 0 {
            server = server.end_and_restart(how == 2).await;
            alice = again(&server, &alice);
        }
        let (resumed, is_present) = reopen(&server, &keeping(4, "x", alice.jwt())).await;
        mqtt = resumed;
        assert!(is_present);
        for (id, payload) in [(ids[0], 1_u8), (ids[2], 3)] {
            let message = mqtt.message().await;
            assert_eq!((message.id, message.payload, message.dup), (Some(id), vec![payload], true), "{how}");
        }
        mqtt.nothing_comes().await;
    }
}

#[tokio::test]
async fn a_message_of_qos_2_goes_on_where_it_was_over_reconnects_restarts_and_kills() {
    let (mut server, mut alice) = server_with(&[]).await;
    let (mut mqtt, _) = reopen(&server, &keeping(4, "x", alice.jwt())).await;
    mqtt.subscribe(&[("a", 2)]).await;
    let mut payloads = 0_u8;
    for how in 0..3 {
        for steps in 0..3 {
            payloads += 1;
            let mut publisher = client(&server, 4, "publisher", &alice).await;
            let publish = publisher.publish_bytes(("a", &[payloads]), 2, false, 1, &[]);
            publisher.send(&publish).await;
            assert_eq!(publisher.packet().await.unwrap().first, 0x50);
            drop(publisher);
            let message = mqtt.message().await;
            assert_eq!((message.payload.as_slice(), message.dup), (&[payloads][..], false));
            let id = message.id.unwrap().to_be_bytes();
            for step in 0..steps {
                let (says, expects) = [(0x50, Some(0x62)), (0x70, None)][step];
                mqtt.send(&packet(says, &id)).await;
                if let Some(expects) = expects {
                    let answer = mqtt.packet().await.unwrap();
                    assert_eq!((answer.first, &answer.body[..]), (expects, &id[..]));
                }
            }
            if steps == 2 {
                mqtt.nothing_comes().await;
            }
            drop(mqtt);
            server.keeps_only(1).await;
            if how > 0 {
                server = server.end_and_restart(how == 2).await;
                alice = again(&server, &alice);
            }
            let (resumed, is_present) = reopen(&server, &keeping(4, "x", alice.jwt())).await;
            mqtt = resumed;
            assert!(is_present);
            if steps == 0 {
                let message = mqtt.message().await;
                assert_eq!((message.payload.as_slice(), message.dup), (&[payloads][..], true), "{how}");
                assert_eq!(message.id.unwrap().to_be_bytes(), id);
                mqtt.send(&packet(0x50, &id)).await;
            }
            if steps < 2 {
                // A release that was sent may come again; nothing else does.
                let answer = mqtt.packet().await.unwrap();
                assert_eq!((answer.first, &answer.body[..]), (0x62, &id[..]), "{how} {steps}");
                mqtt.send(&packet(0x70, &id)).await;
            }
            mqtt.nothing_comes().await;
        }
    }
}

#[tokio::test]
async fn a_message_of_qos_2_is_inserted_once_over_reconnects_restarts_and_kills() {
    let (mut server, mut alice) = server_with(&[]).await;
    for how in 0..3_u8 {
        let (mut mqtt, _) = reopen(&server, &keeping(4, "x", alice.jwt())).await;
        let publish = mqtt.publish_bytes(("a", &[b'0' + how]), 2, false, 7, &[]);
        mqtt.send(&publish).await;
        assert_eq!(mqtt.packet().await.unwrap().first, 0x50);
        for _ in 0..2 {
            drop(mqtt);
            server.keeps_only(1).await;
            if how > 0 {
                server = server.end_and_restart(how == 2).await;
                alice = again(&server, &alice);
            }
            let (resumed, is_present) = reopen(&server, &keeping(4, "x", alice.jwt())).await;
            mqtt = resumed;
            assert!(is_present);
            let mut dup = publish.clone();
            dup[0] |= 0b1000;
            mqtt.send(&dup).await;
            assert_eq!(mqtt.packet().await.unwrap(), Packet { first: 0x50, body: vec![0, 7] });
        }
        mqtt.send(&packet(0x62, &[0, 7])).await;
        assert_eq!(mqtt.packet().await.unwrap(), Packet { first: 0x70, body: vec![0, 7] });
        drop(mqtt);
        let history = alice.history("event=a").await;
        assert_eq!(history.events.len(), usize::from(how) + 1);
    }
}

#[tokio::test]
async fn a_clean_start_an_end_of_its_time_and_another_user_have_no_session() {
    let (server, alice) = server_with(&[]).await;
    let bob = server.user("bob", "acme").await;
    let (mut mqtt, _) = reopen(&server, &keeping(5, "x", alice.jwt())).await;
    mqtt.subscribe(&[("a", 1)]).await;
    let (_theirs, is_present) = reopen(&server, &keeping(5, "x", bob.jwt())).await;
    assert!(!is_present);
    mqtt.nothing_comes().await;
    drop(mqtt);
    let clean = Connect { keeps_session: false, ..keeping(5, "x", alice.jwt()) };
    let (mqtt, is_present) = reopen(&server, &clean).await;
    assert!(!is_present);
    drop(mqtt);
    // The new one is kept; its time is changed as it ends.
    let (mut mqtt, is_present) = reopen(&server, &keeping(5, "x", alice.jwt())).await;
    assert!(is_present);
    mqtt.send(&packet(0xE0, &[&[0, 5][..], &expiry(1)].concat())).await;
    assert_eq!(mqtt.packet().await, None);
    // To come back would have it go on.
    until("the end of the session", async || {
        let exported = alice.get("/export_me").await.body;
        (!exported.contains(r#""client_id":"x""#)).then_some(())
    })
    .await;
    assert!(!reopen(&server, &keeping(5, "x", alice.jwt())).await.1);
    // One that was not to be kept cannot be kept in the end.
    let unkept = Connect { properties: Vec::new(), ..keeping(5, "y", alice.jwt()) };
    let (mut mqtt, _) = reopen(&server, &unkept).await;
    mqtt.send(&packet(0xE0, &[&[0, 5][..], &expiry(1)].concat())).await;
    assert_eq!(mqtt.ended().await, Some(0x82));
}

#[tokio::test]
async fn a_will_waits_for_its_delay_and_a_client_that_comes_back_takes_it_away() {
    let (mut server, mut alice) = server_with(&[]).await;
    let delay = |seconds: u32| [&[0x18][..], &seconds.to_be_bytes()].concat();
    let willing = |token, seconds, properties| Connect {
        will: Some(("gone", b"bye", 1, false)),
        will_properties: delay(seconds),
        properties,
        ..keeping(5, "x", token)
    };
    let token = alice.jwt().to_owned();
    let mut watcher = client(&server, 4, "watcher", &alice).await;
    watcher.subscribe(&[("gone", 0)]).await;
    // Back in time.
    let (mqtt, _) = reopen(&server, &willing(&token, 3600, expiry(3600))).await;
    drop(mqtt);
    server.keeps_only(2).await;
    let (mqtt, _) = reopen(&server, &willing(&token, 1, expiry(3600))).await;
    watcher.nothing_comes().await;
    // After the delay.
    drop(mqtt);
    assert_eq!(watcher.message().await.brief(), ("gone", "bye", 0, false));
    // At the end of the session, if that comes first.
    let (mqtt, _) = reopen(&server, &willing(&token, 3600, expiry(1))).await;
    drop(mqtt);
    assert_eq!(watcher.message().await.topic, "gone");
    // A takeover of a session that is not kept ends it.
    let (mut mqtt, _) = reopen(&server, &willing(&token, 3600, Vec::new())).await;
    let (other, _) = reopen(&server, &keeping(5, "x", &token)).await;
    assert_eq!(mqtt.ended().await, Some(0x8E));
    assert_eq!(watcher.message().await.topic, "gone");
    drop(other);
    // A kill of the server ends the connection, too: once.
    let (mqtt, _) = reopen(&server, &willing(&token, 0, expiry(3600))).await;
    drop(watcher);
    server = server.end_and_restart(true).await;
    drop(mqtt);
    alice = again(&server, &alice);
    until("the will", async || {
        let history = alice.history("event=gone").await;
        (history.events.len() == 4).then_some(())
    })
    .await;
    server = server.end_and_restart(true).await;
    alice = again(&server, &alice);
    assert_eq!(alice.history("event=gone").await.events.len(), 4);
}

#[tokio::test]
async fn a_session_that_is_away_for_long_misses_nothing_up_to_a_thousand_messages_and_is_gone_beyond_that() {
    let (server, alice) = server_with(&["--retain_events=10"]).await;
    for (messages, is_kept) in [(900, true), (1200, false)] {
        let client_id = format!("c{messages}");
        let (mut mqtt, _) = reopen(&server, &keeping(4, &client_id, alice.jwt())).await;
        mqtt.subscribe(&[("a", 1)]).await;
        drop(mqtt);
        server.keeps_only(1).await;
        let mut publisher = client(&server, 4, "publisher", &alice).await;
        for number in 0..messages {
            publisher.publish("a", number.to_string().as_bytes(), false).await;
        }
        drop(publisher);
        // Until the tail is as short as it is to be.
        until("retention", async || {
            let history = alice.history("event=a&limit=1000").await;
            (history.events.len() <= 10).then_some(())
        })
        .await;
        let (mut mqtt, is_present) = reopen(&server, &keeping(4, &client_id, alice.jwt())).await;
        assert_eq!(is_present, is_kept, "{messages}");
        if is_kept {
            for number in 0..messages {
                let message = mqtt.message().await;
                assert_eq!(message.payload, number.to_string().as_bytes());
                mqtt.acknowledge(message.id.unwrap()).await;
            }
        }
        mqtt.nothing_comes().await;
    }
}

#[tokio::test]
async fn a_client_whose_session_goes_on_is_a_member_of_its_groups_again() {
    let (mut server, mut alice) = server_with(&[]).await;
    let (mut mqtt, _) = reopen(&server, &keeping(5, "x", alice.jwt())).await;
    let filters = [("$share/g/a", 1), ("$share/h/a", 2), ("$share/i/a", 0)];
    assert_eq!(mqtt.subscribe(&filters).await, [1, 2, 0]);
    mqtt.unsubscribe(&["$share/h/a"]).await;
    for how in 0..3 {
        drop(mqtt);
        server.keeps_only(1).await;
        if how > 0 {
            server = server.end_and_restart(how == 2).await;
            alice = again(&server, &alice);
        }
        let (resumed, is_present) = reopen(&server, &keeping(5, "x", alice.jwt())).await;
        mqtt = resumed;
        assert!(is_present);
        let mut publisher = client(&server, 4, "publisher", &alice).await;
        publisher.publish("a", &[how], false).await;
        drop(publisher);
        let mut given = [mqtt.message().await, mqtt.message().await];
        given.sort_by_key(|message| message.qos);
        let [once, acknowledged] = given;
        assert_eq!((once.qos, once.payload), (0, vec![how]));
        assert_eq!((acknowledged.qos, acknowledged.payload), (1, vec![how]));
        mqtt.acknowledge(acknowledged.id.unwrap()).await;
        mqtt.nothing_comes().await;
        server.keeps_only(2).await;
    }
    // A session that begins anew has none of them.
    drop(mqtt);
    let anew = Connect { keeps_session: false, ..keeping(5, "x", alice.jwt()) };
    let (mut mqtt, is_present) = reopen(&server, &anew).await;
    assert!(!is_present);
    client(&server, 4, "publisher", &alice).await.publish("a", b"", false).await;
    mqtt.nothing_comes().await;
}
