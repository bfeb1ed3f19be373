//! Guards the names that are reserved for the server.

use serde_json::json;

use crate::support::{TestServer, names, one};

#[tokio::test]
async fn a_name_that_begins_with_a_dollar_sign_is_reserved() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    for name in ["$", "$x", "$$", "$SYS/uptime", "$ x", "$@x/y"] {
        alice.insert_raw(one(name, 1)).await.refused(400, "event_name_reserved");
        alice.insert_raw(json!([one("good", 1), one(name, 1)])).await.refused(400, "event_name_reserved");
        alice.remove(name).await.refused(400, "event_name_reserved");
    }
    let id = alice.insert("after", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
    assert_eq!(names(&alice.latest("/events").await), ["after"]);
}

#[tokio::test]
async fn a_dollar_sign_elsewhere_in_a_name_is_as_good_as_any() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let free = ["a$", "price/$", "\u{ff04}x"];
    for name in free {
        alice.insert(name, json!(1)).await;
    }
    assert_eq!(names(&alice.latest("/events").await), free);
    for name in free {
        alice.remove(name).await.ok();
    }
}
