//! Guards what a connection's stream gives: the same as `/sse` does, each event as the object that `/events` gives.

use serde_json::json;

use crate::support::{Event, TestServer, foreign, names, set_scopes, user_with};

#[tokio::test]
async fn events_are_the_objects_of_the_list_whatever_is_in_them() {
    let server = TestServer::start().await;
    let alice = server.user("zoë", "acme").await;
    let mut live = alice.socket(json!({})).await;
    for (name, data) in [
        ("plain", json!({ "b": 1, "a": [2, null] })),
        ("grüße/日本", json!("😀 \"quoted\" \u{2028}")),
        ("null", json!(null)),
        ("large", json!("x".repeat(90_000))),
        ("empty", json!({})),
    ] {
        alice.insert(name, data).await;
    }
    let mut snapshot = alice.socket(json!({})).await;
    let listed = alice.get("/events").await.ok().json();
    for socket in [&mut live, &mut snapshot] {
        for _ in 0..5 {
            let object = socket.next_object().await;
            assert!(listed.as_array().unwrap().contains(&object), "{object}");
        }
    }
    alice.remove("plain").await.ok();
    let removal = live.next_object().await;
    assert_eq!((&removal["removed"], &removal["data"]), (&json!(true), &json!(null)));
    let kept = alice.get("/history?event=plain&limit=1").await.ok().json();
    assert_eq!(kept["events"][0], removal);
}

#[tokio::test]
async fn a_transient_event_comes_once_and_says_so_and_not_to_those_who_leave_such_events_out() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut all = alice.socket(json!({ "marks": true })).await;
    let mut without = alice.socket(json!({ "transient": false })).await;
    all.until_sync().await;
    for array in [false, true] {
        let cursor = json!({ "event": "cursor", "data": [1, 2], "transient": true });
        let fields = if array { json!({ "events": [cursor] }) } else { cursor };
        all.ok("insert", fields).await;
        let object = all.next_object().await;
        assert_eq!((&object["event"], &object["transient"]), (&json!("cursor"), &json!(true)), "{object}");
    }
    let bound = json!({ "event": "cursor", "data": 1, "transient": true, "while_connected": true });
    all.refused("insert", bound, "transient_invalid").await;
    all.refused("remove", json!({ "event": "cursor", "transient": true }), "transient_invalid").await;
    assert_eq!(alice.latest("/events").await, []);
    assert_eq!(without.so_far(&alice).await, []);
}

#[tokio::test]
async fn a_stream_begins_as_it_is_asked_to() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(alice.insert(["a", "b"][number % 2], json!(number)).await);
    }
    let all = |from: usize| ids[from..].to_vec();
    for (fields, expected) in [
        (json!({}), all(3)),
        (json!({ "events": "a" }), vec![ids[4].clone()]),
        (json!({ "except": "a" }), vec![ids[3].clone()]),
        (json!({ "events": "*", "except": "b*" }), vec![ids[4].clone()]),
        (json!({ "snapshot": false }), vec![]),
        (json!({ "after": ids[0] }), all(1)),
        (json!({ "after": format!(" {} ", ids[3]) }), all(4)),
        (json!({ "after": ids[4] }), vec![]),
        (json!({ "after": ids[1], "events": "b" }), vec![ids[3].clone()]),
        (json!({ "after": "" }), all(3)),
        (json!({ "after": foreign(&ids[0]) }), all(3)),
    ] {
        let mut fields_with_marks = fields.clone();
        fields_with_marks["marks"] = json!(true);
        let mut socket = alice.socket(fields_with_marks).await;
        let (mut came, told) = socket.until_sync().await;
        came.retain(|event| event.name != "$reset");
        let came: Vec<_> = came.into_iter().map(|event| event.id).collect();
        assert_eq!((came, told), (expected, None), "{fields}");
    }
}

#[tokio::test]
async fn control_events_are_objects_too() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let root = user_with(&server, "root", &["*:get", "*:post"]).await;
    let alice = user_with(&server, "alice", &["a:get"]).await;
    let id = root.insert("a", json!(1)).await;
    let mut socket = alice.socket(json!({ "marks": true, "presence": true, "after": foreign(&id) })).await;
    let reset = socket.next_object().await;
    assert_eq!((&reset["event"], &reset["data"]), (&json!("$reset"), &json!({ "reason": "unknown_id" })));
    assert_eq!(reset.as_object().unwrap().len(), 3, "{reset}");
    let (came, _) = socket.until_sync().await;
    let mut came = names(&came);
    came.sort_unstable();
    assert_eq!(came, ["$presence/alice", "a"]);
    set_scopes(&root.client, "alice", &["b:get"]).await;
    let left = socket.next_object().await;
    assert_eq!((&left["event"], &left["data"]), (&json!("$left"), &json!({ "event": "a" })));
    let synced = socket.next_object().await;
    assert_eq!((&synced["event"], &synced["data"]), (&json!("$synced"), &json!({ "id": synced["id"] })));
    let (bob, _) = root.client.sign_in("root").await.open("/sse", None).await;
    let came = socket.next_object().await;
    assert_eq!((&came["event"], &came["data"]["online"]), (&json!("$presence/root"), &json!(true)));
    drop(bob);
    let gone = socket.next_object().await;
    assert_eq!((&gone["event"], &gone["data"]), (&json!("$presence/root"), &json!({ "online": false })));
}

#[tokio::test]
async fn what_is_inserted_over_one_transport_comes_over_the_other_in_the_one_order() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let _mallory = server.user("mallory", "elsewhere").await;
    let mut socket = alice.socket(json!({})).await;
    let mut stream = bob.stream().await;
    let mut other = server.client().sign_in("mallory").await.socket(json!({ "marks": true })).await;
    let mut inserted = Vec::new();
    for number in 0..40 {
        let id = if number % 2 == 0 {
            socket.ok("insert", json!({ "event": "a", "data": number })).await["id"].as_str().unwrap().to_owned()
        } else {
            bob.insert("a", json!(number)).await
        };
        inserted.push(Event::new("a", &id, &number.to_string()));
    }
    assert_eq!(socket.take(40).await, inserted);
    assert_eq!(stream.take(40).await, inserted);
    // Of the inbox only its owner's connections are given anything, and of another tenant nothing.
    let id = bob.insert("@alice/x", json!(1)).await;
    assert_eq!(socket.next().await.id, id);
    assert_eq!(stream.so_far(&bob).await, []);
    assert_eq!(other.until_sync().await.0, []);
    assert!(!other.has_unread());
}

#[tokio::test]
async fn a_quiet_stream_has_heartbeats_that_a_page_can_see() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "nothing" })).await;
    socket.heartbeat().await;
    socket.heartbeat().await;
    socket.ok("ping", json!({})).await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_given_everything_in_order_and_delays_nobody() {
    let server = TestServer::start_with(&["--retain_events=20000"]).await;
    let alice = server.user("alice", "acme").await;
    let mut slow = alice.socket(json!({ "marks": true })).await;
    let mut quick = alice.socket(json!({})).await;
    let mut inserted = Vec::new();
    let data = json!("x".repeat(2000));
    for _ in 0..40 {
        let array: Vec<_> = (0..200).map(|_| json!({ "event": "a", "data": data })).collect();
        let receipts = alice.insert_raw(json!(array)).await.ok().json();
        inserted.extend(receipts.as_array().unwrap().iter().map(|receipt| receipt["id"].as_str().unwrap().to_owned()));
        for _ in 0..200 {
            quick.next().await;
        }
    }
    // 16 MB: more than the kernel takes for a client that does not read.
    slow.until_sync().await;
    let mut came = Vec::new();
    while came.len() < inserted.len() {
        came.push(slow.next().await.id);
    }
    assert_eq!(came, inserted);
}

#[tokio::test]
async fn over_a_kill_and_a_stop_a_client_comes_back_with_its_last_id_and_misses_nothing() {
    let mut server = TestServer::start().await;
    let mut alice = server.user("alice", "acme").await;
    let mut last: Option<String> = None;
    let mut all = Vec::new();
    let mut seen = Vec::new();
    for kill in [true, false, true, false] {
        let mut socket = alice.socket(json!({ "after": last, "marks": true })).await;
        for _ in 0..3 {
            let receipt = socket.ok("insert", json!({ "event": "a", "data": all.len() })).await;
            all.push(receipt["id"].as_str().unwrap().to_owned());
        }
        while seen.last() != all.last() {
            let event = socket.next().await;
            assert!(event.name != "$reset", "{event:?}");
            if !event.name.starts_with('$') {
                seen.push(event.id.clone());
            }
            last = Some(event.id);
        }
        all.push(alice.insert("a", json!("not seen by the connection")).await);
        let (restarted, closed) = tokio::join!(server.end_and_restart(kill), socket.closed());
        server = restarted;
        assert_eq!(closed, if kill { None } else { Some(1012) });
        alice = crate::support::again(&server, &alice);
    }
    let mut socket = alice.socket(json!({ "after": last, "marks": true })).await;
    let (rest, _) = socket.until_sync().await;
    seen.extend(rest.into_iter().map(|event| event.id));
    assert_eq!(seen, all);
}
