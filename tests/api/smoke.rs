//! Guards the shortest way: a user, an insert, and its event on a stream.

use serde_json::json;

use crate::support::TestServer;

#[tokio::test]
async fn a_user_signs_in_inserts_and_everybody_of_the_tenant_sees_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut stream = bob.stream().await;
    let id = alice.insert("news", json!({ "title": "hello" })).await;
    let due = stream.heartbeats_due();
    let event = stream.next().await;
    assert_eq!((event.name.as_str(), event.id.as_str()), ("news", id.as_str()));
    assert_eq!(event.data, r#"{"title":"hello"}"#);
    assert!(stream.heartbeats <= due, "it was woken by the event, and not by the next heartbeat");
}
