//! Guards MQTT over TLS: with the certificate that HTTPS has, also after it was replaced.

use std::fs;

use super::super::support::mqtt::{Connect, Mqtt};
use super::super::support::{Authority, connect_trusting, within};
use super::super::tls::Secure;

#[tokio::test]
async fn mqtts_has_the_certificate_of_https_also_after_it_was_replaced_and_open_connections_go_on() {
    let secure = Secure::start_with(&["--mqtts_port=0"]).await;
    let client = secure.client();
    client.create_user("alice", "acme").await.ok();
    let alice = client.sign_in("alice").await;
    let at = secure.server.mqtts();
    let connected = async |root: &str, client_id: &str, alpn: &str| {
        let mut mqtt = Mqtt::over(connect_trusting(root, &at, alpn).await.unwrap(), 5);
        let login = Some(("JWT", alice.jwt()));
        mqtt.send(&Connect { level: 5, client_id, login, ..Connect::default() }.bytes()).await;
        let connack = mqtt.packet().await.unwrap();
        assert_eq!((connack.first, connack.body[1]), (0x20, 0), "{connack:?}");
        mqtt
    };
    let mut before = connected(&secure.authority.root(), "before", "mqtt").await;
    assert_eq!(before.subscribe(&[("news", 1)]).await, [1]);

    let other = Authority::new();
    other.issue(secure.server.directory());
    secure.server.signal("HUP");
    secure.server.says("the certificate was read anew").await;
    assert!(connect_trusting(&secure.authority.root(), &at, "mqtt").await.is_err(), "the old one is served");
    let mut after = connected(&other.root(), "after", "mqtt").await;
    assert_eq!(after.publish("news", b"1", false).await, 0);
    assert_eq!(before.message().await.topic, "news");

    // One that cannot be used leaves the last one in place.
    fs::write(secure.server.directory().join("chain.pem"), "garbage").unwrap();
    secure.server.signal("HUP");
    secure.server.says("the old one stays").await;
    connected(&other.root(), "again", "mqtt").await;
    // Whoever speaks another protocol there is told so at the handshake.
    assert!(connect_trusting(&other.root(), &at, "http/1.1").await.is_err());
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_at_the_port_for_tls_is_cut() {
    let secure = Secure::start_with(&["--mqtts_port=0"]).await;
    let socket = tokio::net::TcpStream::connect(secure.server.mqtts()).await.unwrap();
    let mut mqtt = Mqtt::over(socket, 4);
    mqtt.send(&Connect { level: 4, client_id: "x", ..Connect::default() }.bytes()).await;
    // TLS says in its own words that this is no handshake.
    let mut rest = Vec::new();
    let _ = within("the end", tokio::io::AsyncReadExt::read_to_end(&mut mqtt.socket, &mut rest)).await;
    // An alert (RFC 8446, 5.1), and no packet behind it.
    assert!(rest.is_empty() || (rest[0] == 21 && rest.len() == 7), "{rest:?}");
}
