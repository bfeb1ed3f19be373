//! Guards the right to a will: who may leave one, for how long, and how often.

use serde_json::json;

use super::super::support::mqtt::{Connect, Mqtt, packet, property, text};
use super::super::support::{TestServer, User, within};
use super::connect::token;
use super::{client, server_with};

const SECRET: &str = "0123456789abcdef-mobile";

fn in_seconds(seconds: u64) -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + seconds
}

fn device_token(exp: u64) -> String {
    token(SECRET, &json!({"user_id": 7, "exp": exp}))
}

async fn server_for_devices() -> (TestServer, User) {
    server_with(&["--mqtt_tenant=acme", &format!("--mqtt_jwt_secret={SECRET}")]).await
}

/// Authenticates by a token, as one does who renews it.
pub fn authentication(token: &str) -> Vec<u8> {
    [&[0x15][..], &text("JWT"), &[0x16], &text(token)].concat()
}

pub fn auth(token: &str) -> Vec<u8> {
    let properties = authentication(token);
    let length = [(properties.len() & 0x7f) as u8 | 0x80, (properties.len() >> 7) as u8];
    packet(0xF0, &[&[0x19][..], &length, &properties].concat())
}

#[tokio::test]
async fn the_will_of_a_device_is_published_when_its_token_ends_and_of_one_that_renewed_it_when_it_goes() {
    let (server, alice) = server_for_devices().await;
    let mut watcher = client(&server, 4, "watcher", &alice).await;
    watcher.subscribe(&[("7/#", 1)]).await;
    let short = device_token(in_seconds(3));
    let will = |topic| Some((topic, &b"bye"[..], 1, false));
    let expiry = [&[0x11][..], &3600_u32.to_be_bytes()].concat();
    let delay = [&[0x18][..], &600_u32.to_be_bytes()].concat();
    let properties = [authentication(&short), expiry].concat();
    let connect = Connect { level: 5, client_id: "a", properties: properties.clone(), ..Connect::default() };
    let delayed = Connect { will: will("7/ends"), will_properties: delay, ..connect };
    let (mut ends, connack) = Mqtt::open(&server, &delayed).await;
    assert_eq!(connack.body[1], 0);
    let connect = Connect { level: 5, client_id: "b", properties, will: will("7/renews"), ..Connect::default() };
    let (mut renews, _) = Mqtt::open(&server, &connect).await;
    renews.send(&auth(&device_token(in_seconds(1000)))).await;
    assert_eq!(renews.packet().await.unwrap().first, 0xF0);
    assert_eq!(ends.ended().await, Some(0xA0));
    let message = watcher.message().await;
    assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("7/ends", &b"bye"[..]));
    watcher.acknowledge(message.id.unwrap()).await;
    drop(renews);
    assert_eq!(watcher.message().await.topic, "7/renews");
}

#[tokio::test]
async fn a_will_that_its_user_may_not_publish_is_refused_with_the_connection() {
    let (server, alice) = server_for_devices().await;
    for (level, code) in [(5, 0x87), (4, 5)] {
        let token = device_token(in_seconds(60));
        let login = Some(("JWT", token.as_str()));
        let connect =
            Connect { level, client_id: "d", login, will: Some(("8/gone", b"", 0, false)), ..Connect::default() };
        assert_eq!(Mqtt::open(&server, &connect).await.1.body[..2], [0, code]);
        let connect = Connect { will: Some(("7/gone", b"", 0, false)), ..connect };
        assert_eq!(Mqtt::open(&server, &connect).await.1.body[..2], [0, 0]);
    }
    drop(alice);
    // The same for users.
    let (server, alice) = server_with(&["--authorize=scopes"]).await;
    let login = Some(("JWT", alice.jwt()));
    for (level, code) in [(5, 0x87), (4, 5)] {
        let connect =
            Connect { level, client_id: "u", login, will: Some(("gone", b"", 0, false)), ..Connect::default() };
        assert_eq!(Mqtt::open(&server, &connect).await.1.body[..2], [0, code]);
    }
}

#[tokio::test]
async fn a_takeover_publishes_the_will_unless_it_waits_for_a_session_that_goes_on() {
    let (server, alice) = server_with(&[]).await;
    let mut watcher = client(&server, 4, "watcher", &alice).await;
    watcher.subscribe(&[("gone/+", 0)]).await;
    let properties = |expiry: u32| [&[property::SESSION_EXPIRY][..], &expiry.to_be_bytes()].concat();
    let delayed = |delay: u32| [&[0x18][..], &delay.to_be_bytes()].concat();
    for (number, (level, expiry, delay, clean_start, is_published)) in [
        (4, 0, 0, false, true),
        (4, 0, 0, true, true),
        (5, 3600, 0, false, true),
        (5, 0, 0, true, true),
        // The session ends, and the will does not wait for longer.
        (5, 3600, 3600, true, true),
        (5, 0, 3600, false, true),
        // The client is back in time.
        (5, 3600, 3600, false, false),
    ]
    .into_iter()
    .enumerate()
    {
        let (topic, client_id) = (format!("gone/{number}"), format!("c{number}"));
        let login = Some(("JWT", alice.jwt()));
        let second = Connect {
            level,
            client_id: &client_id,
            login,
            keeps_session: !clean_start,
            properties: properties(expiry),
            ..Connect::default()
        };
        let first = Connect {
            keeps_session: true,
            will: Some((&topic, b"bye", 1, false)),
            will_properties: delayed(delay),
            ..second.clone()
        };
        let (mut mqtt, _) = Mqtt::open(&server, &first).await;
        let (_second, connack) = Mqtt::open(&server, &second).await;
        assert_eq!(connack.body[1], 0, "{number}");
        assert_eq!(mqtt.ended().await, (level == 5).then_some(0x8E), "{number}");
        if is_published {
            assert_eq!(watcher.message().await.topic, topic);
        }
        // It is published with the takeover, or not at all.
        watcher.nothing_comes().await;
    }
}

#[tokio::test]
async fn a_will_that_no_event_can_be_is_refused_for_good() {
    let (server, alice) = server_with(&["--max_event_bytes=1000"]).await;
    let large = [b'x'; 2000];
    for (topic, payload, code) in [("$SYS/x", &b"1"[..], 0x90), (" a", b"1", 0x90), ("a", &large, 0x95)] {
        for level in [3, 4, 5] {
            let login = Some(("JWT", alice.jwt()));
            let connect =
                Connect { level, client_id: "x", login, will: Some((topic, payload, 1, false)), ..Connect::default() };
            // 3 would have the client try again.
            let expected = if level == 5 { code } else { 5 };
            assert_eq!(Mqtt::open(&server, &connect).await.1.body[..2], [0, expected], "{level} {topic}");
        }
    }
}

#[tokio::test]
async fn wills_are_published_no_faster_than_events_may_be_inserted() {
    let (server, alice) = server_with(&["--insert_rate=3"]).await;
    let login = Some(("JWT", alice.jwt()));
    let connect =
        Connect { level: 5, client_id: "x", login, will: Some(("gone", b"", 0, false)), ..Connect::default() };
    let mut codes = Vec::new();
    for _ in 0..20 {
        let (mqtt, connack) = within("a connection", Mqtt::open(&server, &connect)).await;
        codes.push(connack.body[1]);
        drop(mqtt);
    }
    assert!(codes[..3] == [0; 3] && codes.contains(&0x89), "{codes:?}");
    // A client without a will takes nothing.
    drop(client(&server, 5, "y", &alice).await);
}
