//! Guards subscriptions: filters, their options, what is given at once, and acknowledgements.

use std::collections::HashSet;

use serde_json::json;

use super::super::support::mqtt::{Connect, Mqtt, packet, property};
use super::{client, server_with};

#[tokio::test]
async fn a_filter_that_is_none_is_refused_alone() {
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    assert_eq!(mqtt.subscribe(&[("a", 0), ("b/#/c", 0), ("a+", 1), ("", 0), ("+", 2)]).await, [0, 0x8F, 0x8F, 0x8F, 2]);
    let (fits, long) = ("x".repeat(256), "x".repeat(257));
    assert_eq!(mqtt.subscribe(&[(&fits, 0), (&long, 0), ("a", 0)]).await, [0, 0x8F, 0]);
    let mut mqtt = client(&server, 4, "y", &alice).await;
    assert_eq!(mqtt.subscribe(&[("a", 0), ("b/#/c", 0), (&long, 0)]).await, [0, 0x80, 0x80]);
}

#[tokio::test]
async fn wildcards_match_as_the_specification_says() {
    let (server, alice) = server_with(&[]).await;
    let topics = ["a", "a/b", "a/b/c", "/a", "a/", "b", "x/y/z"];
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    for topic in topics {
        publisher.publish(topic, b"1", true).await;
    }
    for (filter, expected) in [
        ("#", &topics[..]),
        ("a/#", &["a", "a/b", "a/b/c", "a/"]),
        ("+", &["a", "b"]),
        ("+/+", &["a/b", "/a", "a/"]),
        ("a/+", &["a/b", "a/"]),
        ("+/y/#", &["x/y/z"]),
        ("a", &["a"]),
        ("none", &[]),
    ] {
        let mut mqtt = client(&server, 4, "x", &alice).await;
        mqtt.subscribe(&[(filter, 0)]).await;
        let mut got = Vec::new();
        for _ in expected {
            got.push(mqtt.message().await.topic);
        }
        mqtt.nothing_comes().await;
        assert_eq!(got, expected, "retained of {filter}");
        for topic in topics {
            publisher.publish(topic, b"2", false).await;
        }
        for topic in expected {
            assert_eq!(mqtt.message().await.brief(), (*topic, "2", 0, false), "{filter}");
        }
        mqtt.nothing_comes().await;
    }
}

#[tokio::test]
async fn overlapping_subscriptions_give_one_copy_with_the_highest_qos_and_all_identifiers() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    publisher.publish("a/b", b"0", true).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    let id = |id: u8| vec![property::SUBSCRIPTION_ID, id];
    mqtt.subscribe_with(&[("a/b", 1)], &id(1)).await;
    let retained = mqtt.message().await;
    assert_eq!((retained.retain, retained.property(property::SUBSCRIPTION_ID)), (true, vec![&[1][..]]));
    mqtt.acknowledge(retained.id.unwrap()).await;
    mqtt.subscribe_with(&[("a/+", 2 | 2 << 4)], &id(2)).await;
    let two = mqtt.publish_bytes(("a/b", b"1"), 2, false, 9, &[]);
    publisher.send(&two).await;
    let message = mqtt.message().await;
    let mut ids = message.property(property::SUBSCRIPTION_ID);
    ids.sort();
    assert_eq!((message.qos, ids), (2, vec![&[1][..], &[2]]));
    // Subscribed again with another identifier: only that one, and nothing is lost.
    mqtt.subscribe_with(&[("a/b", 1 | 2 << 4)], &id(3)).await;
    mqtt.unsubscribe(&["a/+"]).await;
    publisher.packet().await.unwrap();
    publisher.publish("a/b", b"2", false).await;
    let message = mqtt.message().await;
    assert_eq!((message.qos, message.property(property::SUBSCRIPTION_ID)), (1, vec![&[3][..]]));
}

#[tokio::test]
async fn retain_handling_and_retain_as_published_and_no_local_are_kept() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    publisher.publish("a", b"1", true).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    const IF_NEW: u8 = 1 << 4;
    const NEVER: u8 = 2 << 4;
    for (options, is_given) in [(NEVER, false), (IF_NEW, false), (0, true), (0, true)] {
        mqtt.subscribe(&[("a", options)]).await;
        if is_given {
            assert_eq!(mqtt.message().await.brief(), ("a", "1", 0, true));
        }
        mqtt.nothing_comes().await;
    }
    mqtt.unsubscribe(&["a"]).await;
    mqtt.subscribe(&[("a", IF_NEW | 1 << 3)]).await;
    assert_eq!(mqtt.message().await.brief(), ("a", "1", 0, true));
    for retain in [true, false] {
        publisher.publish("a", b"2", retain).await;
        assert_eq!(mqtt.message().await.brief(), ("a", "2", 0, retain), "as published");
    }
    mqtt.subscribe(&[("a", NEVER | 1 << 2)]).await;
    mqtt.publish("a", b"3", false).await;
    mqtt.nothing_comes().await;
    publisher.publish("a", b"4", true).await;
    assert_eq!(mqtt.message().await.brief(), ("a", "4", 0, false));
}

#[tokio::test]
async fn a_client_is_sent_no_more_than_it_takes_unacknowledged_and_the_rest_after_that() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    let properties = [&[property::RECEIVE_MAXIMUM][..], &3_u16.to_be_bytes()].concat();
    let login = Some(("JWT", alice.jwt()));
    let connect = Connect { level: 5, client_id: "x", login, properties, ..Connect::default() };
    let (mut mqtt, _) = Mqtt::open(&server, &connect).await;
    mqtt.subscribe(&[("a", 1)]).await;
    for number in 0..20_u8 {
        publisher.publish("a", &[number], false).await;
    }
    let mut unacknowledged = Vec::new();
    for number in 0..3_u8 {
        let message = mqtt.message().await;
        assert_eq!(message.payload, [number]);
        unacknowledged.push(message.id.unwrap());
    }
    mqtt.nothing_comes().await;
    for number in 3..20_u8 {
        let id = unacknowledged.remove(0);
        mqtt.acknowledge(id).await;
        let message = mqtt.message().await;
        assert_eq!(message.payload, [number]);
        assert!(!unacknowledged.contains(&message.id.unwrap()), "an identifier that is in use");
        unacknowledged.push(message.id.unwrap());
    }
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn no_client_has_more_than_a_hundred_messages_unacknowledged_whatever_it_takes() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    for level in [3, 4, 5] {
        let properties = [&[property::RECEIVE_MAXIMUM][..], &u16::MAX.to_be_bytes()].concat();
        let login = Some(("JWT", alice.jwt()));
        let connect = Connect { level, client_id: "x", login, properties, ..Connect::default() };
        let (mut mqtt, _) = Mqtt::open(&server, &connect).await;
        mqtt.subscribe(&[("a", 1)]).await;
        for _ in 0..102 {
            publisher.publish("a", b"1", false).await;
        }
        let mut ids = Vec::new();
        for _ in 0..100 {
            ids.push(mqtt.message().await.id.unwrap());
        }
        for id in &ids[..2] {
            mqtt.nothing_comes().await;
            mqtt.acknowledge(*id).await;
            mqtt.message().await;
        }
    }
}

#[tokio::test]
async fn a_retained_message_comes_with_the_qos_of_the_subscription_if_that_is_lower() {
    let (server, alice) = server_with(&[]).await;
    for level in [4, 5] {
        let mut mqtt = client(&server, level, "x", &alice).await;
        let publish = mqtt.publish_bytes(("a", b"1"), 2, true, 9, &[]);
        mqtt.send(&publish).await;
        assert_eq!(mqtt.packet().await.unwrap().first, 0x50);
        mqtt.send(&packet(0x62, &[0, 9])).await;
        assert_eq!(mqtt.packet().await.unwrap().first, 0x70);
        for qos in 0..=2 {
            assert_eq!(mqtt.subscribe(&[("a", qos)]).await, [qos]);
            let message = mqtt.message().await;
            assert_eq!((message.brief(), message.id.is_some()), (("a", "1", qos, true), qos > 0), "{level}");
        }
    }
}

#[tokio::test]
async fn events_that_no_topic_can_be_called_are_not_given() {
    let (server, alice) = server_with(&[]).await;
    alice.insert("a+b", json!(1)).await;
    alice.insert("c#", json!(1)).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    assert_eq!(mqtt.subscribe(&[("#", 1), ("+", 1)]).await, [1, 1]);
    mqtt.nothing_comes().await;
    alice.insert("a+b", json!(2)).await;
    alice.insert("c#", json!(2)).await;
    alice.insert("d", json!(2)).await;
    assert_eq!(mqtt.message().await.brief(), ("d", "2", 1, false));
}

#[tokio::test]
async fn a_client_that_lags_is_given_what_was_retained_before_it_subscribed() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    let properties = [&[property::RECEIVE_MAXIMUM][..], &1_u16.to_be_bytes()].concat();
    let login = Some(("JWT", alice.jwt()));
    let connect = Connect { level: 5, client_id: "x", login, properties, ..Connect::default() };
    let (mut mqtt, _) = Mqtt::open(&server, &connect).await;
    mqtt.subscribe(&[("a", 1)]).await;
    for _ in 0..3 {
        publisher.publish("a", b"1", false).await;
    }
    publisher.publish("b", b"2", true).await;
    let mut next = mqtt.message().await;
    // The stream has stopped before the retained message.
    mqtt.subscribe(&[("b", 1)]).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        mqtt.acknowledge(next.id.unwrap()).await;
        next = mqtt.message().await;
        others.push((next.topic.clone(), next.retain));
    }
    others.sort();
    assert_eq!(others, [("a".into(), false), ("a".into(), false), ("b".into(), true)]);
    mqtt.acknowledge(next.id.unwrap()).await;
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn with_a_full_window_messages_of_qos_0_go_on() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    let properties = [&[property::RECEIVE_MAXIMUM][..], &1_u16.to_be_bytes()].concat();
    let login = Some(("JWT", alice.jwt()));
    let connect = Connect { level: 5, client_id: "x", login, properties, ..Connect::default() };
    let (mut mqtt, _) = Mqtt::open(&server, &connect).await;
    mqtt.subscribe(&[("surely", 1), ("perhaps", 0)]).await;
    for topic in ["surely", "surely", "perhaps", "surely", "perhaps"] {
        publisher.publish(topic, b"1", false).await;
    }
    let first = mqtt.message().await;
    assert_eq!(first.topic, "surely");
    assert_eq!(mqtt.message().await.topic, "perhaps");
    assert_eq!(mqtt.message().await.topic, "perhaps");
    let mut id = first.id.unwrap();
    for _ in 0..2 {
        mqtt.acknowledge(id).await;
        let message = mqtt.message().await;
        assert_eq!(message.topic, "surely");
        id = message.id.unwrap();
    }
    mqtt.acknowledge(id).await;
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn messages_of_qos_2_go_through_their_steps() {
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = client(&server, 4, "x", &alice).await;
    mqtt.subscribe(&[("a", 2)]).await;
    alice.insert("a", json!(1)).await;
    let message = mqtt.message().await;
    assert_eq!(message.brief(), ("a", "1", 2, false));
    let id = message.id.unwrap().to_be_bytes();
    for _ in 0..2 {
        mqtt.send(&packet(0x50, &id)).await;
        let pubrel = mqtt.packet().await.unwrap();
        assert_eq!((pubrel.first, &pubrel.body[..]), (0x62, &id[..]));
    }
    mqtt.send(&packet(0x70, &id)).await;
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn a_packet_that_is_larger_than_a_client_takes_is_left_out() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    // One message at a time: what is left out takes no room.
    let properties =
        [&[property::RECEIVE_MAXIMUM, 0, 1, property::MAXIMUM_PACKET_SIZE][..], &50_u32.to_be_bytes()].concat();
    let login = Some(("JWT", alice.jwt()));
    let connect = Connect { level: 5, client_id: "x", login, properties, ..Connect::default() };
    let (mut mqtt, _) = Mqtt::open(&server, &connect).await;
    mqtt.subscribe(&[("a", 1)]).await;
    publisher.publish("a", &[b'x'; 100], false).await;
    publisher.publish("a", b"small", false).await;
    let message = mqtt.message().await;
    assert_eq!(message.payload, b"small");
    mqtt.nothing_comes().await;
    mqtt.acknowledge(message.id.unwrap()).await;
    publisher.publish("a", &[b'x'; 100], false).await;
    publisher.publish("a", b"again", false).await;
    assert_eq!(mqtt.message().await.payload, b"again");
}

#[tokio::test]
async fn without_the_right_to_them_the_events_of_others_are_not_given_and_an_exact_name_is_refused() {
    let (server, _) = server_with(&["--authorize=scopes"]).await;
    let admin = server.client();
    let bob = super::super::support::user_with(&server, "bob", &["open/*:get", "open/*:post", "secret:post"]).await;
    bob.insert("secret", json!(1)).await;
    bob.insert("open/1", json!(1)).await;
    let mut mqtt = client(&server, 5, "x", &bob).await;
    assert_eq!(mqtt.subscribe(&[("#", 0), ("secret", 0)]).await, [0, 0x87]);
    assert_eq!(mqtt.message().await.topic, "open/1");
    mqtt.nothing_comes().await;
    bob.insert("secret", json!(2)).await;
    bob.insert("open/1", json!(2)).await;
    assert_eq!(mqtt.message().await.brief(), ("open/1", "2", 0, false));
    assert_eq!(mqtt.publish("other", b"1", false).await, 0x87);
    drop(admin);
}

#[tokio::test]
async fn more_filters_than_a_connection_may_have_are_refused() {
    let (server, alice) = server_with(&["--mqtt_filters=10"]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    let names: Vec<_> = (0..12).map(|number| format!("f/{number}/+")).collect();
    let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let codes = mqtt.subscribe(&filters).await;
    assert_eq!(codes, [vec![1; 10], vec![0x97; 2]].concat());
    assert_eq!(mqtt.subscribe(&[("f/0/+", 0)]).await, [0]);
}

#[tokio::test]
async fn a_retained_message_comes_by_the_subscription_that_asks_for_it_alone() {
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    assert_eq!(mqtt.publish("a", b"1", true).await, 0);
    let id = |number: u8| [property::SUBSCRIPTION_ID, number];
    // By the first with QoS 2, but for its own messages; by the second with QoS 0; and by both, if they ask at once.
    for (filters, number, expected) in [
        (&[("#", 0b0110)][..], 1, None),
        (&[("a", 0)], 2, Some((0, vec![2]))),
        (&[("+", 1)], 3, Some((1, vec![3]))),
        (&[("a", 1), ("+", 0)], 4, Some((1, vec![4, 4]))),
    ] {
        mqtt.subscribe_with(filters, &id(number)).await;
        if let Some((qos, ids)) = expected {
            let message = mqtt.message().await;
            assert_eq!((message.qos, message.retain), (qos, true));
            assert_eq!(message.property(property::SUBSCRIPTION_ID).concat(), ids);
            if let Some(id) = message.id {
                mqtt.acknowledge(id).await;
            }
        }
        mqtt.nothing_comes().await;
    }
}

#[tokio::test]
async fn a_slow_client_gets_all_of_many_retained_messages_and_what_is_published_meanwhile() {
    const ALL: usize = 10_000;
    let (server, alice) = server_with(&[]).await;
    // More than the buffers of a connection hold.
    let padding = "x".repeat(500);
    let event = |number: usize| json!({ "event": format!("retained/{number}"), "data": padding });
    for first in (0..ALL).step_by(1000) {
        let events: Vec<_> = (first..first + 1000).map(event).collect();
        alice.insert_raw(serde_json::Value::from(events)).await.ok();
    }
    for (qos, receive_maximum) in [(0, 10), (1, 10), (2, 3)] {
        let properties = [&[property::RECEIVE_MAXIMUM][..], &u16::to_be_bytes(receive_maximum)].concat();
        let login = Some(("JWT", alice.jwt()));
        let connect = Connect { level: 5, client_id: "slow", login, properties, ..Connect::default() };
        let (mut slow, _) = Mqtt::open(&server, &connect).await;
        assert_eq!(slow.subscribe(&[("#", qos)]).await, [qos]);
        let mut publisher = client(&server, 4, "publisher", &alice).await;
        let live = (0..1_000).map(|number| format!("live/{qos}/{number}"));
        for topic in live.clone() {
            assert_eq!(publisher.publish(&topic, b"1", false).await, 0);
        }
        // One that comes between is as one that waits for it: all were to come.
        let mut missing: HashSet<_> = live.chain((0..ALL).map(|number| format!("retained/{number}"))).collect();
        let mut times = 0;
        while !missing.is_empty() {
            let packet_in = slow.packet().await.expect("a message");
            let Some(message) = slow.as_message(&packet_in) else {
                assert_eq!(packet_in.first, 0x62, "a PUBREL");
                slow.send(&packet(0x70, &packet_in.body[..2])).await;
                continue;
            };
            assert!(missing.remove(&message.topic), "twice, or not asked for: {}", message.topic);
            assert_eq!((message.retain, message.qos <= qos), (message.topic.starts_with("retained"), true));
            if let Some(id) = message.id {
                slow.send(&packet(if message.qos == 1 { 0x40 } else { 0x50 }, &id.to_be_bytes())).await;
            }
            times += 1;
            if times % 5_000 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}
