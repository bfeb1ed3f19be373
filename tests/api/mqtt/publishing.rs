//! Guards publishing: acknowledgements, refusals, aliases, limits, and wills.

use super::super::support::mqtt::{Connect, Mqtt, packet, property, text};
use super::{client, server_with};

#[tokio::test]
async fn a_topic_that_no_event_can_be_called_is_refused_and_before_mqtt_5_dropped() {
    let (server, alice) = server_with(&[]).await;
    let mut five = client(&server, 5, "five", &alice).await;
    let mut four = client(&server, 4, "four", &alice).await;
    let mut subscriber = client(&server, 4, "subscriber", &alice).await;
    subscriber.subscribe(&[("#", 0)]).await;
    let long = "x".repeat(257);
    for topic in [&long, "$SYS/x", "a\u{7}b", "$reset", " a"] {
        assert_eq!(five.publish(topic, b"1", false).await, 0x90, "{topic}");
        let alias = [property::TOPIC_ALIAS, 0, 1];
        for by_alias in [topic, ""] {
            assert_eq!(five.publish_with(by_alias, b"1", false, &alias).await, 0x90, "{topic}");
        }
        assert_eq!(four.publish(topic, b"1", false).await, 0, "{topic}");
    }
    subscriber.nothing_comes().await;
}

#[tokio::test]
async fn acknowledgements_come_in_the_order_of_the_messages() {
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    let messages: Vec<u8> = (1..=200_u16).flat_map(|id| mqtt.publish_bytes(("a", b"1"), 1, false, id, &[])).collect();
    mqtt.send(&messages).await;
    for id in 1..=200_u16 {
        let puback = mqtt.packet().await.unwrap();
        assert_eq!((puback.first, &puback.body[..]), (0x40, &id.to_be_bytes()[..]));
    }
}

#[tokio::test]
async fn a_message_of_qos_2_is_taken_once_however_often_it_is_sent_before_its_release() {
    let (server, alice) = server_with(&[]).await;
    for level in [4, 5] {
        let mut subscriber = client(&server, level, "subscriber", &alice).await;
        subscriber.subscribe(&[("a", 0)]).await;
        let mut mqtt = client(&server, level, "publisher", &alice).await;
        let publish = mqtt.publish_bytes(("a", b"1"), 2, false, 7, &[]);
        for _ in 0..3 {
            mqtt.send(&publish).await;
            let pubrec = mqtt.packet().await.unwrap();
            assert_eq!((pubrec.first, &pubrec.body[..]), (0x50, &[0, 7][..]));
        }
        for expected in [&[0, 7][..], if level == 5 { &[0, 7, 0x92] } else { &[0, 7] }] {
            mqtt.send(&packet(0x62, &[0, 7])).await;
            let pubcomp = mqtt.packet().await.unwrap();
            assert_eq!((pubcomp.first, &pubcomp.body[..]), (0x70, expected));
        }
        assert_eq!(subscriber.message().await.brief(), ("a", "1", 0, false));
        subscriber.nothing_comes().await;
    }
}

#[tokio::test]
async fn a_client_may_send_many_messages_of_qos_2_before_it_releases_one_and_not_any_number() {
    let (server, alice) = server_with(&[]).await;
    for level in [4, 5] {
        let mut mqtt = client(&server, level, "x", &alice).await;
        let messages: Vec<u8> =
            (1..=1000_u16).flat_map(|id| mqtt.publish_bytes(("a", b"1"), 2, false, id, &[])).collect();
        mqtt.send(&messages).await;
        for id in 1..=1000_u16 {
            let pubrec = mqtt.packet().await.unwrap();
            assert_eq!((pubrec.first, &pubrec.body[..]), (0x50, &id.to_be_bytes()[..]));
        }
        let one_more = mqtt.publish_bytes(("a", b"1"), 2, false, 1001, &[]);
        mqtt.send(&one_more).await;
        assert_eq!(mqtt.ended().await, (level == 5).then_some(0x93));
    }
}

#[tokio::test]
async fn a_message_of_qos_2_that_comes_again_before_it_is_refused_is_refused_again() {
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    let mut send = mqtt.publish_bytes(("a", b"1"), 1, false, 1, &[]);
    // It is refused at once, but its answer waits for that of the first.
    (0..3).for_each(|_| send.extend(mqtt.publish_bytes(("$SYS/x", b"1"), 2, false, 7, &[])));
    mqtt.send(&send).await;
    for expected in [&[0x40, 0, 1][..], &[0x50, 0, 7, 0x90], &[0x50, 0, 7, 0x90], &[0x50, 0, 7, 0x90]] {
        let answer = mqtt.packet().await.unwrap();
        assert_eq!(
            (answer.first, &answer.body[..2], answer.body.get(2)),
            (expected[0], &expected[1..3], expected.get(3))
        );
    }
    mqtt.send(&packet(0x62, &[0, 7])).await;
    assert_eq!(mqtt.packet().await.unwrap().body, [0, 7, 0x92]);
}

#[tokio::test]
async fn an_alias_stands_for_a_topic_and_the_subscriber_sees_the_topic() {
    let (server, alice) = server_with(&[]).await;
    let mut subscriber = client(&server, 4, "subscriber", &alice).await;
    subscriber.subscribe(&[("a/b", 0), ("c", 0)]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    let alias = |alias: u16| [&[property::TOPIC_ALIAS][..], &alias.to_be_bytes()].concat();
    for (topic, payload) in [("a/b", b"1"), ("", b"2"), ("c", b"3"), ("", b"4")] {
        assert_eq!(mqtt.publish_with(topic, payload, false, &alias(1)).await, 0);
    }
    for expected in [("a/b", "1"), ("a/b", "2"), ("c", "3"), ("c", "4")] {
        let message = subscriber.message().await;
        assert_eq!((message.topic.as_str(), message.payload.as_slice()), (expected.0, expected.1.as_bytes()));
    }
    for (topic, number, expected) in [("x", 33, 0x94), ("x", 0, 0x94), ("", 2, 0x82)] {
        let mut mqtt = client(&server, 5, "x", &alice).await;
        let publish = mqtt.publish_bytes((topic, b"1"), 0, false, 0, &alias(number));
        mqtt.send(&publish).await;
        assert_eq!(mqtt.ended().await, Some(expected), "{topic} {number}");
    }
}

#[tokio::test]
async fn a_subscriber_that_takes_aliases_is_given_them() {
    let (server, alice) = server_with(&[]).await;
    let properties = [&[property::TOPIC_ALIAS_MAXIMUM][..], &1_u16.to_be_bytes()].concat();
    let login = Some(("JWT", alice.jwt()));
    let connect = Connect { level: 5, client_id: "x", login, properties, ..Connect::default() };
    let (mut subscriber, _) = Mqtt::open(&server, &connect).await;
    subscriber.subscribe(&[("#", 0)]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    for (topic, expected, alias) in [("a", "a", true), ("a", "", true), ("b", "b", false), ("a", "", true)] {
        publisher.publish(topic, b"1", false).await;
        let message = subscriber.message().await;
        assert_eq!((message.topic.as_str(), message.property(property::TOPIC_ALIAS).len()), (expected, alias.into()));
    }
}

#[tokio::test]
async fn a_subscriber_is_given_no_more_than_64_aliases_whatever_it_takes() {
    let (server, alice) = server_with(&[]).await;
    let properties = [&[property::TOPIC_ALIAS_MAXIMUM][..], &u16::MAX.to_be_bytes()].concat();
    let login = Some(("JWT", alice.jwt()));
    let connect = Connect { level: 5, client_id: "x", login, properties, ..Connect::default() };
    let (mut subscriber, _) = Mqtt::open(&server, &connect).await;
    subscriber.subscribe(&[("#", 0)]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    let mut aliases = std::collections::BTreeSet::new();
    for is_again in [false, true] {
        for number in 0..66 {
            let topic = format!("t/{number}");
            publisher.publish(&topic, b"1", false).await;
            let message = subscriber.message().await;
            let alias = message.property(property::TOPIC_ALIAS);
            assert_eq!(alias.len(), usize::from(number < 64), "{topic}");
            assert_eq!(message.topic, if is_again && number < 64 { "" } else { topic.as_str() });
            aliases.extend(alias.iter().map(|alias| alias.to_vec()));
        }
    }
    assert_eq!(aliases.len(), 64);
}

#[tokio::test]
async fn a_packet_that_is_too_large_ends_the_connection_and_an_event_that_is_is_refused() {
    let (server, alice) = server_with(&["--max_event_bytes=1000"]).await;
    let mut mqtt = client(&server, 5, "x", &alice).await;
    assert_eq!(mqtt.publish("a", &[b'x'; 1200], false).await, 0x97);
    let publish = mqtt.publish_bytes(("a", &[b'x'; 4000]), 1, false, 1, &[]);
    mqtt.send(&publish).await;
    assert_eq!(mqtt.ended().await, Some(0x95));
}

#[tokio::test]
async fn a_will_is_published_unless_the_client_says_goodbye() {
    let (server, alice) = server_with(&[]).await;
    let mut subscriber = client(&server, 5, "subscriber", &alice).await;
    subscriber.subscribe(&[("gone", 1)]).await;
    for (level, goodbye, is_published) in [
        (4, None, true),
        (4, Some(packet(0xE0, &[])), false),
        (5, Some(packet(0xE0, &[])), false),
        (5, Some(packet(0xE0, &[0x04])), true),
        (5, Some(packet(0xE0, &[0x93])), true),
        (5, Some(packet(0xF0, &[])), true),
    ] {
        let login = Some(("JWT", alice.jwt()));
        let will = Some(("gone", &b"bye"[..], 1, false));
        let connect = Connect { level, client_id: "x", login, will, ..Connect::default() };
        let (mut mqtt, connack) = Mqtt::open(&server, &connect).await;
        assert_eq!(connack.body[1], 0);
        if let Some(goodbye) = goodbye {
            mqtt.send(&goodbye).await;
        }
        drop(mqtt);
        if is_published {
            let message = subscriber.message().await;
            assert_eq!(message.brief(), ("gone", "bye", 1, false));
            subscriber.acknowledge(message.id.unwrap()).await;
        } else {
            server.keeps_only(2).await;
            subscriber.nothing_comes().await;
        }
    }
    let _ = text("");
}
