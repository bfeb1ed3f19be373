//! Guards sessions by WebSocket, by the cases of both suites.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::connection::WebSocket;
use super::server::EchoServer;

#[tokio::test]
async fn a_session_opens_with_its_connection() {
    let server = EchoServer::start();
    let (_socket, opened) = WebSocket::open(&server).await;
    let expected = json!({
        "sid": opened["sid"], "upgrades": [], "pingInterval": 600_000, "pingTimeout": 20_000, "maxPayload": 1_000_000
    });
    assert_eq!(opened, expected);
}

#[tokio::test]
async fn a_handshake_that_is_wrong_is_refused_by_the_codes_of_the_protocol() {
    let server = EchoServer::start();
    for (query, body) in [
        ("", r#"{"code":0,"message":"Transport unknown"}"#),
        ("EIO=4", r#"{"code":0,"message":"Transport unknown"}"#),
        ("EIO=4&transport=abc", r#"{"code":0,"message":"Transport unknown"}"#),
        ("transport=websocket", r#"{"code":5,"message":"Unsupported protocol version"}"#),
        ("EIO=abc&transport=websocket", r#"{"code":5,"message":"Unsupported protocol version"}"#),
        ("EIO=3&transport=websocket", r#"{"code":5,"message":"Unsupported protocol version"}"#),
        ("EIO=4&transport=websocket&sid=abc", r#"{"code":1,"message":"Session ID unknown"}"#),
    ] {
        let refused = WebSocket::connect(&server, query).await.err();
        assert_eq!(refused, Some((400, body.to_owned())), "{query}");
    }
}

#[tokio::test]
async fn namespaces_are_joined_and_left() {
    let server = EchoServer::start();
    for (sent, namespace, auth) in [
        ("40", "", "{}"),
        (r#"40{"token":"123"}"#, "", r#"{"token":"123"}"#),
        ("40/custom,", "/custom,", "{}"),
        (r#"40/custom,{"token":"abc"}"#, "/custom,", r#"{"token":"abc"}"#),
    ] {
        let (mut socket, _) = WebSocket::open(&server).await;
        socket.send(sent).await;
        let joined = socket.text().await;
        assert!(joined.starts_with(&format!("40{namespace}{{\"sid\":\"")), "{joined}");
        assert_eq!(socket.text().await, format!(r#"42{namespace}["auth",{auth}]"#));
    }
    let (mut socket, _) = WebSocket::open(&server).await;
    socket.send("40/random").await;
    assert_eq!(socket.text().await, r#"44/random,{"message":"Invalid namespace"}"#);

    let mut socket = WebSocket::join(&server).await;
    socket.send("40/custom").await;
    assert!(socket.text().await.starts_with("40/custom,{"));
    socket.text().await;
    socket.send("41/custom").await;
    socket.send(r#"42["message","message to main namespace"]"#).await;
    assert_eq!(socket.text().await, r#"42["message-back","message to main namespace"]"#);
}

#[tokio::test]
async fn events_come_and_go_with_attachments_and_answers() {
    let server = EchoServer::start();
    let mut socket = WebSocket::join(&server).await;
    socket.send(r#"42["message",1,"2",{"3":[true]}]"#).await;
    assert_eq!(socket.text().await, r#"42["message-back",1,"2",{"3":[true]}]"#);
    socket.send(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#).await;
    assert_eq!(socket.text().await, r#"43456[1,"2",{"3":[false]}]"#);
    let placeholders = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
    for (sent, answered) in [
        (format!("452-[\"message\",{placeholders}]"), format!("452-[\"message-back\",{placeholders}]")),
        (format!("452-789[\"message-with-ack\",{placeholders}]"), format!("462-789[{placeholders}]")),
    ] {
        socket.send(&sent).await;
        socket.send_binary(&[1, 2, 3]).await;
        socket.send_binary(&[4, 5, 6]).await;
        assert_eq!(socket.text().await, answered);
        assert_eq!(socket.message().await, Some(Message::binary(vec![1, 2, 3])));
        assert_eq!(socket.message().await, Some(Message::binary(vec![4, 5, 6])));
    }
}

#[tokio::test]
async fn what_is_not_a_packet_ends_the_connection() {
    let server = EchoServer::start();
    for sent in ["abc", "", "2", "4abc", "42{}", "42abc[\"message-with-ack\"]", "42/custom,[\"message\"]", "40"] {
        let mut socket = WebSocket::join(&server).await;
        socket.send(sent).await;
        socket.ends().await;
    }
    let mut socket = WebSocket::join(&server).await;
    socket.send_binary(&[1, 2, 3, 4]).await;
    socket.ends().await;
}

#[tokio::test]
async fn a_client_that_says_so_is_closed() {
    let server = EchoServer::start();
    let mut socket = WebSocket::join(&server).await;
    socket.send("1").await;
    socket.ends().await;
}

#[tokio::test]
async fn a_client_is_pinged_and_one_that_does_not_answer_is_gone() {
    let server = EchoServer::pinging();
    let (mut socket, _) = WebSocket::open(&server).await;
    for _ in 0..3 {
        assert_eq!(socket.text().await, "2");
        socket.send("3").await;
    }
    let server = EchoServer::impatient();
    let (mut socket, _) = WebSocket::open(&server).await;
    assert_eq!(socket.text().await, "2");
    socket.ends().await;
}

#[tokio::test]
async fn a_client_that_leaves_its_only_namespace_is_still_pinged() {
    let server = EchoServer::pinging();
    let mut socket = WebSocket::join(&server).await;
    socket.send("41").await;
    assert_eq!(socket.text().await, "2");
}

#[tokio::test]
async fn a_client_that_joins_no_namespace_is_closed() {
    let server = EchoServer::with(super::sio::Settings {
        connect_timeout: std::time::Duration::from_millis(100),
        ping_interval: std::time::Duration::from_secs(10),
        ..Default::default()
    });
    let (socket, _) = WebSocket::open(&server).await;
    socket.ends().await;
}

#[tokio::test]
async fn a_stream_is_written_to_the_connection_and_answers_come_between() {
    let server = EchoServer::start();
    let mut socket = WebSocket::join(&server).await;
    socket.send(r#"42["listen"]"#).await;
    server.feed.add(10_000);
    socket.send(r#"427["message-with-ack"]"#).await;
    let (mut number, mut is_answered) = (0, false);
    while number < 10_000 || !is_answered {
        match socket.text().await.as_str() {
            "437[]" => is_answered = true,
            event => {
                assert_eq!(event, format!(r#"42["number",{number},"{number}"]"#));
                number += 1;
            }
        }
    }
    assert_eq!(*server.feed.began.lock().unwrap(), ["websocket"]);
}

#[tokio::test]
async fn a_client_that_sends_and_reads_nothing_is_read_no_further() {
    let server = EchoServer::start();
    let mut socket = WebSocket::join(&server).await;
    let event = format!(r#"42["message","{}"]"#, "x".repeat(100_000));
    // More than both kernels hold. Sending ends when the server stops to read; what it has taken is answered.
    let mut sent = 0;
    while tokio::time::timeout(std::time::Duration::from_millis(500), socket.send(&event)).await.is_ok() {
        sent += 1;
        assert!(sent < 1000, "the server takes 100 MB");
    }
    for _ in 0..sent {
        assert!(socket.text().await.starts_with(r#"42["message-back","xxx"#));
    }
}

#[tokio::test]
async fn a_server_that_stops_closes() {
    let server = EchoServer::start();
    let socket = WebSocket::join(&server).await;
    server.sessions.stop();
    socket.ends().await;
}
