//! Guards `/logout`: it ends one session, and is as good if that has ended.

use serde_json::json;

use crate::support::{TestServer, by_password, password_of};

#[tokio::test]
async fn the_session_of_the_token_ends_with_its_streams_and_no_other() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for by_refresh_token in [false, true] {
        let (session, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
        let plain = client.sign_in("alice").await;
        let path = "/sse?snapshot=false";
        let mut ending =
            [session.user.stream_of(path, None).await, session.user.stream_of("/sse?events=x", None).await];
        let mut staying = [other.user.stream_of(path, None).await, plain.stream_of(path, None).await];
        let answer = if by_refresh_token {
            client.post("/logout", &json!({ "refresh_token": session.refresh_token })).await
        } else {
            session.user.post("/logout", json!({})).await
        };
        assert_eq!(answer.ok().body, "");
        for stream in &mut ending {
            assert_eq!(stream.ends_now().await, []);
        }
        assert_eq!(session.user.doors().await, [401; 3]);
        session.refresh().await.refused(401, "session_ended");
        let id = plain.insert("news", json!(1)).await;
        for stream in &mut staying {
            assert_eq!(stream.next().await.id, id);
        }
        other.refreshed().await;
        other.user.verify().await.ok();
    }
}

#[tokio::test]
async fn a_session_that_has_ended_can_be_ended_again() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let session = client.begin_session("alice").await;
    for _ in 0..2 {
        session.user.post("/logout", json!({})).await.ok();
        client.post("/logout", &json!({ "refresh_token": session.refresh_token })).await.ok();
        client.post("/logout", &json!({ "refresh_token": "nonsense" })).await.ok();
    }
}

#[tokio::test]
async fn a_former_refresh_token_ends_the_session_and_one_of_another_family_ends_nothing() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (first, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let second = first.refreshed().await;
    let family = other.refresh_token.split('.').nth(1).unwrap();
    let (id, rotation) = (&second.id, second.refresh_token.rsplit('.').next().unwrap());
    client.post("/logout", &json!({ "refresh_token": format!("{id}.{family}.{rotation}") })).await.ok();
    second.user.verify().await.ok();
    client.post("/logout", &json!({ "refresh_token": first.refresh_token })).await.ok();
    second.user.verify().await.refused(401, "unauthorized");
    other.user.verify().await.ok();
}

#[tokio::test]
async fn a_sign_in_without_a_session_is_400_and_none_is_401() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.post("/logout", json!({})).await.refused(400, "session_unknown");
    alice.verify().await.ok();
    let basic = by_password(&alice.client, "alice", &password_of("alice"));
    basic.post("/logout", json!({})).await.refused(400, "session_unknown");
    by_password(&alice.client, "alice", "pw-secret-x").post("/logout", json!({})).await.refused(401, "unauthorized");
    alice.client.post("/logout", &json!({})).await.refused(401, "unauthorized");
    alice.client.with_authorization("Bearer x").post("/logout", json!({})).await.refused(401, "unauthorized");
    alice.client.post("/logout", &json!({ "refresh_token": 7 })).await.refused(400, "body_invalid");
}
