//! Guards connection state recovery: by event ids, over a kill, and for the same user alone.

use serde_json::{Value, json};

use super::{Sio, auth};
use crate::support::TestServer;

/// A client that comes back, and whether it was recovered.
async fn back(server: &TestServer, kept: &Value, pid: &str, offset: Option<&str>) -> (Sio, Value) {
    let mut auth = kept.clone();
    auth["pid"] = json!(pid);
    if let Some(offset) = offset {
        auth["offset"] = json!(offset);
    }
    Sio::connected(server, true, auth).await
}

#[tokio::test]
async fn events_carry_their_ids_as_offsets_and_a_client_goes_on_after_its_last_over_a_kill() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("a", json!(0)).await;
    let kept = auth(&alice, json!({ "recovery": true }));
    let (mut client, welcome) = Sio::connected(&server, false, kept.clone()).await;
    let pid = welcome["pid"].as_str().unwrap();
    alice.insert("b", json!("a text at the end")).await;
    let mut last = Value::Null;
    for _ in 0..2 {
        let event = client.event().await;
        assert_eq!((event.as_array().unwrap().len(), &event[3]), (4, &event[2]["id"]), "{event}");
        last = event[3].clone();
    }
    // Missed: one before the kill, and one after it.
    let last = last.as_str();
    drop(client);
    alice.insert_raw(json!({ "event": "c", "data": 1, "transient": true })).await.ok();
    let server = server.end_and_restart(true).await;
    let alice = server.client().sign_in("alice").await;
    alice.insert("b", json!(2)).await;
    let (mut client, welcome) = back(&server, &kept, pid, last).await;
    assert_eq!(welcome["pid"], pid, "it has missed nothing");
    client.gets("c", json!(1)).await;
    client.gets("b", json!(2)).await;
    alice.insert("d", json!(3)).await;
    client.gets("d", json!(3)).await;
}

#[tokio::test]
async fn a_client_that_got_nothing_goes_on_where_its_stream_began() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("a", json!(0)).await;
    let kept = auth(&alice, json!({ "recovery": true, "snapshot": false }));
    let (client, welcome) = Sio::connected(&server, true, kept.clone()).await;
    drop(client);
    alice.insert("b", json!(1)).await;
    let pid = welcome["pid"].as_str().unwrap();
    let (mut client, welcome) = back(&server, &kept, pid, None).await;
    assert_eq!(welcome["pid"], pid);
    client.gets("b", json!(1)).await;
}

#[tokio::test]
async fn a_pid_opens_nothing_and_one_of_another_user_or_with_an_unknown_offset_begins_anew() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let first = alice.insert("a", json!(1)).await;
    alice.insert("b", json!(2)).await;
    let of_alice = auth(&alice, json!({ "recovery": true }));
    let (_client, welcome) = Sio::connected(&server, true, of_alice.clone()).await;
    let pid = welcome["pid"].as_str().unwrap();
    // The token decides who it is, and bob has not seen what alice has.
    let (mut of_bob, welcome) = back(&server, &auth(&bob, json!({ "recovery": true })), pid, Some(&first)).await;
    assert_ne!(welcome["pid"], pid);
    of_bob.gets("a", json!(1)).await;
    for (pid, offset) in [(pid, "hello"), ("x", first.as_str()), (pid, "0000000000000009999999")] {
        let (mut client, welcome) = back(&server, &of_alice, pid, Some(offset)).await;
        assert_ne!(welcome["pid"], pid);
        client.gets("a", json!(1)).await;
    }
    // A client that did not ask for it has no offsets.
    let (mut client, welcome) = back(&server, &auth(&alice, json!({})), pid, Some(&first)).await;
    assert_eq!(welcome.get("pid"), None);
    assert_eq!(client.event().await.as_array().unwrap().len(), 3);
    // And nobody comes in by a pid alone.
    let mut stranger = Sio::websocket(&server).await;
    stranger.send(&format!("40{}", json!({ "pid": pid, "offset": first, "recovery": true }))).await;
    assert!(stranger.next().await.starts_with("44"));
}

#[tokio::test]
async fn what_is_no_event_never_ends_with_a_text_that_a_client_would_take_for_an_offset() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut client =
        Sio::of(&server, &alice, true, json!({ "recovery": true, "marks": true, "presence": true, "events": "a" }))
            .await;
    client.send(r#"42["dance"]"#).await;
    let mut told = false;
    while !told {
        let event = client.event().await;
        told = event[0] == "$error";
        let last = event.as_array().unwrap().last().unwrap();
        assert!(if told { last.is_object() } else { *last == event[2]["id"] && last.is_string() }, "{event}");
    }
}

#[tokio::test]
async fn a_client_that_asks_for_other_names_than_before_begins_anew() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("old", json!(0)).await;
    let kept = auth(&alice, json!({ "recovery": true, "events": "a" }));
    let (mut client, welcome) = Sio::connected(&server, true, kept.clone()).await;
    let pid = welcome["pid"].as_str().unwrap();
    alice.insert("a", json!(1)).await;
    let event = client.event().await;
    drop(client);
    let other = auth(&alice, json!({ "recovery": true, "events": "a,old" }));
    let (mut client, welcome) = back(&server, &other, pid, event[3].as_str()).await;
    assert_ne!(welcome["pid"], pid);
    client.gets("old", json!(0)).await;
    client.gets("a", json!(1)).await;
}
