//! Guards what clients of ChannelAPI are given over long polling.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::client::{Polling, refused};
use crate::channel::{AUTH_KEY, FLAGS, post, token};
use crate::support::{Client, TestServer, until};

/// A client that has connected.
pub struct Listener {
    pub polling: Polling,
    /// What has come and was not looked at.
    packets: VecDeque<String>,
}

impl Listener {
    pub async fn connect(server: &TestServer) -> Self {
        let mut listener = Self { polling: Polling::at(&server.url).await, packets: VecDeque::new() };
        listener.polling.post("40").await;
        let joined = listener.next().await;
        assert!(joined.starts_with("40{\"sid\":"), "{joined}");
        assert_eq!(listener.next().await, r#"42["clientevent",{"data":"Connected","count":0}]"#);
        listener
    }

    /// The next packet. A ping is answered: on a busy machine a test lasts longer than one of its intervals.
    pub async fn next(&mut self) -> String {
        loop {
            match self.packets.pop_front() {
                Some(packet) if packet == "2" => self.polling.post("3").await,
                Some(packet) => return packet,
                None => self.packets.extend(self.polling.poll().await.split('\x1e').map(str::to_owned)),
            }
        }
    }

    pub async fn join(&mut self, server: &TestServer, channel: &str) {
        let token = token(server, channel).await;
        self.polling.post(&format!(r#"42["join_channel",{{"token":"{token}"}}]"#)).await;
        assert_eq!(self.next().await, format!(r#"42["clientevent",{{"data":"Connected to {channel}"}}]"#));
    }

    pub async fn is_sent(&mut self, message: &Value) {
        assert_eq!(self.next().await, format!(r#"42["message",{message}]"#));
    }
}

pub async fn send(server: &TestServer, channel: &str, message: &Value) {
    let body = json!({ "message": message }).to_string();
    let answer = post(server, &format!("/message/{channel}"), Some(AUTH_KEY), &body).await.ok();
    assert_eq!(answer.json(), json!({ "success": true }));
}

#[tokio::test]
async fn a_client_is_sent_the_messages_of_the_channels_that_it_has_joined_and_no_others() {
    let server = TestServer::start_with(&FLAGS).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("room/1", json!("old")).await;
    let mut listener = Listener::connect(&server).await;
    listener.join(&server, "room/1").await;
    send(&server, "room/2", &json!("of another channel")).await;
    for message in [json!("one"), json!({ "a": [1, null, "\u{1e}é"] }), Value::Null] {
        send(&server, "room/1", &message).await;
        listener.is_sent(&message).await;
    }
    // Two before the next poll, as it were, and the same channel again.
    listener.join(&server, "room/2").await;
    listener.join(&server, "room/2").await;
    for number in 0..20 {
        send(&server, &format!("room/{}", number % 2 + 1), &json!(number)).await;
    }
    for number in 0..20 {
        listener.is_sent(&json!(number)).await;
    }
    alice.insert("room/1", json!("of a user")).await;
    listener.is_sent(&json!("of a user")).await;
    alice.remove("room/1").await.ok();
    alice.insert_raw(json!({ "event": "room/1", "data": "passing", "transient": true })).await.ok();
    listener.is_sent(&json!("passing")).await;
    server.user("mallory", "elsewhere").await.insert("room/1", json!("of another tenant")).await;
    send(&server, "room/1", &json!("last")).await;
    listener.is_sent(&json!("last")).await;
    let present = alice.get("/presence").await.ok().json();
    assert_eq!(present[0]["username"], "channel:room/1");
}

#[tokio::test]
async fn messages_that_were_sent_while_no_poll_waited_come_with_the_next() {
    let server = TestServer::start_with(&FLAGS).await;
    let mut listener = Listener::connect(&server).await;
    listener.join(&server, "busy").await;
    let large = "x".repeat(50_000);
    for number in 0..60 {
        send(&server, "busy", &json!(format!("{number} {large}"))).await;
    }
    for number in 0..60 {
        listener.is_sent(&json!(format!("{number} {large}"))).await;
    }
}

#[tokio::test]
async fn what_a_client_sends_comes_back_and_is_acknowledged_with_nothing() {
    let server = TestServer::start_with(&FLAGS).await;
    let mut listener = Listener::connect(&server).await;
    listener.polling.post(r#"427["message",{"b":1,"a":[2.50]}]"#).await;
    assert_eq!(listener.next().await, r#"42["message",{"b":1,"a":[2.50]}]"#);
    assert_eq!(listener.next().await, "437[]");
    let token = token(&server, "room").await;
    // As ChannelAPI takes it: the JSON in a text.
    let text = json!(json!({ "token": token }).to_string());
    listener.polling.post(&format!(r#"428["join_channel",{text}]"#)).await;
    assert_eq!(listener.next().await, r#"42["clientevent",{"data":"Connected to room"}]"#);
    assert_eq!(listener.next().await, "438[]");
}

#[tokio::test]
async fn a_wrong_token_disconnects() {
    let server = TestServer::start_with(&FLAGS).await;
    let right = token(&server, "room").await;
    let mut changed = right.clone();
    changed.replace_range(42.., if right.ends_with('A') { "E" } else { "A" });
    for token in ["", "x", &"A".repeat(43), &changed, &format!("{right}A"), AUTH_KEY] {
        let mut listener = Listener::connect(&server).await;
        listener.polling.post(&format!(r#"42["join_channel",{{"token":"{token}"}}]"#)).await;
        assert_eq!(listener.next().await, "41", "{token}");
    }
    for argument in [r#""x""#, "1", "{}", "[]"] {
        let mut listener = Listener::connect(&server).await;
        listener.polling.post(&format!(r#"42["join_channel",{argument}]"#)).await;
        assert_eq!(listener.next().await, "41", "{argument}");
    }
    // A user's token opens no channel.
    let alice = server.user("alice", "acme").await;
    let mut listener = Listener::connect(&server).await;
    listener.polling.post(&format!(r#"42["join_channel",{{"token":"{}"}}]"#, alice.jwt())).await;
    assert_eq!(listener.next().await, "41");
}

#[tokio::test]
async fn a_token_lasts_over_a_kill_and_clients_come_back() {
    let server = TestServer::start_with(&FLAGS).await;
    let mut listener = Listener::connect(&server).await;
    listener.join(&server, "room").await;
    let before = token(&server, "room").await;
    let server = server.end_and_restart(true).await;
    assert_eq!(token(&server, "room").await, before);
    let mut listener = Listener::connect(&server).await;
    listener.join(&server, "room").await;
    send(&server, "room", &json!("back")).await;
    listener.is_sent(&json!("back")).await;
}

#[tokio::test]
async fn a_session_that_goes_leaves_nobody_present() {
    let server = TestServer::start_with(&FLAGS).await;
    let alice = server.user("alice", "acme").await;
    let mut listener = Listener::connect(&server).await;
    listener.join(&server, "room").await;
    listener.polling.post("1").await;
    until("nobody to be present", async || (alice.get("/presence").await.ok().json() == json!([])).then_some(())).await;
}

#[tokio::test]
async fn other_versions_and_servers_without_channels_are_refused() {
    let server = TestServer::start_with(&FLAGS).await;
    let client = Client::new(&server.url);
    refused(&client.get("/socket.io/?EIO=3&transport=polling").await, 5, "Unsupported protocol version");
    // Without channels, only users are served.
    let server = TestServer::start().await;
    let polling = Polling::at(&server.url).await;
    polling.post("40").await;
    let refused = polling.poll().await;
    assert!(refused.starts_with("44{") && refused.contains(r#""data":{"code":"unauthorized"}"#), "{refused}");
}
