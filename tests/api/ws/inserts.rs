//! Guards inserts and removals over a connection: they take what `/insert` and `/remove` take, and are answered alike.

use serde_json::{Value, json};

use crate::support::{Socket, TestServer, User, set_scopes, until, user_with};

/// The answer of HTTP to the same insert of somebody else, without what tells them apart.
async fn by_http(user: &User, path: &str, fields: &Value) -> Value {
    let mut headers = Vec::new();
    for (field, header) in
        [("idempotency_key", "idempotency-key"), ("if_match", "if-match"), ("if_none_match", "if-none-match")]
    {
        headers.extend(fields[field].as_str().map(|value| (header, value)));
    }
    let body = fields.get("events").unwrap_or(fields).to_string();
    let answer = user.send(reqwest::Method::POST, path, &headers, Some(body.into_bytes())).await;
    answer.json()
}

#[tokio::test]
async fn an_insert_is_answered_with_id_and_time_and_is_there_for_everybody() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let mut reading = bob.stream().await;
    for data in [json!({ "b": 1, "a": [2.50, "ü"] }), json!(null), json!("x".repeat(100_000))] {
        let receipt = socket.ok("insert", json!({ "event": "chat/1", "data": data })).await;
        let came = reading.next().await;
        assert_eq!((&json!(came.id), came.json()), (&receipt["id"], data));
        let kept = &bob.latest("/events").await[0];
        assert_eq!((json!(kept.id), json!(kept.timestamp)), (receipt["id"].clone(), receipt["timestamp"].clone()));
        assert_eq!(kept.username, "alice");
        assert_eq!(receipt.as_object().unwrap().len(), 2);
    }
    // As it was sent, apart from blanks.
    socket.send_text(r#"{"data" : {"z": 1.00,  "a":1e3}, "event":"raw","ref":500, "do":"insert"}"#).await;
    socket.answer(500).await;
    assert_eq!(bob.latest("/events?events=raw").await[0].data, r#"{"z":1.00,"a":1e3}"#);
}

#[tokio::test]
async fn an_array_is_inserted_as_a_whole_or_not_at_all() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({})).await;
    let event = |name: &str, data: i32| json!({ "event": name, "data": data });
    let receipts = socket.ok("insert", json!({ "events": [event("a", 1), event("b", 2), event("a", 3)] })).await;
    let ids: Vec<_> = receipts.as_array().unwrap().iter().map(|receipt| receipt["id"].as_str().unwrap()).collect();
    assert_eq!(socket.take(3).await.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ids);
    socket.refused("insert", json!({ "events": [event("c", 1), event("$d", 1)] }), "event_name_reserved").await;
    let one = socket.ok("insert", json!({ "events": [event("d", 1)] })).await;
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(alice.latest("/events?events=c").await, []);
}

#[tokio::test]
async fn a_refusal_has_the_code_and_the_words_of_http() {
    let server = TestServer::start_with(&["--max_names=3", "--authorize=scopes", "--max_while_connected=1"]).await;
    let alice = user_with(&server, "alice", &["*:get", "a*:post", "$*:post", "@*:post"]).await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let id = socket.ok("insert", json!({ "event": "a1", "data": 1 })).await["id"].clone();
    socket.ok("insert", json!({ "event": "a2", "data": 1, "idempotency_key": "taken" })).await;
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let deep: Box<serde_json::value::RawValue> = serde_json::value::RawValue::from_string(deep).unwrap();
    for (verb, fields, code) in [
        ("insert", json!({ "event": "b", "data": 1 }), "missing_scope"),
        ("insert", json!({ "event": "$a", "data": 1 }), "event_name_reserved"),
        ("insert", json!({ "event": "", "data": 1 }), "event_name_invalid"),
        ("insert", json!({ "event": "a ", "data": 1 }), "event_name_invalid"),
        ("insert", json!({ "event": "a", "data": 1, "expires_in": 0 }), "expires_in_invalid"),
        ("insert", json!({ "event": "a", "data": "x".repeat(200_000) }), "event_too_large"),
        ("insert", json!({ "event": "@nobody/x", "data": 1 }), "inbox_unknown"),
        ("insert", json!({ "event": "a1", "data": 1, "if_match": "x" }), "precondition_invalid"),
        ("insert", json!({ "event": "a1", "data": 1, "if_none_match": "x" }), "precondition_invalid"),
        ("insert", json!({ "event": "a1", "data": 1, "if_match": id, "if_none_match": "*" }), "precondition_invalid"),
        ("insert", json!({ "events": [{ "event": "a1", "data": 1 }], "if_match": id }), "precondition_invalid"),
        ("insert", json!({ "event": "a1", "data": 1, "idempotency_key": "a b" }), "idempotency_key_invalid"),
        ("insert", json!({ "event": "a1", "data": 1, "idempotency_key": "taken" }), "idempotency_key_reused"),
        ("insert", json!({ "events": [{ "event": "a3", "data": 1 }, { "event": "a4", "data": 1 }] }), "too_many_names"),
        ("insert", json!({ "event": "a1", "data": 1, "if_none_match": "*" }), "precondition_failed"),
        ("remove", json!({ "event": "a9" }), "event_unknown"),
        ("remove", json!({ "event": "b" }), "missing_scope"),
        ("remove", json!({ "event": "a1", "if_none_match": "*" }), "precondition_invalid"),
    ] {
        let mut answer = socket.refused(verb, fields.clone(), code).await;
        answer.as_object_mut().unwrap().remove("ref");
        assert_eq!(answer, by_http(&alice, &format!("/{verb}"), &fields).await, "{fields}");
    }
    socket.send_text(&format!(r#"{{"do":"insert","ref":900,"event":"a1","data":{deep}}}"#)).await;
    assert_eq!(socket.answer(900).await["code"], "data_too_deep");
    // None of them has changed anything.
    assert_eq!(alice.latest("/events").await.len(), 2);
}

#[tokio::test]
async fn conditions_are_decided_against_the_latest_event_which_a_refusal_shows() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let first = socket.ok("insert", json!({ "event": "a", "data": 1, "if_none_match": "*" })).await;
    let second = socket.ok("insert", json!({ "event": "a", "data": 2, "if_match": first["id"] })).await;
    let refused = socket
        .refused("insert", json!({ "event": "a", "data": 3, "if_match": first["id"] }), "precondition_failed")
        .await;
    let current = json!({
        "event": "a", "data": 2, "id": second["id"], "timestamp": second["timestamp"], "username": "alice",
    });
    assert_eq!(refused["current"], current);
    socket.refused("remove", json!({ "event": "a", "if_match": first["id"] }), "precondition_failed").await;
    let removed = socket.ok("remove", json!({ "event": "a", "if_match": second["id"] })).await;
    assert!(removed["id"].as_str() > second["id"].as_str());
    let refused = socket
        .refused("insert", json!({ "event": "a", "data": 3, "if_match": second["id"] }), "precondition_failed")
        .await;
    assert_eq!(refused["current"], Value::Null);
    assert!(refused.as_object().unwrap().contains_key("current"));
}

#[tokio::test]
async fn of_many_conditional_inserts_at_once_one_succeeds_and_all_are_answered() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let mut sent = Vec::new();
    for number in 0..200 {
        sent.push(socket.send("insert", json!({ "event": "a", "data": number, "if_none_match": "*" })).await);
    }
    let mut succeeded = 0;
    for reference in sent {
        let answer = socket.answer(reference).await;
        succeeded += usize::from(answer.get("ok").is_some());
    }
    assert_eq!(succeeded, 1);
}

#[tokio::test]
async fn a_key_makes_a_repetition_known_on_any_connection_and_over_http() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let fields = json!({ "event": "a", "data": 1, "idempotency_key": "k-1" });
    let first = socket.ask("insert", fields.clone()).await;
    assert!(first.get("replayed").is_none());
    let mut again = alice.socket(json!({ "events": "" })).await;
    for socket in [&mut socket, &mut again] {
        let repeated = socket.ask("insert", fields.clone()).await;
        assert_eq!((&repeated["ok"], &repeated["replayed"]), (&first["ok"], &json!(true)));
    }
    assert_eq!(by_http(&alice, "/insert", &fields).await, first["ok"]);
    socket
        .refused("insert", json!({ "event": "a", "data": 2, "idempotency_key": "k-1" }), "idempotency_key_reused")
        .await;
    let removal = json!({ "event": "a", "idempotency_key": "k-2" });
    let removed = socket.ask("remove", removal.clone()).await;
    assert_eq!(socket.ask("remove", removal).await["ok"], removed["ok"]);
    assert_eq!(alice.history("event=a").await.events.len(), 2);
}

#[tokio::test]
async fn an_event_expires_or_ends_with_the_connection_that_inserted_it() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let mut reading = bob.stream().await;
    socket.ok("insert", json!({ "event": "note", "data": 1, "expires_in": 1 })).await;
    socket.ok("insert", json!({ "event": "cursor", "data": 1, "while_connected": true })).await;
    assert_eq!(reading.take(3).await.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), ["1", "1", "null"]);
    // Another stream of the same user does not keep it.
    let _other = alice.stream().await;
    drop(socket);
    let gone = reading.next().await;
    assert_eq!((gone.name.as_str(), gone.data.as_str()), ("cursor", "null"));
}

#[tokio::test]
async fn the_rates_of_inserts_count_for_connections_too() {
    let server = TestServer::start_with(&["--insert_rate=5"]).await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let mut sent = Vec::new();
    for number in 0..50 {
        sent.push(socket.send("insert", json!({ "event": "a", "data": number })).await);
    }
    let mut refused = 0;
    for reference in sent {
        let answer = socket.answer(reference).await;
        if answer["code"] == "insert_rate_exceeded" {
            assert_eq!(answer["retry_after"], 1, "{answer}");
            refused += 1;
        }
    }
    assert!(refused > 0);
    // It may go on after that.
    until("the rate to allow one", async || {
        let answer = socket.ask("insert", json!({ "event": "a", "data": 0 })).await;
        answer.get("ok").map(drop)
    })
    .await;
}

/// Inserts a number under a name; whether that was allowed.
async fn may_insert(socket: &mut Socket, name: &str) -> bool {
    socket.ask("insert", json!({ "event": name, "data": 1 })).await.get("ok").is_some()
}

#[tokio::test]
async fn rights_are_looked_at_for_each_insert() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let alice = user_with(&server, "alice", &["a:post", "b:get"]).await;
    let mut socket = alice.socket(json!({})).await;
    assert!(may_insert(&mut socket, "a").await && !may_insert(&mut socket, "b").await);
    set_scopes(&alice.client, "alice", &["b:post"]).await;
    assert!(!may_insert(&mut socket, "a").await && may_insert(&mut socket, "b").await);
    // In the tenant that its user has when the writer decides.
    crate::support::update(&alice.client, "alice", json!({ "tenant_name": "other" })).await;
    assert!(may_insert(&mut socket, "b").await);
    let bob = user_with(&server, "bob", &["*:get"]).await;
    assert_eq!(bob.latest("/events").await.iter().map(|event| event.event.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}
