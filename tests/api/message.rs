//! Guards `/message`: messages to channels.

use serde_json::{Value, json};

use crate::channel::{AUTH_KEY, FLAGS, post};
use crate::support::TestServer;

#[tokio::test]
async fn a_message_is_a_transient_event_of_its_channel_which_the_users_of_the_tenant_see() {
    let server = TestServer::start_with(&FLAGS).await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream_of("/sse", None).await;
    for (name, channel) in [("room/1", "room/1"), ("a%20b", "a b"), ("r%C3%B6m", "röm")] {
        for message in [json!("hello"), json!({ "a": [1, null] }), Value::Null, json!(1.50)] {
            let body = json!({ "message": message, "other": 1 }).to_string();
            let answer = post(&server, &format!("/message/{name}"), Some(AUTH_KEY), &body).await.ok();
            assert_eq!(answer.json(), json!({ "success": true }));
            let event = stream.next().await;
            assert_eq!((event.name.as_str(), event.json()), (channel, message));
        }
    }
    let history = alice.get("/history?event=a%20b").await.ok().json();
    assert_eq!(history["events"][0]["username"], "channelapi:publisher");
    assert_eq!(history["events"][0]["transient"], true);
    assert_eq!(alice.get("/events").await.ok().json(), json!([]));
}

#[tokio::test]
async fn a_body_without_a_message_is_told_in_the_words_of_channelapi() {
    let server = TestServer::start_with(&FLAGS).await;
    let expected = json!({
        "success": false,
        "message": "Body is in incorrect format. Key 'message' not found.",
    });
    for body in ["", "{}", "[]", "null", "{\"message\"", r#"{"Message": 1}"#, r#"["message"]"#] {
        let answer = post(&server, "/message/room", Some(AUTH_KEY), body).await.ok();
        assert_eq!(answer.json(), expected, "{body}");
    }
    let none = post(&server, "/message/", Some(AUTH_KEY), r#"{"message": 1}"#).await.ok();
    assert_eq!(none.json(), json!({ "success": false, "message": "No Channel Supplied" }));
    let deep = format!(r#"{{"message": {}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let answer = post(&server, "/message/room", Some(AUTH_KEY), &deep).await;
    assert!(answer.status == 400 || answer.json() == expected, "{answer:?}");
    let large = json!({ "message": "x".repeat(200_000) }).to_string();
    post(&server, "/message/room", Some(AUTH_KEY), &large).await.refused(413, "event_too_large");
    let larger = json!({ "message": "x".repeat(3 << 20) }).to_string();
    post(&server, "/message/room", Some(AUTH_KEY), &larger).await.refused(413, "body_too_large");
}
