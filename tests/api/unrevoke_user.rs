//! Guards `/unrevoke_user`: the user may sign in again, and what was ended stays so.

use serde_json::json;

use crate::support::{TestServer, password_of, revoke, unrevoke};

#[tokio::test]
async fn an_unknown_user_is_400() {
    let server = TestServer::start().await;
    for unknown in ["nobody", "", "a:b"] {
        server.client().admin("/unrevoke_user", json!({ "username": unknown })).await.refused(400, "user_unknown");
    }
}

#[tokio::test]
async fn revoking_ends_tokens_at_once_and_unrevoking_does_not_bring_them_back() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    revoke(&alice.client, "alice").await;
    assert_eq!(alice.doors().await, [401; 3]);
    alice.client.login("alice", &password_of("alice")).await.refused(401, "unauthorized");
    unrevoke(&alice.client, "alice").await;
    assert_eq!(alice.doors().await, [401; 3]);
    assert_eq!(alice.client.sign_in("alice").await.doors().await, [200; 3]);
    assert_eq!(bob.doors().await, [200; 3], "nobody else is meant");
}
