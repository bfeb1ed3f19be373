//! Guards who may connect as a user, what a refusal says, and that users and clients of ChannelAPI have nothing in common.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{Sio, auth};
use crate::channel::FLAGS;
use crate::support::{JWT_SECRET, TestServer, claims, forge, revoke};

/// The refusal of a client that connects with this.
async fn refused(server: &TestServer, auth: &Value, code: &str) {
    for is_websocket in [false, true] {
        let mut client = if is_websocket { Sio::websocket(server).await } else { Sio::polling(server).await };
        client.send(&format!("40{auth}")).await;
        let answer = client.next().await;
        let error: Value = serde_json::from_str(answer.strip_prefix("44").unwrap()).unwrap();
        assert_eq!(error["data"]["code"], code, "{auth}: {error}");
        assert!(error["message"].as_str().is_some_and(|sentence| !sentence.is_empty()));
    }
}

#[tokio::test]
async fn a_client_that_may_not_connect_is_told_why_by_the_sentence_and_the_code() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let eve = server.user("eve", "acme").await;
    revoke(&server.client(), "eve").await;
    let mut past = claims(alice.jwt());
    past["exp"] = json!(1);
    for (auth, code) in [
        (json!({}), "unauthorized"),
        (json!({ "token": "" }), "unauthorized"),
        (json!({ "token": "abc" }), "unauthorized"),
        (json!({ "token": forge(&claims(alice.jwt()), Algorithm::HS256, "another secret") }), "unauthorized"),
        (json!({ "token": forge(&past, Algorithm::HS256, JWT_SECRET) }), "unauthorized"),
        (auth(&eve, json!({})), "unauthorized"),
        (json!({ "ticket": "abc" }), "unauthorized"),
        (json!({ "token": 1 }), "body_invalid"),
        (json!({ "token": null }), "body_invalid"),
        (auth(&alice, json!({ "ticket": "abc" })), "body_invalid"),
        (auth(&alice, json!({ "recovery": "yes" })), "body_invalid"),
        (auth(&alice, json!({ "snapshot": "no" })), "body_invalid"),
        (auth(&alice, json!({ "events": "a,,b" })), "filter_invalid"),
        (auth(&alice, json!({ "event": "a" })), "parameter_unknown"),
    ] {
        refused(&server, &auth, code).await;
    }
    // After a refusal the same connection may try again.
    let mut client = Sio::websocket(&server).await;
    client.send(r#"40{"token":"abc"}"#).await;
    assert!(client.next().await.starts_with("44"));
    client.send(&format!("40{}", auth(&alice, json!({})))).await;
    assert!(client.next().await.starts_with("40"));
}

#[tokio::test]
async fn a_ticket_opens_one_stream_and_no_more_until_a_token_is_shown() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let ticket = alice.post("/sse_ticket", "").await.ok().json()["ticket"].clone();
    let (mut client, _) = Sio::connected(&server, true, json!({ "ticket": ticket })).await;
    let insert = json!({ "event": "a", "data": 1 });
    assert_eq!(client.ask("insert", insert.clone()).await["code"], "ticket_reads_only");
    alice.insert("b", json!(2)).await;
    client.gets("b", json!(2)).await;
    assert!(client.ask("renew", json!({ "token": alice.jwt() })).await["ok"]["expires_at"].is_u64());
    assert!(client.ask("insert", insert).await["ok"]["id"].is_string());
    refused(&server, &json!({ "ticket": ticket }), "unauthorized").await;
}

#[tokio::test]
async fn users_and_clients_of_channels_can_do_nothing_of_each_other() {
    let server = TestServer::start_with(&FLAGS).await;
    let alice = server.user("alice", "acme").await;
    let token = crate::channel::token(&server, "room").await;
    let mut user = Sio::of(&server, &alice, true, json!({})).await;
    assert_eq!(user.ask("join_channel", json!({ "token": token })).await["code"], "command_unknown");
    assert_eq!(user.ask("message", json!("hello")).await["code"], "command_unknown");
    let (mut guest, _) = Sio::connected(&server, true, json!({})).await;
    assert!(guest.next().await.contains("Connected"));
    guest.emit("insert", json!({ "event": "a", "data": 1 })).await;
    guest.emit("subscribe", json!("*")).await;
    // What it is sent next is what it sent itself.
    guest.send(r#"42["message",1]"#).await;
    assert_eq!(guest.next().await, r#"42["message",1]"#);
    assert_eq!(alice.get("/events").await.ok().json(), json!([]));
    // A token of a channel is none of a user.
    refused(&server, &json!({ "token": token }), "unauthorized").await;
}

#[tokio::test]
async fn a_user_is_present_and_the_id_of_the_socket_is_that_of_the_stream() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (_client, welcome) = Sio::connected(&server, false, auth(&alice, json!({ "events": "" }))).await;
    assert_eq!(alice.get("/presence").await.ok().json()[0]["username"], "alice");
    let stream = welcome["sid"].as_str().unwrap();
    let headers = [("broker-stream", stream)];
    let body = json!({ "event": "a", "data": 1, "while_connected": true });
    alice.insert_with(&headers, body).await.ok();
}
