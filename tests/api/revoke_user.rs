//! Guards `/revoke_user`: the user's sign-ins and streams end.

use serde_json::json;

use crate::contract::user_object;
use crate::support::{TestServer, password_of, revoke};

#[tokio::test]
async fn revoking_and_unrevoking_show_in_the_user_object_and_may_be_repeated() {
    let server = TestServer::start().await;
    let client = server.client();
    client
        .create_user_with("alice", "acme", json!({ "data": 1, "scopes": ["news:get"], "two_factor": true }))
        .await
        .ok();
    let before = user_object(&client, "alice").await;
    for (path, revoked) in [("revoke", true), ("revoke", true), ("unrevoke", false), ("unrevoke", false)] {
        let answer = client.admin(&format!("/{path}_user"), json!({ "username": "alice" })).await.ok();
        assert_eq!(answer.body, "");
        let mut expected = before.clone();
        expected["revoked"] = json!(revoked);
        assert_eq!(user_object(&client, "alice").await, expected);
    }
}

#[tokio::test]
async fn an_unknown_user_is_400() {
    let server = TestServer::start().await;
    for unknown in ["nobody", "", "a:b"] {
        server.client().admin("/revoke_user", json!({ "username": unknown })).await.refused(400, "user_unknown");
    }
}

#[tokio::test]
async fn revoking_ends_every_stream_of_the_user_and_no_other() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut streams = [alice.stream().await, server.client().sign_in("alice").await.stream().await];
    let mut bobs = bob.stream().await;
    revoke(&alice.client, "alice").await;
    for stream in &mut streams {
        assert_eq!(stream.ends_now().await, []);
    }
    let id = bob.insert("news", json!(1)).await;
    assert_eq!(bobs.next().await.id, id);
}

#[tokio::test]
async fn a_revocation_lasts_over_a_restart() {
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    revoke(&alice.client, "alice").await;
    server.kill();
    let server = server.restart().await;
    assert_eq!(server.client().with_authorization(&alice.authorization).doors().await, [401; 3]);
    server.client().login("alice", &password_of("alice")).await.refused(401, "unauthorized");
}
