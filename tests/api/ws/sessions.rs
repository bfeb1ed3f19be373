//! Guards connections of `broker.v1` that belong to a session: they end with it, and no other one renews them.

use serde_json::json;

use crate::support::{Socket, TestServer};

#[tokio::test]
async fn a_connection_takes_a_newer_token_of_its_session_and_of_no_other() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (session, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let plain = client.sign_in("alice").await;
    let mut socket = session.user.socket(json!({})).await;
    for user in [&other.user, &plain] {
        socket.refused("renew", json!({ "token": user.jwt() }), "stream_unknown").await;
    }
    let newer = session.refreshed().await;
    let renewed = socket.ok("renew", json!({ "token": newer.user.jwt() })).await;
    assert_eq!(renewed["expires_at"], newer.answer["expires_at"]);
    socket.ok("insert", json!({ "event": "news", "data": 1 })).await;
    let mut of_plain = plain.socket(json!({})).await;
    of_plain.refused("renew", json!({ "token": session.user.jwt() }), "stream_unknown").await;
    of_plain.ok("renew", json!({ "token": client.sign_in("alice").await.jwt() })).await;
}

#[tokio::test]
async fn a_connection_ends_with_its_session_and_no_other_one_does() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (session, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let (mut socket, mut others) = (session.user.socket(json!({})).await, other.user.socket(json!({})).await);
    client.post("/logout", &json!({ "refresh_token": session.refresh_token })).await.ok();
    other.user.insert("secret", json!(1)).await;
    assert_eq!(socket.closed().await, Some(4401));
    while let Some(event) = socket.read().await {
        assert_ne!(event.name, "secret");
    }
    let mut again = Socket::connect(&server.url).await;
    again.refused("sign_in", json!({ "token": session.user.jwt() }), "unauthorized").await;
    others.ok("ping", json!({})).await;
}
