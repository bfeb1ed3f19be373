//! Guards changes of what a connection's stream gives: names are added and taken out, one at a time or many.

use std::time::Instant;

use serde_json::json;

use crate::support::{TestServer, names};

#[tokio::test]
async fn names_that_are_added_come_with_their_latest_event_and_those_that_are_taken_out_do_not_come_any_more() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["a", "b/1", "b/2", "c"] {
        alice.insert(name, json!("old")).await;
    }
    let mut socket = alice.socket(json!({ "events": "", "marks": true })).await;
    assert_eq!(socket.until_sync().await, (vec![], None), "nothing is wanted yet");
    for (number, (verb, events, come, live)) in (1..).zip([
        ("subscribe", "a,mark", vec!["a"], vec!["a"]),
        ("subscribe", "b/1, a", vec!["b/1"], vec!["a", "b/1"]),
        ("subscribe", "b/*", vec!["b/2"], vec!["a", "b/1", "b/2"]),
        ("unsubscribe", "a,nothing", vec![], vec!["b/1", "b/2"]),
        // What it contained is still wanted.
        ("unsubscribe", "b/*", vec![], vec!["b/1"]),
        ("unsubscribe", "b/1", vec![], vec![]),
        ("subscribe", "*", vec!["a", "b/1", "b/2", "c"], vec!["a", "b/1", "b/2", "c"]),
        ("unsubscribe", "*", vec![], vec![]),
        ("subscribe", "c", vec!["c"], vec!["c"]),
    ]) {
        let answer = socket.ok(verb, json!({ "events": events })).await;
        assert_eq!(answer, json!({ "change": number }), "{verb} {events}");
        let (mut came, told) = socket.until_sync().await;
        // Sometimes among what is new.
        came.retain(|event| event.name != "mark");
        let mut came = names(&came);
        came.sort_unstable();
        assert_eq!((came, told), (come, Some(number)), "{verb} {events}");
        for name in ["a", "b/1", "b/2", "c"] {
            alice.insert(name, json!("new")).await;
        }
        let came = socket.so_far(&alice).await;
        let mut came = names(&came);
        came.sort_unstable();
        assert_eq!(came, live, "{verb} {events}");
    }
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "mark" })).await;
    for bad in ["", "a,,b", "a\nb"] {
        socket.refused("subscribe", json!({ "events": bad }), "filter_invalid").await;
    }
    let many: Vec<_> = (0..999).map(|number| format!("n{number}")).collect();
    assert_eq!(socket.ok("subscribe", json!({ "events": many.join(",") })).await["change"], 1);
    socket.refused("subscribe", json!({ "events": "one,more" }), "filter_invalid").await;
    socket.ok("unsubscribe", json!({ "events": "n0" })).await;
    socket.ok("subscribe", json!({ "events": "one" })).await;
    for name in ["n0", "one", "more"] {
        alice.insert(name, json!(1)).await;
    }
    assert_eq!(names(&socket.so_far(&alice).await), ["one"]);
}

#[tokio::test]
async fn a_thousand_names_are_added_and_taken_out_one_at_a_time() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "", "marks": true })).await;
    let many: Vec<_> = (0..1000).map(|number| format!("room/{number:04}")).collect();
    for half in many.chunks(500) {
        let array: Vec<_> = half.iter().map(|name| json!({ "event": name, "data": 1 })).collect();
        alice.insert_raw(json!(array)).await.ok();
    }
    let since = Instant::now();
    let mut seen = std::collections::BTreeSet::new();
    let mut last = 0;
    for name in &many {
        last = socket.send("subscribe", json!({ "events": name })).await;
    }
    assert_eq!(socket.answer(last).await["ok"]["change"], 1000);
    loop {
        let (came, told) = socket.until_sync().await;
        seen.extend(came.into_iter().map(|event| event.name));
        if told == Some(1000) {
            break;
        }
    }
    assert!(seen.into_iter().eq(many.iter().cloned()), "{:?}", since.elapsed());
    for name in &many[1..] {
        last = socket.send("unsubscribe", json!({ "events": name })).await;
    }
    assert_eq!(socket.answer(last).await["ok"]["change"], 1999);
    while socket.until_sync().await.1 != Some(1999) {}
    socket.ok("subscribe", json!({ "events": "mark" })).await;
    for name in [&many[0], &many[1], &many[999]] {
        alice.insert(name, json!(2)).await;
    }
    let came = socket.so_far(&alice).await;
    assert_eq!(
        came.iter().map(|event| event.name.as_str()).filter(|name| *name != "$synced").collect::<Vec<_>>(),
        [&many[0]]
    );
}

#[tokio::test]
async fn a_filter_that_http_gives_the_stream_is_what_names_are_added_to() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (mut socket, welcome) = alice.socket_with(json!({ "events": "a,mark" })).await;
    socket.ok("subscribe", json!({ "events": "b" })).await;
    let replaced = json!({ "stream": welcome["stream"], "events": "c,mark" });
    assert_eq!(alice.post("/subscription", replaced).await.ok().json(), json!({ "change": 2 }));
    assert_eq!(socket.ok("subscribe", json!({ "events": "d" })).await["change"], 3);
    for name in ["a", "b", "c", "d"] {
        alice.insert(name, json!(1)).await;
    }
    assert_eq!(names(&socket.so_far(&alice).await), ["c", "d"]);
}
