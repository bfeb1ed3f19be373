//! Guards `/me`: what users see of themselves.

use serde_json::json;

use crate::contract::user_object;
use crate::support::{TestServer, by_password, password_of, revoke};

#[tokio::test]
async fn a_user_sees_the_own_account_without_secrets_and_no_other() {
    let server = TestServer::start().await;
    let client = server.client();
    let more = json!({ "email": "alice@example.com", "data": { "b": 1, "a": 2 }, "scopes": ["news:get"] });
    client.create_user_with("alice", "acme", more).await.ok();
    let id = user_object(&client, "alice").await["id"].clone();
    let expected = json!({
        "id": id, "username": "alice", "tenant_name": "acme", "email": "alice@example.com",
        "scopes": ["news:get"], "data": { "b": 1, "a": 2 }, "two_factor": false,
    });
    let alice = client.sign_in("alice").await;
    for user in [&alice, &by_password(&client, "alice", &password_of("alice"))] {
        assert_eq!(user.get("/me").await.ok().json(), expected);
    }
    // The data is in the order in which it was sent.
    alice.post("/update_me", r#"{"data":{"b":1, "a":2}}"#).await.ok();
    let shown = alice.get("/me").await.ok().body;
    assert!(shown.contains(r#""data":{"b":1,"a":2}"#), "{shown}");
    revoke(&client, "alice").await;
    alice.get("/me").await.refused(401, "unauthorized");
    client.get("/me").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn what_was_never_set_is_null() {
    let server = TestServer::start().await;
    let me = server.user("alice", "acme").await.get("/me").await.ok().json();
    for field in ["email", "scopes", "data"] {
        assert_eq!(me[field], json!(null), "{me}");
    }
    assert_eq!(me.as_object().unwrap().len(), 7);
}
