//! Guards `transient`: events that are in the order and in the history, and never the latest of their name.

use serde_json::{Value, json};

use crate::presence::insert_by;
use crate::support::{
    Receipt, TestServer, User, after_kill, current, missing, names, one, transient, until, user_with,
};

/// An insert of a transient event that expires.
fn expiring(event: &str, data: i32, seconds: u32) -> Value {
    json!({ "event": event, "data": data, "transient": true, "expires_in": seconds })
}

/// The data in the history of a name, and which of it is transient, the oldest first.
async fn history(user: &User, name: &str) -> Vec<(String, bool)> {
    let of = async |order: &str| {
        let page = user.history(&format!("event={name}&order={order}&limit=1000")).await;
        assert_eq!(page.next, None);
        page.events
    };
    // Between the two an event may expire.
    let events = until("both orders to be the same", async || {
        let mut events = of("newest").await;
        events.reverse();
        (events == of("oldest").await).then_some(events)
    });
    events.await.into_iter().map(|event| (event.data, event.transient)).collect()
}

fn pairs(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    expected.iter().map(|(data, is_transient)| ((*data).to_owned(), *is_transient)).collect()
}

#[tokio::test]
async fn the_latest_event_stays_and_the_history_has_both_over_a_kill_too() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("chat", json!("topic")).await;
    let array = json!([transient("chat", 1), transient("only", 2), one("chat", "new topic"), transient("chat", 3)]);
    let given: Vec<Receipt> = alice.insert_raw(array).await.read();
    assert!(given.windows(2).all(|pair| pair[0].id < pair[1].id && pair[0].timestamp == pair[1].timestamp));
    let (server, alice) = after_kill(server, &alice).await;
    let latest = alice.latest("/events").await;
    assert_eq!((names(&latest), latest[0].id.as_str()), (vec!["chat"], given[2].id.as_str()));
    let expected = [("\"topic\"", false), ("1", true), ("\"new topic\"", false), ("3", true)];
    assert_eq!(history(&alice, "chat").await, pairs(&expected));
    assert_eq!(history(&alice, "only").await, pairs(&[("2", true)]));
    let object = alice.get("/history?event=only").await.ok().body;
    let Receipt { id, timestamp } = &given[1];
    let expected = format!(
        r#"{{"event":"only","data":2,"id":"{id}","timestamp":{timestamp},"username":"alice","transient":true}}"#
    );
    assert_eq!(object, format!(r#"{{"events":[{expected}],"next":null}}"#));
    drop(server);
}

#[tokio::test]
async fn conditions_and_removals_look_at_the_latest_event_alone() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let given: Receipt = alice.insert_raw(transient("doc", 0)).await.read();
    // A name with transient events alone does not exist.
    alice.remove("doc").await.refused(404, "event_unknown");
    let answer = alice.insert_with(&[("if-match", &given.id)], one("doc", 1)).await;
    assert_eq!(current(&answer), None);
    let new = alice.insert_with(&[("if-none-match", "*")], transient("doc", 1)).await;
    new.ok();
    let value: Receipt = alice.insert_with(&[("if-none-match", "*")], one("doc", "v")).await.read();
    let later: Receipt = alice.insert_with(&[("if-match", &value.id)], transient("doc", 2)).await.read();
    // It changed nothing.
    for id in [&given.id, &later.id] {
        let answer = alice.insert_with(&[("if-match", id)], transient("doc", 3)).await;
        assert_eq!(current(&answer).map(|current| current.id), Some(value.id.clone()));
    }
    let answer = alice.insert_with(&[("if-none-match", "*")], transient("doc", 3)).await;
    assert_eq!(current(&answer).map(|current| current.data), Some("\"v\"".to_owned()));
    alice.remove_with(&[("if-match", &value.id)], "doc").await.ok();
    alice.insert_raw(transient("doc", 4)).await.ok();
    alice.remove("doc").await.refused(404, "event_unknown");
    assert_eq!(names(&alice.latest("/events").await), [""; 0]);
    let expected = [("0", true), ("1", true), ("\"v\"", false), ("2", true), ("null", false), ("4", true)];
    assert_eq!(history(&alice, "doc").await, pairs(&expected));
}

#[tokio::test]
async fn what_an_event_may_be_it_may_be_transient_too_but_not_bound_to_a_stream() {
    let server = TestServer::start_with(&["--authorize=scopes", "--max_event_bytes=100", "--max_names=1"]).await;
    let clerk = user_with(&server, "clerk", &["*:get", "*:post"]).await;
    let bob = user_with(&server, "bob", &["news:get", "chat:post"]).await;
    let (_stream, id) = clerk.open("/sse", None).await;
    let mut bound = transient("seat", 1);
    bound["while_connected"] = json!(true);
    clerk.insert_raw(&bound).await.refused(400, "transient_invalid");
    insert_by(&clerk, &id, &bound).await.refused(400, "transient_invalid");
    insert_by(&clerk, &id, json!([one("seat", 1), bound])).await.refused(400, "transient_invalid");
    let removal = json!({ "event": "seat", "transient": true });
    clerk.post("/remove", removal).await.refused(400, "transient_invalid");
    clerk.insert_raw(json!({ "event": "seat", "data": 1, "transient": "yes" })).await.refused(400, "body_invalid");
    clerk.insert_raw(expiring("seat", 1, 0)).await.refused(400, "expires_in_invalid");
    clerk.insert_raw(transient("seat", "x".repeat(100))).await.refused(413, "event_too_large");
    clerk.insert_raw(transient("$seat", 1)).await.refused(400, "event_name_reserved");
    clerk.insert_raw(transient("@nobody/x", 1)).await.refused(404, "inbox_unknown");
    missing(&bob.insert_raw(transient("news", 1)).await, "news:post");
    bob.insert_raw(transient("chat", 1)).await.ok();
    // Names that have no other events do not count.
    for number in 0..5 {
        clerk.insert_raw(transient(&format!("name{number}"), 1)).await.ok();
    }
    clerk.insert("news", json!(1)).await;
    clerk.try_insert("name0", json!(1)).await.refused(409, "too_many_names");
    clerk.insert_raw(json!({ "event": "news", "data": 2, "transient": false })).await.ok();
    clerk.insert_raw(json!({ "event": "news", "data": 3, "transient": null })).await.ok();
    assert_eq!(names(&clerk.latest("/events").await), ["news"]);
    assert_eq!(history(&clerk, "seat").await, pairs(&[]));
    // An inbox is its owner's, and what may not be seen is in no history.
    clerk.insert_raw(transient("@bob/x", 1)).await.ok();
    assert_eq!(history(&bob, "@bob/x").await, pairs(&[("1", true)]));
    assert_eq!(history(&clerk, "@bob/x").await, pairs(&[]));
    assert_eq!(history(&bob, "chat").await, pairs(&[]));
}

#[tokio::test]
async fn a_repetition_with_the_same_key_inserts_nothing_and_is_another_request_without_transient() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let key = [("idempotency-key", "k")];
    let first = alice.insert_with(&key, transient("chat", 1)).await.ok();
    let (server, alice) = after_kill(server, &alice).await;
    let again = alice.insert_with(&key, transient("chat", 1)).await.ok();
    assert_eq!((&again.body, again.header("idempotency-replayed")), (&first.body, Some("true")));
    alice.insert_with(&key, one("chat", 1)).await.refused(422, "idempotency_key_reused");
    alice.insert_with(&key, expiring("chat", 1, 9)).await.refused(422, "idempotency_key_reused");
    assert_eq!(history(&alice, "chat").await, pairs(&[("1", true)]));
    drop(server);
}

#[tokio::test]
async fn with_expires_in_it_leaves_the_history_and_no_removal_tells_so_also_if_the_server_was_down() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("chat", json!("topic")).await;
    let large = "x".repeat(90_000);
    let array = json!([
        expiring("chat", 1, 1),
        transient("chat", 2),
        expiring("chat", 3, 31_536_000),
        { "event": "chat", "data": large, "transient": true, "expires_in": 1 },
        expiring("only", 4, 1),
    ]);
    let given: Vec<Receipt> = alice.insert_raw(array).await.read();
    let left = pairs(&[("\"topic\"", false), ("2", true), ("3", true)]);
    let gone = async |user: &User| {
        until("transient events to expire", async || (history(user, "only").await.is_empty()).then_some(())).await;
        until("transient events to expire", async || (history(user, "chat").await == left).then_some(())).await;
    };
    gone(&alice).await;
    let next = alice.insert("end", json!(1)).await;
    // Nothing came in between, and the ids of what is gone are as good as others.
    let resumed = alice.coming("/sse", Some(&given[0].id)).await;
    assert_eq!(resumed.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), [&given[1].id, &given[2].id, &next]);
    alice.insert_raw(json!([expiring("chat", 5, 1), expiring("only", 6, 1)])).await.ok();
    let (server, alice) = after_kill(server, &alice).await;
    gone(&alice).await;
    drop(server);
}

#[tokio::test]
async fn with_the_tail_they_go_and_the_latest_event_stays_in_the_history() {
    let server = TestServer::start_with(&["--retain_events=10"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("chat", json!("topic")).await;
    alice.insert_raw(json!([transient("chat", 1), transient("only", 1), expiring("only", 2, 31_536_000)])).await.ok();
    for number in 2..30 {
        alice.insert_raw(transient("chat", number)).await.ok();
    }
    let expected: Vec<_> = (20..30).map(|number| (number.to_string(), true)).collect();
    let expected = [pairs(&[("\"topic\"", false)]), expected].concat();
    until("the tail to be shortened", async || (history(&alice, "chat").await == expected).then_some(())).await;
    assert_eq!(history(&alice, "only").await, pairs(&[]));
    // The chain goes on over what has gone, page by page.
    alice.insert_raw(transient("chat", 30)).await.ok();
    let newest = async |before: Option<String>| {
        let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
        alice.history(&format!("event=chat&limit=3{before}")).await
    };
    let (mut page, mut data) = (newest(None).await, Vec::new());
    loop {
        data.extend(page.events.into_iter().map(|event| event.data));
        let Some(next) = page.next else { break };
        page = newest(Some(next)).await;
    }
    assert_eq!((data.first().unwrap().as_str(), data.last().unwrap().as_str()), ("30", "\"topic\""));
    let (_server, alice) = after_kill(server, &alice).await;
    assert_eq!(names(&alice.latest("/events").await), ["chat"]);
    // The latest event goes with the one that takes its place, and the rest of the history stays.
    alice.insert("chat", json!("other")).await;
    let left = history(&alice, "chat").await;
    assert_eq!((left[0].1, left.last().unwrap()), (true, &("\"other\"".to_owned(), false)));
}
