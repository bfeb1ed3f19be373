//! Guards that WebSocket and Socket.IO work over TLS as they do without.

use reqwest::Version;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Secure;
use crate::socket_io::client::{Polling, opened};
use crate::support::{Client, RawSocket, Signer, handshake, text_frame};

/// A WebSocket connection, by a handshake with these more headers.
async fn open(secure: &Secure, headers: &str) -> RawSocket<TlsStream<TcpStream>> {
    let mut raw = RawSocket::over(secure.connect("http/1.1").await);
    raw.send(handshake("/ws", headers).as_bytes()).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    raw
}

async fn text(raw: &mut RawSocket<TlsStream<TcpStream>>) -> String {
    loop {
        let (first, text) = raw.frame().await.expect("a frame");
        // Pings come, too.
        if first == 0x81 {
            return String::from_utf8(text).unwrap();
        }
    }
}

/// The next object that is no heartbeat.
async fn object(raw: &mut RawSocket<TlsStream<TcpStream>>) -> Value {
    loop {
        let object = serde_json::from_str(&text(raw).await).unwrap();
        if object != json!({}) {
            return object;
        }
    }
}

#[tokio::test]
async fn broker_v1_subscribes_inserts_and_receives_by_wss() {
    let secure = Secure::start().await;
    let client = secure.client();
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let mut raw = open(&secure, "sec-websocket-protocol: broker.v1\r\n").await;
    for (reference, mut frame) in
        [json!({ "do": "sign_in", "token": alice.jwt(), "events": "a" }), json!({ "do": "subscribe", "events": "b" })]
            .into_iter()
            .enumerate()
    {
        frame["ref"] = json!(reference);
        raw.send(&text_frame(&frame.to_string())).await;
        let answer = object(&mut raw).await;
        assert!(answer["ref"] == reference && answer.get("ok").is_some(), "{answer}");
    }
    // It is sent in parts.
    let large = "x".repeat(90_000);
    let insert = json!({ "do": "insert", "ref": 9, "event": "b", "data": large });
    raw.send(&text_frame(&insert.to_string())).await;
    let (mut answer, mut event) = (object(&mut raw).await, object(&mut raw).await);
    if answer.get("event").is_some() {
        std::mem::swap(&mut answer, &mut event);
    }
    assert_eq!((&answer["ref"], &event["id"]), (&json!(9), &answer["ok"]["id"]));
    assert_eq!((&event["event"], &event["data"]), (&json!("b"), &json!(large)));
    let id = alice.insert("a", json!(1)).await;
    assert_eq!(object(&mut raw).await["id"], json!(id));
}

#[tokio::test]
async fn notiflux_subscribes_and_receives_by_wss() {
    let signer = Signer::new();
    let flags = signer.flags();
    let secure = Secure::start_with(&[&flags[0], &flags[1]]).await;
    let mut raw = open(&secure, "").await;
    let subscribe = format!("/subscribe news {}", signer.token("subscribe", &["news"]));
    raw.send(&[text_frame(&subscribe), text_frame("/settled?")].concat()).await;
    assert_eq!(text(&mut raw).await, "Unknown command");
    let token = signer.token("broadcast", &["news"]);
    secure.client().post("/broadcast", &json!({ "topic": "news", "message": "grün", "token": token })).await.ok();
    assert_eq!(text(&mut raw).await, "grün");
}

/// Signs in by long polling, subscribes, inserts and receives.
async fn long_polling(client: Client, version: Version) {
    assert_eq!(client.http.get(&client.url).send().await.unwrap().version(), version);
    client.create_user("alice", "acme").await;
    let alice = client.sign_in("alice").await;
    let path = "/socket.io/?EIO=4&transport=polling";
    let opened = opened(client.get(path).await);
    let polling = Polling { client, path: format!("{path}&sid={}", opened["sid"].as_str().unwrap()) };
    let auth = json!({ "token": alice.jwt(), "events": "a", "snapshot": false });
    polling.post(&format!("40{auth}")).await;
    let next = async |begin: &str| {
        loop {
            let said = polling.poll().await;
            if let Some(packet) = said.split('\x1e').find(|packet| packet.starts_with(begin)) {
                return packet.to_owned();
            }
        }
    };
    next("40{").await;
    polling.post(r#"421["subscribe","b"]"#).await;
    next("431[{\"ok\":").await;
    let large = "x".repeat(90_000);
    polling.post(&format!(r#"422["insert",{{"event":"b","data":"{large}"}}]"#)).await;
    let mut said = String::new();
    while !said.contains("432[{\"ok\":") || !said.contains("42[\"b\",\"") {
        said.push_str(&polling.poll().await);
    }
    assert!(said.contains(&large));
    // A poll that waits is answered by what comes.
    let (got, _) = tokio::join!(next("42[\"a\",7"), alice.insert("a", json!(7)));
    assert!(got.starts_with("42[\"a\",7"), "{got}");
}

#[tokio::test]
async fn long_polling_of_socket_io_works_over_http_2() {
    let secure = Secure::start().await;
    long_polling(secure.client(), Version::HTTP_2).await;
}

#[tokio::test]
async fn long_polling_of_socket_io_works_over_http_1_1_and_tls() {
    let secure = Secure::start().await;
    long_polling(secure.client_with(reqwest::Client::builder().http1_only()), Version::HTTP_11).await;
}
