//! Guards `/end_session`: a user ends one of their sessions, or all their sign-ins.

use serde_json::{Value, json};

use crate::support::{TestServer, by_password, password_of};

#[tokio::test]
async fn a_session_is_ended_from_another_one_with_its_streams() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (lost, own) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let (mut lost_stream, mut own_stream) = (lost.user.stream().await, own.user.stream().await);
    assert_eq!(own.user.post("/end_session", json!({ "session": lost.id })).await.ok().body, "");
    assert_eq!(lost_stream.ends_now().await, []);
    assert_eq!(lost.user.doors().await, [401; 3]);
    lost.refresh().await.refused(401, "session_ended");
    own.user.post("/end_session", json!({ "session": lost.id })).await.refused(404, "session_unknown");
    let id = own.user.insert("news", json!(1)).await;
    assert_eq!(own_stream.next().await.id, id);
    // Also its own, and by a sign-in without a session.
    own.user.post("/end_session", json!({ "session": own.id, "all": false })).await.ok();
    assert_eq!(own.user.doors().await, [401; 3]);
    let last = client.begin_session("alice").await;
    by_password(&client, "alice", &password_of("alice")).post("/end_session", json!({ "session": last.id })).await.ok();
    last.user.verify().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn nobody_ends_the_session_of_somebody_else() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let session = client.begin_session("alice").await;
    let bob = server.user("bob", "acme").await;
    for name in [session.id.as_str(), "0123456789abcdef", "0000000000000000", "", "x"] {
        bob.post("/end_session", json!({ "session": name })).await.refused(404, "session_unknown");
    }
    client.post("/end_session", &json!({ "session": session.id })).await.refused(401, "unauthorized");
    session.user.verify().await.ok();
}

#[tokio::test]
async fn all_sign_ins_are_ended_this_one_and_those_without_a_session_too() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (own, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let plain = client.sign_in("alice").await;
    let bob = server.user("bob", "acme").await;
    let mut streams = [own.user.stream().await, other.user.stream().await, plain.stream().await];
    assert_eq!(own.user.post("/end_session", json!({ "all": true })).await.ok().body, "");
    for stream in &mut streams {
        assert_eq!(stream.ends_now().await, []);
    }
    for user in [&own.user, &other.user, &plain] {
        assert_eq!(user.doors().await, [401; 3]);
    }
    for session in [&own, &other] {
        session.refresh().await.refused(401, "session_ended");
    }
    bob.verify().await.ok();
    let anew = client.begin_session("alice").await;
    assert_eq!(anew.user.get("/sessions").await.ok().json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn either_a_session_or_all_is_named() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for body in [
        json!({}),
        json!({ "all": false }),
        json!({ "session": null, "all": null }),
        json!({ "session": "0123456789abcdef", "all": true }),
        json!({ "session": 7 }),
        json!({ "session": ["0123456789abcdef"] }),
        json!({ "all": "true" }),
    ] {
        alice.post("/end_session", body).await.refused(400, "body_invalid");
    }
    alice.verify().await.ok();
    assert_eq!(alice.get("/sessions").await.ok().json(), Value::Array(Vec::new()));
}
