//! Guards the first frame of a connection: who is let in by it, and how those who are not are told.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Event, Socket, TestServer, User, revoke, unrevoke, until};

/// A ticket of a user.
async fn ticket(user: &User) -> String {
    user.post("/sse_ticket", "").await.ok().json()["ticket"].as_str().unwrap().to_owned()
}

/// Checks that a first frame is refused with this code, and that the connection is closed with that one.
async fn refused(server: &TestServer, verb: &str, fields: Value, code: &str, closed: u16) {
    let mut socket = Socket::connect(&server.url).await;
    socket.refused(verb, fields, code).await;
    assert_eq!(socket.closed().await, Some(closed), "{code}");
}

#[tokio::test]
async fn a_token_opens_a_stream_which_its_answer_names() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("news", json!("old")).await;
    let (mut socket, welcome) = alice.socket_with(json!({})).await;
    assert_eq!(welcome["username"], "alice");
    let expires_at = crate::support::claims(alice.jwt())["exp"].as_u64().unwrap() * 1000;
    assert_eq!(welcome["expires_at"], expires_at);
    assert_eq!(socket.next().await, Event::new("news", &id, "\"old\""));
    // By its name it is a stream like others.
    let stream = welcome["stream"].as_str().unwrap();
    alice.post("/subscription", json!({ "stream": stream, "events": "other,mark" })).await.ok();
    alice.insert("news", json!("new")).await;
    assert_eq!(socket.so_far(&alice).await, []);
    assert_eq!(alice.get("/presence").await.ok().json()[0]["streams"], 1);
    socket.close().await;
}

#[tokio::test]
async fn what_is_sent_behind_the_first_frame_is_served_after_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = Socket::connect(&server.url).await;
    let ping = socket.send("ping", json!({})).await;
    let sign_in = socket.send("sign_in", json!({ "token": alice.jwt(), "events": "" })).await;
    let inserts = [
        socket.send("insert", json!({ "event": "news", "data": 1 })).await,
        socket.send("insert", json!({ "event": "news", "data": 2 })).await,
    ];
    let change = socket.send("subscribe", json!({ "events": "news" })).await;
    for reference in [ping, sign_in, inserts[0], inserts[1], change] {
        assert!(socket.answer(reference).await["ok"].is_object());
    }
    // In the order in which they were sent.
    assert_eq!(alice.latest("/events").await[0].data, "2");
}

#[tokio::test]
async fn whatever_does_not_let_in_is_told_and_says_by_its_code_whether_to_come_back() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (token, ticket) = (alice.jwt(), ticket(&alice).await);
    for bad in ["", "x", &format!("{token}x"), &ticket] {
        refused(&server, "sign_in", json!({ "token": bad }), "unauthorized", 4401).await;
    }
    for bad in ["", "x", token] {
        refused(&server, "sign_in", json!({ "ticket": bad }), "unauthorized", 4401).await;
    }
    for verb in ["insert", "subscribe", "unsubscribe", "remove", "renew"] {
        refused(&server, verb, json!({ "event": "news", "data": 1, "token": token }), "unauthorized", 4401).await;
    }
    for (fields, code) in [
        (json!({}), "body_invalid"),
        (json!({ "token": token, "ticket": ticket }), "body_invalid"),
        (json!({ "token": 1 }), "body_invalid"),
        (json!({ "token": token, "marks": "true" }), "body_invalid"),
        (json!({ "token": token, "events": "a,,b" }), "filter_invalid"),
        (json!({ "token": token, "except": "" }), "filter_invalid"),
        (json!({ "token": token, "event": "a" }), "parameter_unknown"),
    ] {
        refused(&server, "sign_in", fields, code, 4400).await;
    }
    refused(&server, "dance", json!({}), "command_unknown", 4400).await;
    revoke(&alice.client, "alice").await;
    refused(&server, "sign_in", json!({ "token": token }), "unauthorized", 4401).await;
    // None of them has opened a stream.
    unrevoke(&alice.client, "alice").await;
    let alice = alice.client.sign_in("alice").await;
    assert_eq!(alice.get("/presence").await.ok().json(), json!([]));
    server.keeps_only(1).await;
}

#[tokio::test]
async fn a_client_that_does_not_sign_in_is_turned_away_after_5_seconds_whatever_else_it_says() {
    let server = TestServer::start().await;
    let (mut silent, mut talking) = (Socket::connect(&server.url).await, Socket::connect(&server.url).await);
    let since = Instant::now();
    let talk = async {
        while talking.send_text(r#"{"do":"ping","ref":1}"#).await {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        talking.closed().await
    };
    let (silent, _) = tokio::join!(silent.closed(), talk);
    assert_eq!(silent, Some(4408));
    assert!(since.elapsed().as_secs() >= 4);
}

#[tokio::test]
async fn a_ticket_opens_one_stream_and_inserts_nothing_before_a_token_renews_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let ticket = ticket(&alice).await;
    // One that is refused for another reason is not spent.
    refused(&server, "sign_in", json!({ "ticket": ticket, "events": "a,,b" }), "filter_invalid", 4400).await;
    let mut socket = Socket::connect(&server.url).await;
    let welcome = socket.ok("sign_in", json!({ "ticket": ticket, "marks": true })).await;
    assert_eq!(welcome["username"], "alice");
    socket.until_sync().await;
    refused(&server, "sign_in", json!({ "ticket": ticket }), "unauthorized", 4401).await;
    server.client().get(&format!("/sse?ticket={ticket}")).await.refused(401, "unauthorized");

    for (verb, fields) in [("insert", json!({ "event": "news", "data": 1 })), ("remove", json!({ "event": "news" }))] {
        socket.refused(verb, fields, "ticket_reads_only").await;
    }
    socket.ok("subscribe", json!({ "events": "news" })).await;
    // Awaited before the insert, whose event the snapshot may hold otherwise.
    socket.until_sync().await;
    socket.ok("renew", json!({ "token": alice.jwt() })).await;
    let inserted = socket.ok("insert", json!({ "event": "news", "data": 1 })).await;
    assert_eq!(socket.next().await.id, inserted["id"]);
}

#[tokio::test]
async fn a_connection_signs_in_once() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let mut socket = alice.socket(json!({})).await;
    for user in [&alice, &bob] {
        socket.refused("sign_in", json!({ "token": user.jwt() }), "signed_in_already").await;
    }
    socket.ok("insert", json!({ "event": "news", "data": 1 })).await;
    assert_eq!(alice.latest("/events").await[0].username, "alice");
}

#[tokio::test]
async fn a_stream_goes_on_for_one_that_ended_within_the_grace_and_keeps_its_name() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (mut socket, welcome) = alice.socket_with(json!({})).await;
    let seat = json!({ "event": "seat", "data": 1, "while_connected": true });
    socket.ok("insert", seat).await;
    let stream = welcome["stream"].as_str().unwrap();
    socket.close().await;
    let is_gone = async || {
        let streams = alice.get("/presence").await.ok().json()[0]["streams"].as_u64();
        (streams == Some(0)).then_some(())
    };
    until("the stream to end", is_gone).await;
    // By another transport and back, each time within the grace.
    let (sse, id) = alice.open(&format!("/sse?stream={stream}"), None).await;
    assert_eq!(id, stream);
    drop(sse);
    until("the stream to end", is_gone).await;
    let (_socket, again) = alice.socket_with(json!({ "stream": stream })).await;
    assert_eq!(again["stream"], stream);
    let (_other, other) = alice.socket_with(json!({ "stream": stream })).await;
    assert_ne!(other["stream"], stream, "it is open");
    assert_eq!(alice.latest("/events").await.len(), 1, "the seat is still taken");
}
