//! Guards `/update_me`: users change their own data, and nothing else.

use serde_json::{Value, json};

use crate::contract::user_object;
use crate::support::{TestServer, by_password, password_of, revoke};

#[tokio::test]
async fn a_user_changes_the_own_data_and_nothing_else() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user_with("alice", "acme", json!({ "scopes": ["news:get"], "data": 1 })).await.ok();
    client.create_user_with("bob", "acme", json!({ "data": 1 })).await.ok();
    let [before, bob] = [user_object(&client, "alice").await, user_object(&client, "bob").await];
    let alice = client.sign_in("alice").await;
    let body = json!({
        "data": { "color": "red" },
        "username": "bob", "scopes": ["*:get"], "tenant_name": "globex", "password": "x", "email": "a@example.com",
        "two_factor": true, "revoked": true,
    });
    let stream = alice.stream().await;
    assert_eq!(alice.post("/update_me", body).await.ok().body, "");
    let mut expected = before;
    expected["data"] = json!({ "color": "red" });
    assert_eq!(user_object(&client, "alice").await, expected);
    assert_eq!(user_object(&client, "bob").await, bob);
    // Neither the sign-in nor the stream ends.
    alice.verify().await.ok();
    drop(stream);
    by_password(&client, "alice", &password_of("alice")).post("/update_me", json!({ "data": null })).await.ok();
    assert_eq!(user_object(&client, "alice").await["data"], Value::Null);
}

#[tokio::test]
async fn data_must_be_there_and_has_bounds() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let refused = alice.post("/update_me", json!({})).await.refused(400, "body_invalid");
    assert!(refused.error().contains("missing field `data`"), "{refused:?}");
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(129), "]".repeat(129));
    alice.post("/update_me", deep).await.refused(400, "data_too_deep");
    alice.post("/update_me", json!({ "data": "x".repeat(100 << 10) })).await.refused(413, "user_too_large");
    assert_eq!(alice.get("/me").await.json()["data"], Value::Null);
}

#[tokio::test]
async fn it_takes_from_the_allowance_of_inserts() {
    let server = TestServer::start_with(&["--insert_rate=1"]).await;
    let alice = server.user("alice", "acme").await;
    alice.post("/update_me", json!({ "data": 1 })).await.ok();
    alice.post("/update_me", json!({ "data": 2 })).await.refused(429, "insert_rate_exceeded");
    assert_eq!(alice.get("/me").await.json()["data"], 1);
}

#[tokio::test]
async fn only_whoever_is_signed_in_may() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    server.client().post("/update_me", &json!({ "data": 1 })).await.refused(401, "unauthorized");
    revoke(&alice.client, "alice").await;
    alice.post("/update_me", json!({ "data": 1 })).await.refused(401, "unauthorized");
}
