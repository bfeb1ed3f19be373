//! Guards that rights are looked at again when a message is delivered: of a session that goes on, what its client may no longer see is
//! not given, be it in flight, missed or retained; and a newer token counts wherever the client is given something.

use serde_json::json;

use super::super::support::mqtt::{Connect, Mqtt, property};
use super::super::support::{set_scopes, user_with};
use super::connect::token;
use super::wills::{auth, authentication};
use super::{client, server_with};

const SECRET: &str = "0123456789abcdef-mobile";

/// Connects with a session that is kept, and takes one message at a time. Returns whether there was a session.
async fn reopen(server: &super::TestServer, token: &str) -> (Mqtt, bool) {
    let properties =
        [&[property::RECEIVE_MAXIMUM, 0, 1, property::SESSION_EXPIRY][..], &3600_u32.to_be_bytes()].concat();
    let login = Some(("JWT", token));
    let connect = Connect { level: 5, client_id: "x", login, keeps_session: true, properties, ..Connect::default() };
    let (mqtt, connack) = Mqtt::open(server, &connect).await;
    assert_eq!(connack.body[1], 0, "{connack:?}");
    (mqtt, connack.body[0] == 1)
}

/// Publishes three messages: one that is given and not acknowledged, one that waits, and one that is missed.
async fn leaves_unfinished(mqtt: Mqtt, publisher: &mut Mqtt, name: &str) {
    let mut mqtt = mqtt;
    publisher.publish(&format!("{name}/1"), b"1", true).await;
    assert_eq!(mqtt.message().await.topic, format!("{name}/1"));
    publisher.publish(&format!("{name}/2"), b"1", false).await;
    mqtt.nothing_comes().await;
    drop(mqtt);
    publisher.publish(&format!("{name}/3"), b"1", false).await;
}

#[tokio::test]
async fn a_session_that_goes_on_gives_a_user_nothing_that_it_lost_the_right_to() {
    let (server, _) = server_with(&["--authorize=scopes"]).await;
    let writer = user_with(&server, "writer", &["a/*:post", "b/*:post"]).await;
    let mut publisher = client(&server, 5, "publisher", &writer).await;
    for is_taken in [false, true] {
        let name = if is_taken { "bob" } else { "carol" };
        let user = user_with(&server, name, &["a/*:get", "b/*:get"]).await;
        let (mut mqtt, _) = reopen(&server, user.jwt()).await;
        assert_eq!(mqtt.subscribe(&[("#", 1 | 2 << 4)]).await, [1]);
        leaves_unfinished(mqtt, &mut publisher, "a").await;
        if is_taken {
            set_scopes(&server.client(), name, &["b/*:get"]).await;
        }
        let (mut mqtt, is_present) = reopen(&server, user.jwt()).await;
        assert!(is_present, "{name}");
        publisher.publish("b/1", b"1", true).await;
        let expected: &[_] = if is_taken { &["b/1"] } else { &["a/1", "a/2", "a/3", "b/1"] };
        for topic in expected {
            let message = mqtt.message().await;
            assert_eq!(message.topic, *topic, "{name}");
            mqtt.acknowledge(message.id.unwrap()).await;
        }
        mqtt.nothing_comes().await;
        // What is retained is given by the right of now, too.
        assert_eq!(mqtt.subscribe(&[("+/1", 1)]).await, [1]);
        let expected: &[_] = if is_taken { &["b/1"] } else { &["a/1", "b/1"] };
        for topic in expected {
            let message = mqtt.message().await;
            assert_eq!((message.topic.as_str(), message.retain), (*topic, true), "{name}");
            mqtt.acknowledge(message.id.unwrap()).await;
        }
        mqtt.nothing_comes().await;
    }
}

#[tokio::test]
async fn a_session_that_goes_on_with_a_narrower_token_gives_a_device_nothing_beyond_it() {
    let (server, alice) = server_with(&["--mqtt_tenant=acme", &format!("--mqtt_jwt_secret={SECRET}")]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    let wide = token(SECRET, &json!({"user_id": 7, "subscribe": ["news/#"]}));
    let narrow = token(SECRET, &json!({"user_id": 7}));
    let (mut mqtt, _) = reopen(&server, &wide).await;
    assert_eq!(mqtt.subscribe(&[("news/#", 1), ("7/#", 1)]).await, [1, 1]);
    leaves_unfinished(mqtt, &mut publisher, "news").await;
    let (mut mqtt, is_present) = reopen(&server, &narrow).await;
    assert!(is_present);
    publisher.publish("news/4", b"1", false).await;
    publisher.publish("7/x", b"1", false).await;
    let message = mqtt.message().await;
    assert_eq!(message.topic, "7/x");
    mqtt.acknowledge(message.id.unwrap()).await;
    mqtt.nothing_comes().await;
    assert_eq!(mqtt.subscribe(&[("news/#", 1)]).await, [0x87]);
    mqtt.nothing_comes().await;
}

#[tokio::test]
async fn a_share_gives_a_device_what_the_token_permits_that_it_has_renewed() {
    let (server, alice) = server_with(&["--mqtt_tenant=acme", &format!("--mqtt_jwt_secret={SECRET}")]).await;
    let mut publisher = client(&server, 5, "publisher", &alice).await;
    let [wide, narrow] =
        ["news/#", "weather/#"].map(|filter| token(SECRET, &json!({"user_id": 7, "subscribe": [filter]})));
    let connect = Connect { level: 5, client_id: "x", properties: authentication(&wide), ..Connect::default() };
    let (mut mqtt, connack) = Mqtt::open(&server, &connect).await;
    assert_eq!(connack.body[1], 0, "{connack:?}");
    assert_eq!(mqtt.subscribe(&[("$share/g/news/#", 1)]).await, [1]);
    for (newer, payload) in [(&wide, b"1"), (&narrow, b"2"), (&wide, b"3")] {
        mqtt.send(&auth(newer)).await;
        assert_eq!(mqtt.packet().await.unwrap().first, 0xF0);
        publisher.publish("news/1", payload, false).await;
        if newer == &wide {
            let message = mqtt.message().await;
            assert_eq!(message.payload, payload);
            mqtt.acknowledge(message.id.unwrap()).await;
        }
        mqtt.nothing_comes().await;
    }
}
