//! Guards what becomes of messages: retained ones are the latest events of their names, others are transient; and whatever was
//! published, other doors see as JSON, and clients of MQTT as it was.

use serde_json::json;

use super::super::support::mqtt::{binary, property, text};
use super::super::support::until;
use super::{client, server_with};

#[tokio::test]
async fn a_retained_message_is_the_latest_event_of_its_name_and_an_empty_one_removes_it() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    let mut stream = alice.stream().await;
    assert_eq!(publisher.publish("home/light", br#"{"on": true}"#, true).await, 0);
    let event = stream.next().await;
    assert_eq!((event.name.as_str(), event.data.as_str()), ("home/light", r#"{"on":true}"#));
    let mut subscriber = client(&server, 4, "subscriber", &alice).await;
    assert_eq!(subscriber.subscribe(&[("home/+", 1)]).await, [1]);
    let retained = subscriber.message().await;
    assert_eq!(retained.brief(), ("home/light", r#"{"on": true}"#, 1, true), "as it was published");
    subscriber.acknowledge(retained.id.unwrap()).await;
    publisher.publish("home/light", b"", true).await;
    let removal = subscriber.message().await;
    assert_eq!(removal.brief(), ("home/light", "", 1, false));
    assert_eq!(stream.next().await.data, "null");
    assert!(alice.latest("/events").await.is_empty());
    // Of a name that nobody knows, there is nothing to remove: the message is delivered all the same.
    publisher.publish("unknown", b"", true).await;
    assert_eq!(subscriber.unsubscribe(&["home/+"]).await.len(), 0);
    assert_eq!(subscriber.subscribe(&[("unknown", 0)]).await, [0]);
    publisher.publish("unknown", b"", true).await;
    assert_eq!(subscriber.message().await.brief(), ("unknown", "", 0, false));
}

#[tokio::test]
async fn a_message_without_retain_is_transient() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    let mut subscriber = client(&server, 4, "subscriber", &alice).await;
    subscriber.subscribe(&[("a", 0)]).await;
    for number in 0..5 {
        publisher.publish("a", number.to_string().as_bytes(), false).await;
    }
    for number in 0..5 {
        assert_eq!(subscriber.message().await.brief(), ("a", &*number.to_string(), 0, false));
    }
    assert!(alice.latest("/events").await.is_empty());
    let history = alice.get("/history?event=a").await.json();
    assert_eq!(history["events"].as_array().unwrap().len(), 5);
    let mut late = client(&server, 4, "late", &alice).await;
    late.subscribe(&[("a", 0)]).await;
    late.nothing_comes().await;
}

#[tokio::test]
async fn what_is_inserted_over_http_is_a_message_and_what_is_no_json_is_seen_as_json() {
    let (server, alice) = server_with(&[]).await;
    alice.insert("news", json!({"a": 1})).await;
    let mut mqtt = client(&server, 5, "m", &alice).await;
    mqtt.subscribe(&[("#", 2)]).await;
    assert_eq!(mqtt.message().await.brief(), ("news", r#"{"a":1}"#, 2, true));
    for (payload, expected) in [
        (&b"plain text"[..], json!("plain text")),
        (b"\xff\x00\xfe", json!({"$base64": "/wD+"})),
        (b" [1, 2] ", json!([1, 2])),
        (b"21.5", json!(21.5)),
        (b"", json!("")),
    ] {
        mqtt.publish("raw", payload, false).await;
        let message = mqtt.message().await;
        assert_eq!((message.topic.as_str(), &message.payload[..]), ("raw", payload));
        let history = alice.get("/history?event=raw&limit=1").await.json();
        assert_eq!(history["events"][0]["data"], expected);
    }
}

#[tokio::test]
async fn the_properties_of_a_message_are_given_back_and_shown_where_there_is_room_for_them() {
    let (server, alice) = server_with(&[]).await;
    let mut subscriber = client(&server, 5, "subscriber", &alice).await;
    subscriber.subscribe(&[("a", 0)]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    let properties = [
        &[0x01, 1, 0x03][..],
        &text("text/plain"),
        &[0x08],
        &text("answers"),
        &[0x09],
        &binary(b"\x01\x02"),
        &[property::USER],
        &text("k"),
        &text("1"),
        &[property::USER],
        &text("k"),
        &text("2"),
    ]
    .concat();
    publisher.publish_with("a", b"hello", true, &properties).await;
    let message = subscriber.message().await;
    assert_eq!(message.property(property::USER), [[text("k"), text("1")].concat(), [text("k"), text("2")].concat()]);
    assert_eq!((message.property(0x01), message.property(0x03)), (vec![&[1][..]], vec![&text("text/plain")[..]]));
    assert_eq!(
        (message.property(0x08), message.property(0x09)),
        (vec![&text("answers")[..]], vec![&binary(b"\x01\x02")[..]])
    );
    let shown = alice.get("/events").await.json();
    assert_eq!(
        shown[0]["properties"],
        json!({
            "content_type": "text/plain",
            "response_topic": "answers",
            "correlation_data": "AQI=",
            "user_properties": [["k", "1"], ["k", "2"]],
            "payload_format": "text",
        })
    );
}

#[tokio::test]
async fn a_message_expires_and_says_how_long_it_has_left() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    let expiry = |seconds: u32| [&[property::MESSAGE_EXPIRY][..], &seconds.to_be_bytes()].concat();
    let mut live = client(&server, 5, "live", &alice).await;
    live.subscribe(&[("at once", 1)]).await;
    for retain in [false, true] {
        assert_eq!(publisher.publish_with("at once", b"1", retain, &expiry(0)).await, 0);
    }
    live.nothing_comes().await;
    assert!(alice.latest("/events?events=at+once").await.is_empty());
    publisher.publish_with("long", b"1", true, &expiry(1000)).await;
    publisher.publish_with("short", b"1", true, &expiry(1)).await;
    let mut subscriber = client(&server, 5, "subscriber", &alice).await;
    until("its removal", async || {
        let there = alice.latest("/events?events=short").await;
        there.is_empty().then_some(())
    })
    .await;
    subscriber.subscribe(&[("+", 0)]).await;
    let message = subscriber.message().await;
    assert_eq!(message.topic, "long");
    let left = u32::from_be_bytes(message.property(property::MESSAGE_EXPIRY)[0].try_into().unwrap());
    assert!((1..=999).contains(&left), "{left}");
    // The removal by expiry is no message.
    subscriber.nothing_comes().await;
}

#[tokio::test]
async fn what_is_left_of_a_message_is_less_the_later_it_is_asked_for_and_then_there_is_nothing() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    let mut subscriber = client(&server, 5, "subscriber", &alice).await;
    let expiry = |seconds: u32| [&[property::MESSAGE_EXPIRY][..], &seconds.to_be_bytes()].concat();
    publisher.publish_with("a", b"1", true, &expiry(600)).await;
    let mut left = async || {
        subscriber.subscribe(&[("a", 0)]).await;
        let message = subscriber.message().await;
        u32::from_be_bytes(message.property(property::MESSAGE_EXPIRY)[0].try_into().unwrap())
    };
    let first = left().await;
    assert!((1..=600).contains(&first), "{first}");
    until("less to be left", async || (left().await < first).then_some(())).await;
    publisher.publish_with("a", b"2", true, &expiry(1)).await;
    until("its removal", async || alice.latest("/events?events=a").await.is_empty().then_some(())).await;
    let mut later = client(&server, 5, "later", &alice).await;
    later.subscribe(&[("a", 0)]).await;
    later.nothing_comes().await;
}

#[tokio::test]
async fn text_and_bytes_are_seen_as_json_by_streams_too() {
    let (server, alice) = server_with(&[]).await;
    let mut publisher = client(&server, 4, "publisher", &alice).await;
    let mut stream = alice.stream().await;
    for retain in [true, false] {
        for (payload, expected) in [
            (&b"plain text"[..], r#""plain text""#),
            (b"\xff\x00\xfe", r#"{"$base64":"/wD+"}"#),
            (br#"{"on": true}"#, r#"{"on":true}"#),
        ] {
            publisher.publish("raw", payload, retain).await;
            let event = stream.next().await;
            assert_eq!((event.name.as_str(), event.data.as_str()), ("raw", expected), "{retain}");
        }
    }
    let latest = alice.stream().await.next().await;
    assert_eq!(latest.data, r#"{"on":true}"#, "the latest that was retained");
}

#[tokio::test]
async fn a_payload_of_as_many_bytes_as_an_event_may_have_is_taken_whatever_it_is_as_json() {
    // Together with the topic.
    let bytes = (100 << 10) - 1;
    let (server, alice) = server_with(&[]).await;
    let mut mqtt = client(&server, 5, "m", &alice).await;
    mqtt.subscribe(&[("a", 0)]).await;
    let json = [&b"[0"[..], &b", 0".repeat((bytes - 3) / 3), b"]"].concat();
    for payload in [vec![0xFF; bytes], vec![0; bytes], vec![b'\n'; bytes], json] {
        assert_eq!(mqtt.publish("a", &payload, true).await, 0);
        assert!(mqtt.message().await.payload == payload);
    }
    assert_eq!(mqtt.publish("a", &vec![b'x'; bytes + 1], false).await, 0x97);
    mqtt.nothing_comes().await;
}
