//! Guards the way from a request to a WebSocket: who may, what is answered, and that no byte is lost.

use broker::config::Origins;

use super::{EchoServer, asks};
use crate::support::{Client, RawSocket, frame, text_frame};

#[tokio::test]
async fn the_answer_is_that_of_the_rfc_and_has_no_body() {
    let server = EchoServer::start();
    let mut raw = RawSocket::connect(&server).await;
    raw.send(asks().as_bytes()).await;
    let head = raw.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    for line in ["connection: upgrade", "upgrade: websocket", "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="] {
        assert!(head.lines().any(|one| one == line), "no {line} in {head}");
    }
    for name in ["transfer-encoding", "content-length", "sec-websocket-protocol", "sec-websocket-extensions"] {
        assert!(!head.contains(name), "{head}");
    }
    raw.send(&text_frame("hello")).await;
    assert_eq!(raw.frame().await, Some((0x81, b"hello".to_vec())));
    raw.send(&frame(0x88, &[0x0f, 0xa1])).await;
    assert_eq!(raw.frame().await, Some((0x88, vec![0x0f, 0xa1])));
    assert_eq!(raw.frame().await, None);
}

#[tokio::test]
async fn a_subprotocol_and_compression_are_answered_if_they_were_asked_for() {
    let server = EchoServer::start();
    for (asked, answered) in [
        ("sec-websocket-protocol: a, echo.v1", Some("sec-websocket-protocol: echo.v1")),
        ("sec-websocket-protocol: a, b", None),
        (
            "sec-websocket-extensions: x, permessage-deflate; client_max_window_bits",
            Some(
                "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            ),
        ),
        ("sec-websocket-extensions: permessage-deflate; unknown", None),
    ] {
        let mut raw = RawSocket::connect(&server).await;
        raw.send(asks().replace("\r\n\r\n", &format!("\r\n{asked}\r\n\r\n")).as_bytes()).await;
        let head = raw.head().await.to_ascii_lowercase();
        match answered {
            Some(line) => assert!(head.lines().any(|one| one == line), "{head}"),
            None => assert!(
                !head.contains("sec-websocket-protocol") && !head.contains("sec-websocket-extensions"),
                "{head}"
            ),
        }
    }
}

#[tokio::test]
async fn what_a_client_sends_right_behind_its_handshake_is_not_lost() {
    let server = EchoServer::start();
    // More than is read ahead of a request's answer.
    let numbers: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let frames: Vec<u8> = numbers.iter().flat_map(|number| text_frame(number)).collect();
    assert!(frames.len() > 100_000);
    let before = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let bytes = [before.as_bytes(), asks().as_bytes(), &frames].concat();
    let mut raw = RawSocket::connect(&server).await;
    let (mut read, mut write) = raw.socket.into_split();
    let sending = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut write, &bytes).await.unwrap();
        write
    });
    let mut reading = RawSocket {
        socket: tokio::io::join(&mut read, tokio::io::sink()),
        received: std::mem::take(&mut raw.received),
    };
    assert_eq!(reading.answer().await.2, "alive", "an earlier request is answered first");
    assert!(reading.head().await.starts_with("HTTP/1.1 101 "));
    for number in numbers {
        assert_eq!(reading.frame().await, Some((0x81, number.into_bytes())));
    }
    drop(sending.await.unwrap());
    // The same over TLS, in one record.
    let server = EchoServer::start_with_tls(Origins::Any);
    let mut raw = RawSocket::connect_with_tls(&server).await;
    raw.send(&[asks().as_bytes(), &text_frame("at once")].concat()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(raw.frame().await, Some((0x81, b"at once".to_vec())));
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_refused_and_its_connection_goes_on() {
    let server = EchoServer::start();
    let mut raw = RawSocket::connect(&server).await;
    for (from, to, status, code) in [
        ("upgrade: websocket", "x: y", 426, "upgrade_required"),
        ("upgrade: websocket", "upgrade: h2c", 426, "upgrade_required"),
        ("keep-alive, Upgrade", "keep-alive", 426, "upgrade_required"),
        ("version: 13", "version: 8", 426, "upgrade_required"),
        ("GET", "HEAD", 426, ""),
        ("GET", "OPTIONS", 200, ""),
        ("GET", "DELETE", 426, "upgrade_required"),
        ("sec-websocket-version: 13\r\n", "", 400, "handshake_invalid"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 400, "handshake_invalid"),
        ("\r\n\r\n", "\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 400, "handshake_invalid"),
        ("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\nbody", 400, "handshake_invalid"),
    ] {
        let request = asks().replacen(from, to, 1);
        raw.send(request.as_bytes()).await;
        let head_only = to == "HEAD";
        let (got, head, body) = if head_only {
            let head = raw.head().await.to_ascii_lowercase();
            (head[9..12].parse().unwrap(), head, String::new())
        } else {
            raw.answer().await
        };
        assert_eq!(got, status, "{request}: {body}");
        assert!(body.contains(code), "{request}: {body}");
        for line in ["upgrade: websocket", "sec-websocket-version: 13", "connection: upgrade"] {
            assert_eq!(head.lines().any(|one| one == line), status == 426, "{line}: {head}");
        }
        if to.ends_with("body") {
            // What was not read may follow.
            raw = RawSocket::connect(&server).await;
        }
    }
    raw.send(asks().as_bytes()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn another_version_of_http_is_told_that_it_takes_http_1_1() {
    let server = EchoServer::start();
    let mut raw = RawSocket::connect(&server).await;
    raw.send(asks().replace("HTTP/1.1", "HTTP/1.0").as_bytes()).await;
    let (status, _, body) = raw.answer().await;
    assert!(status == 400 && body.contains("HTTP/1.1") && body.contains("handshake_invalid"), "{body}");

    let server = EchoServer::start_with_tls(Origins::Any);
    let url = format!("https://localhost:{}", server.address.port());
    let client = Client::trusting(&server.root(), reqwest::Client::builder().http2_prior_knowledge(), &url);
    let answer = client.get("/echo").await;
    assert!(answer.refused(400, "handshake_invalid").body.contains("HTTP/1.1"));
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_gets_no_connection() {
    let server = EchoServer::start_for_pages_of("https://page.example");
    for (origin, is_let_in) in [
        (None, true),
        (Some("https://page.example"), true),
        (Some("https://elsewhere.example"), false),
        (Some("null"), false),
        (Some("https://page.example\r\norigin: https://elsewhere.example"), false),
    ] {
        let mut raw = RawSocket::connect(&server).await;
        let header = origin.map(|origin| format!("\r\norigin: {origin}")).unwrap_or_default();
        raw.send(asks().replace("\r\n\r\n", &format!("{header}\r\n\r\n")).as_bytes()).await;
        if is_let_in {
            assert!(raw.head().await.starts_with("HTTP/1.1 101 "), "{origin:?}");
        } else {
            let (status, _, body) = raw.answer().await;
            assert!(status == 403 && body.contains("origin_not_allowed"), "{origin:?}: {body}");
        }
    }
}
