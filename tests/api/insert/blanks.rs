//! Guards event names with blanks at their ends, which clients drop: one space after a field's colon, or all that `trim` does.

use serde_json::{Value, json};

use crate::support::TestServer;

/// What some client drops.
const BLANKS: [&str; 9] = [" ", "  ", "\u{a0}", "\u{1680}", "\u{180e}", "\u{2003}", "\u{200b}", "\u{3000}", "\u{feff}"];

#[tokio::test]
async fn no_event_has_a_name_with_blanks_at_its_ends() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream_of("/sse?marks=true", None).await;
    assert_eq!(stream.next().await.name, "$synced");
    for blank in BLANKS {
        for name in [format!("{blank}$reset"), format!("{blank}@bob/x"), format!("news{blank}"), blank.to_owned()] {
            let refused = alice.try_insert(&name, json!(1)).await.refused(400, "event_name_invalid");
            assert!(refused.error().contains("blanks at its ends"), "{name:?}");
            let array = json!([{ "event": "ok", "data": 1 }, { "event": name, "data": 1 }]).to_string();
            alice.insert_raw(array).await.refused(400, "event_name_invalid");
        }
    }
    alice.insert("in the\u{a0}middle", json!(1)).await;
    assert_eq!(stream.next().await.name, "in the\u{a0}middle");
}

#[tokio::test]
async fn an_event_that_an_earlier_version_let_in_is_taken_for_no_other_and_can_be_read_and_removed() {
    let names = [" $reset", "\u{feff}$left", " @bob/x", "news ", " news"];
    let shown = ["\u{fffd}$reset", "\u{fffd}$left", "\u{fffd}@bob/x", "news\u{fffd}", "\u{fffd}news"];
    let server = TestServer::start().await;
    server.user("alice", "acme").await;
    let server = server.with_earlier_events("alice", "acme", &names).await;
    let alice = server.client().sign_in("alice").await;

    let mut stream = alice.stream_of("/sse?marks=true", None).await;
    let snapshot: Vec<_> = stream.take(names.len()).await.into_iter().map(|event| event.name).collect();
    assert_eq!(snapshot, shown);
    assert_eq!(stream.next().await.name, "$synced");

    let listed = alice.get("/events").await.ok().json();
    let mut listed: Vec<_> = listed.as_array().unwrap().iter().map(|event| event["event"].clone()).collect();
    listed.sort_by_key(Value::to_string);
    let mut expected = names.map(Value::from);
    expected.sort_by_key(Value::to_string);
    assert_eq!(listed, expected);
    let page = alice.get("/history?event=%20%24reset").await.ok().json();
    assert_eq!(page["events"][0]["event"], names[0]);

    for (name, shown) in names.iter().zip(shown) {
        assert_eq!(alice.remove(name).await.status, 200, "{name:?}");
        let removed = stream.next().await;
        assert_eq!((removed.name.as_str(), removed.data.as_str()), (shown, "null"));
    }
    assert_eq!(alice.get("/events").await.ok().json(), json!([]));
}

#[tokio::test]
async fn no_scope_is_given_with_blanks_at_an_end() {
    let server = TestServer::start().await;
    for scope in [" news:get", "news:get ", "news :get", "news: get", "\u{feff}news:get"] {
        let answer = server.client().create_user_with("alice", "acme", json!({ "scopes": [scope] })).await;
        answer.refused(400, "scopes_invalid");
    }
    server.client().create_user_with("alice", "acme", json!({ "scopes": ["chat room/*:get"] })).await.ok();
}
