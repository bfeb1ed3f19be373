//! Guards what is written of sessions: it is not lost with the connection, a client is told when its session is gone, and a CONNECT or
//! SUBSCRIBE that is refused leaves the session as it was.

use super::super::support::mqtt::{Connect, Mqtt, packet, property, text};
use super::super::support::{TestServer, User, until};
use super::{client, code, server_with};

/// What a client says that wants its session kept.
fn keeping<'a>(client_id: &'a str, user: &'a User) -> Connect<'a> {
    let properties = [&[property::SESSION_EXPIRY][..], &3600_u32.to_be_bytes()].concat();
    let login = Some(("JWT", user.jwt()));
    Connect { level: 5, client_id, login, keeps_session: true, properties, ..Connect::default() }
}

/// Connects, and whether there was a session.
async fn open(server: &TestServer, connect: &Connect<'_>) -> (Mqtt, bool) {
    let (mqtt, connack) = Mqtt::open(server, connect).await;
    assert_eq!(connack.body[1], 0, "{connack:?}");
    (mqtt, connack.body[0] == 1)
}

/// Publishes numbers from 0 on, while the tail becomes as short as it is to be.
async fn publish_numbers(server: &TestServer, user: &User, topic: &str, count: usize) {
    publish_wide(server, user, topic, count, 0).await;
}

/// The same, with zeros before each number up to this width.
async fn publish_wide(server: &TestServer, user: &User, topic: &str, count: usize, width: usize) {
    let mut publisher = client(server, 4, "publisher", user).await;
    for number in 0..count {
        publisher.publish(topic, format!("{number:0width$}").as_bytes(), false).await;
    }
    until("retention", async || {
        let history = user.history(&format!("event={topic}&limit=1000")).await;
        (history.events.len() <= 10).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_for_right_before_a_disconnect_is_done() {
    let (server, alice) = server_with(&[]).await;
    let (mut mqtt, _) = open(&server, &keeping("x", &alice)).await;
    assert_eq!(mqtt.subscribe(&[("a", 1), ("b", 1)]).await, [1, 1]);
    // Each waits for the one before.
    let subscribe = |filter: &str, id: u8| packet(0x82, &[&[0, id, 0][..], &text(filter), &[1]].concat());
    let unsubscribe = packet(0xA2, &[&[0, 9, 0][..], &text("a")].concat());
    let publish = mqtt.publish_bytes(("x", b"x"), 1, false, 7, &[]);
    let all = [publish, subscribe("c", 8), unsubscribe, subscribe("d", 10), packet(0xE0, &[])].concat();
    mqtt.send(&all).await;
    server.keeps_only(1).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    for topic in ["a", "b", "c", "d"] {
        publisher.publish(topic, b"", false).await;
    }
    let (mut mqtt, is_present) = open(&server, &keeping("x", &alice)).await;
    assert!(is_present);
    for topic in ["b", "c", "d"] {
        assert_eq!(mqtt.message().await.topic, topic);
    }
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn a_client_whose_session_retention_cannot_wait_for_is_told() {
    let (server, alice) = server_with(&["--retain_events=10"]).await;
    let (mut mqtt, _) = open(&server, &keeping("x", &alice)).await;
    mqtt.subscribe(&[("a", 1)]).await;
    // It acknowledges nothing.
    publish_numbers(&server, &alice, "a", 1300).await;
    let told = loop {
        let packet = mqtt.packet().await.expect("a DISCONNECT");
        if mqtt.as_message(&packet).is_none() {
            break packet;
        }
    };
    assert_eq!((told.first, told.body[0]), (0xE0, 0x97));
    assert_eq!(mqtt.packet().await, None);
    assert!(!open(&server, &keeping("x", &alice)).await.1);
}

#[tokio::test]
async fn a_client_that_acknowledges_at_once_keeps_its_session_however_short_the_tail_is() {
    let (server, alice) = server_with(&["--retain_events=10"]).await;
    let (mut mqtt, _) = open(&server, &keeping("x", &alice)).await;
    mqtt.subscribe(&[("a", 1)]).await;
    let read = async {
        for number in 0..1300 {
            let message = mqtt.message().await;
            assert_eq!(message.payload, number.to_string().as_bytes());
            mqtt.acknowledge(message.id.unwrap()).await;
        }
    };
    tokio::join!(read, publish_numbers(&server, &alice, "a", 1300));
    mqtt.nothing_comes().await;
    drop(mqtt);
    server.keeps_only(1).await;
    let (mut mqtt, is_present) = open(&server, &keeping("x", &alice)).await;
    assert!(is_present);
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn a_session_that_goes_on_for_the_last_time_is_given_all_that_it_has_missed() {
    let (server, alice) = server_with(&["--retain_events=10"]).await;
    let (mut mqtt, _) = open(&server, &keeping("x", &alice)).await;
    mqtt.subscribe(&[("a", 1)]).await;
    drop(mqtt);
    server.keeps_only(1).await;
    publish_numbers(&server, &alice, "a", 90).await;
    let last = Connect { properties: Vec::new(), ..keeping("x", &alice) };
    let (mut mqtt, is_present) = open(&server, &last).await;
    assert!(is_present);
    for number in 0..90 {
        let message = mqtt.message().await;
        assert_eq!(message.payload, number.to_string().as_bytes());
        mqtt.acknowledge(message.id.unwrap()).await;
    }
    mqtt.nothing_comes().await;
    drop(mqtt);
    server.keeps_only(1).await;
    assert!(!open(&server, &keeping("x", &alice)).await.1);
}

#[tokio::test]
async fn what_a_session_subscribes_to_while_it_goes_on_for_the_last_time_is_kept_for_it() {
    let (server, alice) = server_with(&["--retain_events=10"]).await;
    let (mut mqtt, _) = open(&server, &keeping("x", &alice)).await;
    mqtt.subscribe(&[("b", 1)]).await;
    drop(mqtt);
    server.keeps_only(1).await;
    let last = Connect { properties: vec![property::RECEIVE_MAXIMUM, 0, 5], ..keeping("x", &alice) };
    let (mut mqtt, is_present) = open(&server, &last).await;
    assert!(is_present);
    assert_eq!(mqtt.subscribe(&[("a", 1)]).await, [1]);
    assert_eq!(mqtt.unsubscribe(&["b"]).await, [0, 0]);
    // It acknowledges nothing for now, and they are more than its stream has in memory.
    publish_wide(&server, &alice, "a", 200, 10_000).await;
    for number in 0..200 {
        let message = mqtt.message().await;
        assert_eq!(message.payload, format!("{number:010000}").as_bytes(), "{number}");
        mqtt.acknowledge(message.id.unwrap()).await;
    }
    mqtt.nothing_comes().await;
    drop(mqtt);
    server.keeps_only(1).await;
    assert!(!open(&server, &keeping("x", &alice)).await.1);
}

/// Many large filters that nobody else has, with options.
fn filters(of: &str) -> Vec<String> {
    (0..400).map(|number| format!("{of}/{number}/{}", "f".repeat(180))).collect()
}

async fn subscribe(mqtt: &mut Mqtt, filters: &[String]) -> Vec<u8> {
    let filters: Vec<_> = filters.iter().map(|filter| (&filter[..], 1)).collect();
    mqtt.subscribe(&filters).await
}

#[tokio::test]
async fn a_connect_or_subscribe_that_is_refused_leaves_the_session_as_it_was() {
    let (server, alice) = server_with(&[]).await;
    client(&server, 4, "publisher", &alice).await.publish("t", b"retained", true).await;
    let (mut mqtt, _) = open(&server, &keeping("x", &alice)).await;
    assert!(subscribe(&mut mqtt, &filters("x")).await.iter().all(|code| *code == 1));
    drop(mqtt);
    // Others of the user take all the memory that the user has for filters.
    let (mut others, mut last) = (Vec::new(), client(&server, 5, "last", &alice).await);
    // QoS 1, and retained messages if the filter is new.
    let asked = [("t", 0x11)];
    let mut number = 0;
    loop {
        let mut other = client(&server, 5, &format!("y{number}"), &alice).await;
        let codes = subscribe(&mut other, &filters(&format!("y{number}"))).await;
        others.push(other);
        if codes.iter().all(|code| *code == 0x97) {
            break;
        }
        number += 1;
        assert!(number < 20);
    }
    let many = filters("z");
    let with: Vec<_> = many.iter().map(|filter| (&filter[..], 1)).chain(asked).collect();
    assert_eq!(last.subscribe(&with).await, vec![0x97; 401]);
    last.nothing_comes().await;
    let willing = |user| Connect { will: Some(("gone", b"bye", 1, false)), ..keeping("x", user) };
    assert_ne!(code(&server, &willing(&alice)).await, 0);
    assert_ne!(code(&server, &Connect { client_id: "x", ..willing(&alice) }).await, 0);
    drop(others);
    server.keeps_only(2).await;
    // What failed is not there, and so is new.
    assert_eq!(last.subscribe(&asked).await, [1]);
    assert_eq!(last.message().await.topic, "t");
    let (mut mqtt, is_present) = open(&server, &willing(&alice)).await;
    assert!(is_present);
    mqtt.nothing_comes().await;
    assert!(alice.history("event=gone").await.events.is_empty());
    client(&server, 4, "publisher", &alice).await.publish(&filters("x")[7], b"", false).await;
    assert_eq!(mqtt.message().await.topic, filters("x")[7]);
}

#[tokio::test]
async fn a_message_right_behind_a_subscription_comes_by_it() {
    let (server, alice) = server_with(&[]).await;
    for (level, round) in [3, 4, 5].into_iter().flat_map(|level| (0..8).map(move |round| (level, round))) {
        let client_id = format!("{level}-{round}");
        let (mut mqtt, _) = open(&server, &super::sessions::keeping(level, &client_id, alice.jwt())).await;
        let properties = if level == 5 { vec![0] } else { Vec::new() };
        let subscribe = packet(0x82, &[&[0, 1][..], &properties, &text("a"), &[1]].concat());
        let publish = mqtt.publish_bytes(("a", round.to_string().as_bytes()), 1, round % 2 == 1, 2, &[]);
        mqtt.send(&[subscribe, publish].concat()).await;
        let mut came = Vec::new();
        while came.len() < 3 {
            let packet = mqtt.packet().await.expect("an answer, or the message");
            match mqtt.as_message(&packet) {
                // What was there before is retained.
                Some(message) if message.retain => {}
                Some(message) => {
                    assert_eq!(message.payload, round.to_string().as_bytes(), "{level}");
                    came.push(0x30);
                }
                None => came.push(packet.first),
            }
        }
        came.sort_unstable();
        assert_eq!(came, [0x30, 0x40, 0x90], "{level}, {round}");
    }
}
