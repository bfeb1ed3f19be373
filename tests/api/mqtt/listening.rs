//! Guards where MQTT is served: on its ports, over WebSocket, with and without TLS, and behind a proxy; and nowhere unless asked for.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::support::mqtt::{Connect, Mqtt, packet};
use super::super::support::{RawSocket, TestServer, send_all};
use super::{client, server_with};

#[tokio::test]
async fn mqtt_is_off_unless_it_is_asked_for() {
    let server = TestServer::start().await;
    assert!(!server.log().contains("mqtt://"));
    let alice = server.user("alice", "acme").await;
    assert_eq!(alice.get("/mqtt").await.status, 404);
}

#[tokio::test]
async fn a_message_goes_from_tcp_to_websocket_and_back() {
    let (server, alice) = server_with(&[]).await;
    let mut tcp = client(&server, 4, "tcp", &alice).await;
    for (path, protocol) in [("/mqtt", "mqtt"), ("/mqtt", "mqttv3.1")] {
        let mut raw = RawSocket::open(&server, path, &format!("sec-websocket-protocol: {protocol}\r\n")).await;
        let connect = Connect { level: 4, client_id: "ws", login: Some(("JWT", alice.jwt())), ..Connect::default() };
        // A packet may come in any number of frames (MQTT 5.0, 6.0.0-3).
        for piece in connect.bytes().chunks(7) {
            raw.send(&masked(piece)).await;
        }
        assert_eq!(raw.frame().await.unwrap(), (0x82, vec![0x20, 2, 0, 0]));
        raw.send(&masked(&packet(0x82, b"\x00\x01\x00\x01a\x00"))).await;
        assert_eq!(raw.frame().await.unwrap(), (0x82, vec![0x90, 3, 0, 1, 0]));
        tcp.publish("a", b"1", false).await;
        assert_eq!(raw.frame().await.unwrap(), (0x82, b"\x30\x04\x00\x01a1".to_vec()));
    }
}

/// A binary frame of a client.
fn masked(payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[0x82, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn websocket_takes_any_path_that_is_no_other_if_it_is_to() {
    for (flag, elsewhere, at_root) in [("--mqtt", 404, 200), ("--mqtt_any_path", 101, 101)] {
        let server = TestServer::start_with(&[flag]).await;
        let head_of = async |path: &str, headers: &str| {
            let mut raw = RawSocket::over(tokio::net::TcpStream::connect(server.address()).await.unwrap());
            raw.send(super::super::support::handshake(path, headers).as_bytes()).await;
            raw.head().await
        };
        for (path, protocol, expected) in [
            ("/a/b", "mqtt", elsewhere),
            // The path of a client that is given none.
            ("/", "mqtt", at_root),
            ("/", "mqttv3.1", at_root),
            ("/a/b", "other", 404),
            ("/", "other", 200),
        ] {
            let head = head_of(path, &format!("sec-websocket-protocol: {protocol}\r\n")).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {expected} ")), "{flag} {path} {protocol}: {head}");
        }
        // Whoever asks whether the server is well is told so.
        for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
            assert_eq!(server.client().request(method, "/", &[], None).await.status, 200);
        }
    }
}

#[tokio::test]
async fn pages_of_origins_that_are_not_allowed_are_refused() {
    let server = TestServer::start_with(&["--mqtt_any_path", "--origin=https://app.example"]).await;
    for (origin, is_let_in) in [("https://app.example", true), ("https://evil.example", false)] {
        for path in ["/mqtt", "/", "/a/b"] {
            let headers = format!("sec-websocket-protocol: mqtt\r\norigin: {origin}\r\n");
            let mut raw = RawSocket::over(tokio::net::TcpStream::connect(server.address()).await.unwrap());
            raw.send(super::super::support::handshake(path, &headers).as_bytes()).await;
            let head = raw.head().await;
            assert_eq!(head.starts_with("HTTP/1.1 101 "), is_let_in, "{origin} {path}: {head}");
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_where_a_client_is_and_nobody_else_does() {
    let said = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &[192, 0, 2, 7, 127, 0, 0, 1, 0xC0, 0, 7, 0x5B]].concat();
    for (flag, is_trusted) in [("--trusted_proxies=127.0.0.1", true), ("--trusted_proxies=", false)] {
        let (server, _) = server_with(&[flag]).await;
        let mut mqtt = Mqtt::dial(&server, 4).await;
        let login = Some(("alice", "wrong password"));
        let connect = Connect { level: 4, client_id: "x", login, ..Connect::default() };
        mqtt.send(&[said.clone(), connect.bytes()].concat()).await;
        let answer = mqtt.packet().await;
        assert_eq!(answer.is_some(), is_trusted, "{answer:?}");
        if is_trusted {
            server.says("\"address\":\"192.0.2.7\"").await;
        }
    }
}

#[tokio::test]
async fn a_proxy_that_says_nothing_right_is_cut() {
    let (server, _) = server_with(&["--trusted_proxies=127.0.0.1"]).await;
    for said in [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..],
        b"\r\n\r\n\0\r\nQUIX\n\x21\x11\x00\x0c",
        b"\rxxxxxxxxxxxxxxxxxxxxxx",
    ] {
        let mut socket = tokio::net::TcpStream::connect(server.mqtt()).await.unwrap();
        send_all(&mut socket, said).await.unwrap();
        let _ = socket.shutdown().await;
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
}

#[tokio::test]
async fn a_client_of_websocket_that_speaks_another_protocol_is_told_which_it_must() {
    let server = TestServer::start_with(&["--mqtt"]).await;
    for (path, protocol) in [("/mqtt", "mqtt"), ("/ws", "broker.v1")] {
        let mut raw = RawSocket::over(tokio::net::TcpStream::connect(server.address()).await.unwrap());
        let headers = "sec-websocket-protocol: other\r\nconnection: close\r\n";
        raw.send(super::super::support::handshake(path, headers).as_bytes()).await;
        let mut answer = String::new();
        raw.socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains(&format!("must offer {protocol}\"")), "{answer}");
    }
}
