//! Guards who is let in, and what everybody else is told.

use serde_json::json;

use super::super::support::mqtt::{Connect, Mqtt, property, text};
use super::super::support::password_of;
use super::{client, code, server_with};

const LEVELS: [u8; 3] = [3, 4, 5];

fn with<'a>(level: u8, username: &'a str, password: &'a str) -> Connect<'a> {
    Connect { level, client_id: "device", login: Some((username, password)), ..Connect::default() }
}

/// A token of another service.
pub fn token(secret: &str, claims: &serde_json::Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

#[tokio::test]
async fn users_are_let_in_by_token_or_password_and_nobody_else() {
    let (server, alice) = server_with(&[]).await;
    let password = &password_of("alice");
    let wrong_token = format!("{}x", alice.jwt());
    for level in LEVELS {
        let bad = if level == 5 { 0x86 } else { 4 };
        let not_authorized = if level == 5 { 0x87 } else { 5 };
        for (username, password, expected) in [
            ("JWT", alice.jwt(), 0),
            ("alice", password, 0),
            ("JWT", &wrong_token, bad),
            ("JWT", "", bad),
            ("JWT", "a.b.c", bad),
            ("alice", "wrong password", bad),
            ("nobody", password, bad),
            ("a:b", "x", not_authorized),
            ("", "x", not_authorized),
        ] {
            assert_eq!(
                code(&server, &with(level, username, password)).await,
                expected,
                "{level} {username} {password}"
            );
        }
        let nothing = Connect { level, client_id: "device", ..Connect::default() };
        assert_eq!(code(&server, &nothing).await, not_authorized, "{level}");
    }
}

#[tokio::test]
async fn a_version_that_is_unknown_a_client_id_that_cannot_be_and_a_packet_that_is_none_are_told_apart() {
    let (server, alice) = server_with(&[]).await;
    let login = Some(("JWT", alice.jwt()));
    let unknown = Connect { level: 6, client_id: "x", login, ..Connect::default() };
    assert_eq!(code(&server, &unknown).await, 1);
    let long = "x".repeat(257);
    for (level, client_id, keeps_session, expected) in [
        (3, "", false, 2),
        (3, &long[..24], false, 2),
        (4, "", true, 2),
        (4, "", false, 0),
        (4, &long, false, 2),
        (5, &long, false, 0x85),
    ] {
        let connect = Connect { level, client_id, login, keeps_session, ..Connect::default() };
        assert_eq!(code(&server, &connect).await, expected, "{level} {client_id:?}");
    }
    let mut mqtt = Mqtt::dial(&server, 4).await;
    mqtt.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(mqtt.packet().await, None);
}

#[tokio::test]
async fn a_client_without_an_id_is_told_the_one_it_gets() {
    let (server, alice) = server_with(&[]).await;
    let connect = Connect { level: 5, login: Some(("JWT", alice.jwt())), ..Connect::default() };
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let (mqtt, connack) = Mqtt::open(&server, &connect).await;
        let assigned = connack.properties().into_iter().find(|(id, _)| *id == property::ASSIGNED_CLIENT_ID);
        ids.push(assigned.expect("an identifier").1);
        clients.push(mqtt);
    }
    assert!(ids[0].len() > 2 && ids[0] != ids[1], "{ids:?}");
    // Neither has taken the other's place.
    for mqtt in &mut clients {
        mqtt.nothing_comes().await;
    }
}

#[tokio::test]
async fn devices_and_handlers_of_the_mobile_broker_are_guests_with_their_own_topics() {
    let secret = "0123456789abcdef-mobile";
    let (server, alice) = server_with(&[
        "--mqtt_tenant=acme",
        &format!("--mqtt_jwt_secret={secret}"),
        "--mqtt_handler_key=0123456789abcdef-handler",
    ])
    .await;
    let of = |claims: &serde_json::Value| token(secret, claims);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (username, password, expected) in [
        ("JWT", of(&json!({"user_id": 68946})), 0),
        ("JWT", of(&json!({"user_id": "68946", "exp": now + 60})), 0),
        ("JWT", of(&json!({"sub": "x"})), 0),
        ("JWT", of(&json!({"user_id": 1, "exp": now - 1})), 4),
        ("JWT", of(&json!({})), 4),
        ("JWT", token("another secret of another", &json!({"user_id": 1})), 4),
        ("JWT", "eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoxfQ.".to_owned(), 4),
        ("handler", "0123456789abcdef-handler".to_owned(), 0),
        ("handler", of(&json!({"handler": true})), 0),
        ("handler", "wrong".to_owned(), 4),
        // Whom another token names, is let in by that name alone.
        ("handler", of(&json!({"user_id": 68946})), 4),
        ("handler", of(&json!({"user_id": 68946, "handler": false})), 4),
        ("handler", alice.jwt().to_owned(), 4),
    ] {
        assert_eq!(code(&server, &with(4, username, &password)).await, expected, "{username} {password}");
    }
    let mut device = Mqtt::signed_in(&server, 4, "d", &of(&json!({"user_id": 68946, "subscribe": ["news"]}))).await;
    let filters = ["68946_contact_requested", "68946/#", "news", "689461_x", "23412_x", "#", "+/x", "other"];
    let asked: Vec<_> = filters.iter().map(|filter| (*filter, 1)).collect();
    assert_eq!(device.subscribe(&asked).await, [1, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x80]);
    let login = Some(("handler", "0123456789abcdef-handler"));
    let connect = Connect { level: 5, client_id: "h", login, ..Connect::default() };
    let (mut handler, _) = Mqtt::open(&server, &connect).await;
    assert_eq!(handler.subscribe(&[("#", 1), ("request_contact", 0)]).await, [1, 0]);
    assert_eq!(handler.publish("23412_contact_requested", b"{}", false).await, 0);
    assert_eq!(handler.message().await.topic, "23412_contact_requested");
}

#[tokio::test]
async fn a_device_publishes_what_is_not_under_the_id_of_another() {
    let secret = "0123456789abcdef-mobile";
    let (server, _) = server_with(&["--mqtt_tenant=acme", &format!("--mqtt_jwt_secret={secret}")]).await;
    let of = token(secret, &json!({"user_id": 68946}));
    let mut device = Mqtt::signed_in(&server, 5, "d", &of).await;
    for (topic, expected) in [
        ("request_contact", 0),
        ("68946_x", 0),
        ("68946/x", 0),
        ("23412_x", 0x87),
        ("689461_x", 0x87),
        ("1/x", 0x87),
        ("@alice/x", 0x87),
        ("$SYS/x", 0x90),
    ] {
        assert_eq!(device.publish(topic, b"1", false).await, expected, "{topic}");
    }
}

#[tokio::test]
async fn clients_without_credentials_are_the_user_that_is_named_if_one_is() {
    let (server, _) = server_with(&["--mqtt_anonymous=alice"]).await;
    let nothing = Connect { level: 4, client_id: "x", ..Connect::default() };
    let (mut mqtt, connack) = Mqtt::open(&server, &nothing).await;
    assert_eq!(connack.body, [0, 0]);
    mqtt.publish("news", b"1", true).await;
    let alice = server.client().sign_in("alice").await;
    let events = alice.latest("/events").await;
    assert_eq!((events[0].event.as_str(), events[0].username.as_str()), ("news", "alice"));
}

#[tokio::test]
async fn clients_without_credentials_have_no_session_and_disturb_no_other_address() {
    let (server, _) = server_with(&["--mqtt_anonymous=alice"]).await;
    let expiry = [&[0x11][..], &3600_u32.to_be_bytes()].concat();
    for (level, properties, is_told) in [(4, Vec::new(), false), (5, expiry, true)] {
        let nothing = Connect { level, client_id: "x", properties, keeps_session: true, ..Connect::default() };
        for _ in 0..2 {
            let (mqtt, connack) = Mqtt::open(&server, &nothing).await;
            assert_eq!(connack.body[..2], [0, 0], "{level}");
            assert_eq!(connack.body.windows(5).any(|window| window == [0x11, 0, 0, 0, 0]), is_told, "{level}");
            drop(mqtt);
        }
        let (mut mine, _) = Mqtt::open(&server, &nothing).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut theirs = Mqtt::over(socket.connect(server.mqtt().parse().unwrap()).await.unwrap(), level);
        theirs.send(&nothing.bytes()).await;
        assert_eq!(theirs.packet().await.unwrap().body[..2], [0, 0]);
        mine.nothing_comes().await;
        let (_again, _) = Mqtt::open(&server, &nothing).await;
        assert_eq!(mine.ended().await, (level == 5).then_some(0x8E));
        theirs.nothing_comes().await;
    }
}

#[tokio::test]
async fn a_user_who_connects_too_often_is_told_so() {
    let (server, alice) = server_with(&["--mqtt_connect_rate=3"]).await;
    let login = Some(("JWT", alice.jwt()));
    for (level, expected) in [(4, 3), (5, 0x9F)] {
        let connect = Connect { level, client_id: "x", login, ..Connect::default() };
        let mut codes = Vec::new();
        while codes.last().is_none_or(|last| *last == 0) {
            codes.push(code(&server, &connect).await);
        }
        assert_eq!(codes.last(), Some(&expected));
    }
}

#[tokio::test]
async fn a_sign_in_that_ends_ends_the_connection_with_its_reason() {
    let (server, alice) = server_with(&["--jwt_expiry=2"]).await;
    let mut five = client(&server, 5, "five", &alice).await;
    let mut four = client(&server, 4, "four", &alice).await;
    assert_eq!(five.ended().await, Some(0xA0));
    assert_eq!(four.ended().await, None);
    let alice = server.client().sign_in("alice").await;
    let mut five = client(&server, 5, "five", &alice).await;
    super::super::support::revoke(&server.client(), "alice").await;
    assert_eq!(five.ended().await, Some(0x87));
}

#[tokio::test]
async fn a_user_who_is_called_like_a_way_in_signs_in_by_token() {
    for (flags, name, by_password) in [
        (&[][..], "JWT", 4),
        (&[], "handler", 0),
        (&["--mqtt_tenant=acme", "--mqtt_handler_key=0123456789abcdef-handler"], "handler", 4),
    ] {
        let (server, _) = server_with(flags).await;
        let user = server.user(name, "acme").await;
        let password = password_of(name);
        assert_eq!(code(&server, &with(4, name, &password)).await, by_password, "{flags:?} {name}");
        assert_eq!(code(&server, &with(4, "JWT", user.jwt())).await, 0, "{flags:?} {name}");
    }
}

#[tokio::test]
async fn a_token_is_renewed_on_the_open_connection() {
    let (server, alice) = server_with(&["--jwt_expiry=3"]).await;
    let method = [&[0x15][..], &text("JWT")].concat();
    let data = |token: &str| [&[0x16][..], &text(token)].concat();
    let properties = [method.clone(), data(alice.jwt())].concat();
    let connect = Connect { level: 5, client_id: "x", properties, ..Connect::default() };
    let (mut mqtt, connack) = Mqtt::open(&server, &connect).await;
    assert_eq!(connack.body[1], 0, "{connack:?}");
    let mut unrenewed = client(&server, 5, "unrenewed", &alice).await;
    let other = server.user("bob", "acme").await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let newer = server.client().sign_in("alice").await;
    let auth = |token: &str| {
        let properties = [method.clone(), data(token)].concat();
        let mut body = vec![0x19, properties.len() as u8];
        if properties.len() > 127 {
            body = vec![0x19, (properties.len() & 0x7f) as u8 | 0x80, (properties.len() >> 7) as u8];
        }
        super::super::support::mqtt::packet(0xF0, &[body, properties].concat())
    };
    let renewed = auth(newer.jwt());
    mqtt.send(&renewed).await;
    assert_eq!(mqtt.packet().await.unwrap().first, 0xF0);
    // The first token ends here, and whoever has not renewed it goes.
    assert_eq!(unrenewed.ended().await, Some(0xA0));
    mqtt.nothing_comes().await;
    let stolen = auth(other.jwt());
    mqtt.send(&stolen).await;
    assert_eq!(mqtt.ended().await, Some(0x87));
}
