//! Guards clients of ChannelAPI that nobody here wrote: by each transport, through the upgrade, and over a kill.

use serde_json::{Value, json};

use super::channels::send;
use crate::channel::{FLAGS, token};
use crate::support::{Saying, TestServer, free_port};

async fn says(program: &mut Saying, expected: Value) {
    assert_eq!(serde_json::from_str::<Value>(&program.next().await).unwrap(), expected);
}

/// Awaits that the program has joined. It may have been told of a lost connection before.
async fn joins(program: &mut Saying, channel: &str) {
    let joined = json!(["clientevent", { "data": format!("Connected to {channel}") }]);
    loop {
        let line: Value = serde_json::from_str(&program.next().await).unwrap();
        if line == joined {
            return;
        }
        let is_known = line == json!(["clientevent", { "data": "Connected", "count": 0 }]);
        assert!(is_known || line[0] == "disconnect" || line[0] == "upgrade", "{line}");
    }
}

/// The next messages are these, in order. An upgrade may be told of between them.
async fn is_sent(program: &mut Saying, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let mut line: Value = serde_json::from_str(&program.next().await).unwrap();
        if line[0] == "upgrade" {
            line = serde_json::from_str(&program.next().await).unwrap();
        }
        assert_eq!(line, json!(["message", { "number": number }]));
    }
}

/// Sends numbers, which are all to come in order, also while the transport changes and after a kill.
async fn is_served(file: &str, package: &[&str], transports: &[&str]) {
    let port = format!("--port={}", free_port());
    let server = TestServer::start_with(&[FLAGS[0], FLAGS[1], &port]).await;
    let token = token(&server, "room/1").await;
    let arguments = [package, &[server.url.as_str(), &token], transports].concat();
    let mut program = Saying::start(file, &arguments);
    joins(&mut program, "room/1").await;
    let sending = async {
        for number in 0..100 {
            send(&server, "room/1", &json!({ "number": number })).await;
        }
    };
    tokio::join!(sending, is_sent(&mut program, 0..100));
    let server = server.end_and_restart(true).await;
    joins(&mut program, "room/1").await;
    send(&server, "room/1", &json!({ "number": 7 })).await;
    is_sent(&mut program, 7..8).await;
}

#[tokio::test]
async fn socket_io_client_4_is_served_over_polling() {
    is_served("channel.mjs", &["socket.io-client"], &["polling"]).await;
}

#[tokio::test]
async fn socket_io_client_4_is_served_over_websocket() {
    is_served("channel.mjs", &["socket.io-client"], &["websocket"]).await;
}

#[tokio::test]
async fn socket_io_client_4_is_served_through_the_upgrade() {
    is_served("channel.mjs", &["socket.io-client"], &["polling", "websocket"]).await;
}

#[tokio::test]
async fn socket_io_client_3_is_served_through_the_upgrade() {
    is_served("channel.mjs", &["socket.io-client-3"], &["polling", "websocket"]).await;
}

#[tokio::test]
async fn python_socketio_is_served_over_polling() {
    is_served("channel.py", &[], &["polling"]).await;
}

#[tokio::test]
async fn python_socketio_is_served_through_the_upgrade() {
    is_served("channel.py", &[], &["polling", "websocket"]).await;
}

#[tokio::test]
async fn a_wrong_token_disconnects_a_client_for_good() {
    let server = TestServer::start_with(&FLAGS).await;
    let mut program = Saying::start("channel.mjs", &["socket.io-client", &server.url, "wrong", "polling"]);
    says(&mut program, json!(["clientevent", { "data": "Connected", "count": 0 }])).await;
    says(&mut program, json!(["disconnect", "io server disconnect"])).await;
}
