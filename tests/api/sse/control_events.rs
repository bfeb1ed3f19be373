//! Guards `marks=true`: the control events `$synced` and `$left`.

use serde_json::json;

use crate::support::{
    Event, Stream, TestServer, User, change, foreign, insert_names, kept, names, pairs, set_scopes, until, user_with,
};

type Names = &'static [&'static str];

#[track_caller]
pub fn assert_id(event: &Event) {
    assert!(event.id.len() == 22 && event.id.bytes().all(|byte| byte.is_ascii_digit()), "{event:?}");
}

#[track_caller]
pub fn assert_synced(event: &Event) {
    let mut data = event.json();
    if let Some(change) = data.as_object_mut().unwrap().remove("change") {
        assert!(change.as_u64().is_some_and(|change| change > 0), "{event:?}");
    }
    assert_eq!((event.name.as_str(), data), ("$synced", json!({ "id": event.id })));
    assert_id(event);
}

#[track_caller]
pub fn assert_reset(event: &Event, reason: &str) {
    assert_eq!((event.name.as_str(), event.json()), ("$reset", json!({ "reason": reason })));
    assert_id(event);
}

/// What comes before the next `$synced`, and its id.
pub async fn until_sync(stream: &mut Stream) -> (Vec<Event>, String) {
    let mut events = Vec::new();
    loop {
        let event = stream.next().await;
        if event.name == "$synced" {
            assert_synced(&event);
            return (events, event.id);
        }
        events.push(event);
    }
}

/// Opens a stream with control events.
pub async fn marked(user: &User, query: &str, last_event_id: Option<&str>) -> Stream {
    user.stream_of(&format!("/sse?marks=true{query}"), last_event_id).await
}

/// What comes to who resumes, up to `$synced`. Nothing may be said of a reset, and what is live comes afterwards.
pub async fn missed(user: &User, query: &str, last_event_id: &str) -> Vec<Event> {
    let mut stream = marked(user, query, Some(last_event_id)).await;
    let (events, _) = until_sync(&mut stream).await;
    assert_eq!(stream.so_far(user).await, []);
    events.into_iter().filter(|event| event.name != "mark").collect()
}

#[tokio::test]
async fn a_stream_with_nothing_to_begin_with_is_in_sync_at_once() {
    let server = TestServer::start().await;
    for (number, query) in ["", "&snapshot=false", "&events=nothing,mark", "&except=news"].into_iter().enumerate() {
        let user = server.user(&format!("user{number}"), &format!("tenant{number}")).await;
        let mut stream = marked(&user, query, None).await;
        assert_synced(&stream.next().await);
        assert_eq!(stream.so_far(&user).await, [], "{query}");
    }
    // There is something, but nothing to give.
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    for query in ["&snapshot=false", "&events=nothing,mark", "&except=news,mark*&events=*"] {
        let mut stream = marked(&alice, query, None).await;
        assert_synced(&stream.next().await);
        if !query.contains("except") {
            assert_eq!(stream.so_far(&alice).await, [], "{query}");
            // So that the next one has nothing of it.
            removal(&alice, "mark").await;
        }
    }
}

#[tokio::test]
async fn a_snapshot_is_followed_by_synced_and_then_by_live_events() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let all: Vec<_> = (0..600).map(|number| format!("name{number}")).collect();
    let inserted = insert_names(&alice, &all, &"x".repeat(1000)).await;
    let mut stream = marked(&alice, "", None).await;
    let (snapshot, synced) = until_sync(&mut stream).await;
    assert!(pairs(&snapshot) == inserted, "{} events", snapshot.len());
    let live = [alice.insert("name7", json!(1)).await, alice.insert("new", json!(2)).await];
    assert_eq!(stream.take(2).await, [Event::new("name7", &live[0], "1"), Event::new("new", &live[1], "2")]);
    assert!(synced >= inserted[599].0 && synced < live[0], "{synced}");
    // With a filter, and with nothing of the snapshot.
    let mut filtered = marked(&alice, "&events=name5,new", None).await;
    assert_eq!(names(&until_sync(&mut filtered).await.0), ["name5", "new"]);
    let mut new = marked(&alice, "&snapshot=false", None).await;
    assert_synced(&new.next().await);
    let next = alice.insert("new", json!(3)).await;
    for stream in [&mut stream, &mut filtered, &mut new] {
        assert_eq!(stream.next().await, Event::new("new", &next, "3"));
    }
}

#[tokio::test]
async fn the_missed_events_are_followed_by_synced() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut inserted = Vec::new();
    for (number, name) in ["a", "b"].into_iter().cycle().take(10).enumerate() {
        inserted.push(Event::new(name, &alice.insert(name, json!(number)).await, &number.to_string()));
    }
    for seen in [0, 4, 9] {
        assert_eq!(missed(&alice, "", &inserted[seen].id).await, inserted[seen + 1..], "after {seen}");
        assert_eq!(missed(&alice, "&snapshot=false", &inserted[seen].id).await, inserted[seen + 1..], "after {seen}");
    }
    let of_b: Vec<_> = inserted[4..].iter().filter(|event| event.name == "b").cloned().collect();
    assert_eq!(missed(&alice, "&events=b,mark", &inserted[3].id).await, of_b);
}

#[tokio::test]
async fn another_filter_is_followed_by_synced_once_its_new_names_have_come() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["a", "b", "c", "d"] {
        alice.insert(name, json!("old")).await;
    }
    let mut stream = marked(&alice, "&events=a", None).await;
    let id = stream.id();
    assert_eq!(names(&until_sync(&mut stream).await.0), ["a"]);
    let steps: [(&str, &[&str]); 4] = [("b,c", &["b", "c"]), ("c", &[]), ("a,c,d", &["a", "d"]), ("nothing", &[])];
    for (events, replayed) in steps {
        change(&alice, &id, json!({ "events": events })).await;
        // No name is said to be lost: nobody has lost the right to it.
        assert_eq!(names(&until_sync(&mut stream).await.0), replayed, "{events}");
    }
    change(&alice, &id, json!({ "events": "a,mark" })).await;
    assert_eq!(names(&until_sync(&mut stream).await.0), ["a"]);
    let live = alice.insert("a", json!(1)).await;
    assert_eq!(stream.so_far(&alice).await, [Event::new("a", &live, "1")]);
}

#[tokio::test]
async fn synced_says_which_change_of_the_filter_it_covers_and_comes_after_each_of_them() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let root = user_with(&server, "root", &["*:get", "*:post"]).await;
    let alice = user_with(&server, "alice", &["*:get"]).await;
    for name in ["a", "b"] {
        root.insert(name, json!("old")).await;
    }
    let mut stream = marked(&alice, "&events=a", None).await;
    let id = stream.id();
    let told = |event: Event| (event.name.clone(), event.json()["change"].as_u64());
    let synced = |change: Option<u64>| ("$synced".to_owned(), change);
    until_sync(&mut stream).await;
    // The last one is equal to the one before.
    for (number, events) in (1..).zip(["b", "a,b", "a", "a"]) {
        assert_eq!(change(&alice, &id, json!({ "events": events })).await, number);
        let mut last = stream.next().await;
        while last.name != "$synced" {
            last = stream.next().await;
        }
        assert_eq!(told(last), synced(Some(number)), "{events}");
    }
    // Of two at once, what was asked for first is told with the second at the latest.
    let ask = |events: &str| change(&alice, &id, json!({ "events": events }));
    let mut numbers: [u64; 2] = tokio::join!(ask("b,mark"), ask("a,b,mark")).into();
    numbers.sort_unstable();
    assert_eq!(numbers, [5, 6]);
    while told(stream.next().await) != synced(Some(6)) {}
    // No client asked for this one.
    set_scopes(&root.client, "alice", &["b:get", "mark:get"]).await;
    let mut last = stream.next().await;
    while last.name != "$synced" {
        last = stream.next().await;
    }
    assert_eq!(told(last), synced(None));
    // A new stream counts anew.
    drop(stream);
    let mut stream = marked(&alice, "", None).await;
    assert_eq!(change(&alice, &stream.id(), json!({ "events": "b" })).await, 1);
    while told(stream.next().await) != synced(Some(1)) {}
}

#[tokio::test]
async fn a_client_that_did_not_ask_for_control_events_gets_none() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let root = user_with(&server, "root", &["*:get", "*:post"]).await;
    let alice = user_with(&server, "alice", &["*:get"]).await;
    for path in ["/sse", "/sse?marks=false"] {
        // After the scopes were changed, a client that resumes from before the change gets everything.
        let a = root.insert("a", json!(1)).await;
        let b = root.insert("b", json!(2)).await;
        let elsewhere = foreign(&b);
        let (of_a, of_b) = (Event::new("a", &a, "1"), Event::new("b", &b, "2"));
        let ids =
            [(None, 0), (Some(a.as_str()), 1), (Some(b.as_str()), 2), (Some("abc"), 0), (Some(elsewhere.as_str()), 0)];
        for (seen, expected) in ids {
            let came = alice.stream_of(path, seen).await.so_far(&root).await;
            assert_eq!(came, [of_a.clone(), of_b.clone()][expected..], "{path} after {seen:?}");
        }
        let mut stream = alice.stream_of(path, None).await;
        let id = stream.id();
        assert_eq!(names(&stream.so_far(&root).await), ["a", "b"]);
        change(&alice, &id, json!({ "events": "a,mark" })).await;
        assert_eq!(stream.so_far(&root).await, []);
        change(&alice, &id, json!({})).await;
        assert_eq!(names(&stream.so_far(&root).await), ["b"]);
        set_scopes(&root.client, "alice", &["b:get", "mark:get"]).await;
        assert_eq!(stream.so_far(&root).await, []);
        set_scopes(&root.client, "alice", &["*:get"]).await;
        assert_eq!(names(&stream.so_far(&root).await), ["a"]);
    }
}

/// Removes a name; the id of that.
pub async fn removal(user: &User, event: &str) -> String {
    let answer = user.post("/remove", &json!({ "event": event })).await.ok();
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Awaits that of these names no more than so many events are kept.
pub async fn until_few_are_kept(user: &User, names: &[String], at_most: usize) {
    until("old events to go", async || {
        let mut left = 0;
        for name in names {
            left += kept(user, name).await.len();
        }
        (left <= at_most).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_name_that_may_no_longer_be_seen_has_left() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let root = user_with(&server, "root", &["*:post"]).await;
    let alice = user_with(&server, "alice", &["a*:get", "b:get"]).await;
    for name in ["a1", "a2", "a\"ü\\", "a3", "b", "c", "a1", "@alice/x", "@root/x"] {
        root.insert(name, json!("old")).await;
    }
    removal(&root, "a3").await;
    let mut stream = marked(&alice, "", None).await;
    assert_eq!(names(&until_sync(&mut stream).await.0), ["a2", "a\"ü\\", "b", "a1", "@alice/x"]);
    let steps: [(Names, Names, Names); 5] = [
        // What was lost, and what was gained.
        (&["b:get", "c:get"], &["a\"ü\\", "a1", "a2"], &["c"]),
        (&["b:get", "c:get", "d:get", "news:post"], &[], &[]),
        (&["a1:get", "a2:get"], &["b", "c"], &["a2", "a1"]),
        (&["*:get"], &[], &["a\"ü\\", "b", "c"]),
        (&["mark:get"], &["a\"ü\\", "a1", "a2", "b", "c"], &[]),
    ];
    for (scopes, lost, gained) in steps {
        set_scopes(&root.client, "alice", scopes).await;
        if scopes.contains(&"d:get") {
            // Of nothing that there is. Before that is said, the next change would have all given again.
            while stream.next().await.name != "$synced" {}
            continue;
        }
        let (mut left, mut came) = (Vec::new(), Vec::new());
        while left.len() < lost.len() || came.len() < gained.len() {
            let event = stream.next().await;
            if event.name == "$left" {
                assert_id(&event);
                // A name that was removed may be told as well: its removal may not have been seen.
                if event.json()["event"] != "a3" {
                    left.push(event.json());
                }
            } else if event.name != "$synced" {
                came.push(event);
            }
        }
        let mut last = stream.next().await;
        while last.name == "$left" && last.json()["event"] == "a3" {
            last = stream.next().await;
        }
        assert_synced(&last);
        left.sort_by_key(|mark| mark["event"].as_str().unwrap().to_owned());
        assert_eq!(left, lost.iter().map(|name| json!({ "event": name })).collect::<Vec<_>>(), "{scopes:?}");
        assert_eq!(names(&came), gained, "{scopes:?}");
    }
    assert_eq!(stream.so_far(&root).await, []);
}

#[tokio::test]
async fn in_open_mode_a_change_of_scopes_is_none() {
    let server = TestServer::start().await;
    let alice = user_with(&server, "alice", &["a:get"]).await;
    alice.insert("a", json!(1)).await;
    let mut stream = marked(&alice, "", None).await;
    until_sync(&mut stream).await;
    for scopes in [&["b:get"][..], &[], &["a:get", "*:post"]] {
        set_scopes(&alice.client, "alice", scopes).await;
        assert_eq!(stream.so_far(&alice).await, [], "{scopes:?}");
        let live = alice.insert("b", json!(1)).await;
        assert_eq!(stream.next().await.id, live);
    }
}

#[tokio::test]
async fn a_client_that_resumes_after_synced_misses_nothing_and_gets_nothing_twice() {
    let server = TestServer::start_with(&["--authorize=scopes"]).await;
    let alice = user_with(&server, "alice", &["*:get", "*:post"]).await;
    let check = async |query: &str, synced: &str| {
        // Whether or not there are control events again.
        assert_eq!(missed(&alice, query, synced).await, [], "{query}");
        assert_eq!(alice.stream_of("/sse", Some(synced)).await.so_far(&alice).await, [], "{query}");
        let mut inserted = Vec::new();
        for name in ["a", "b", "a"] {
            inserted.push(Event::new(name, &alice.insert(name, json!(1)).await, "1"));
        }
        assert_eq!(alice.stream_of("/sse", Some(synced)).await.so_far(&alice).await, inserted, "{query}");
        if query.is_empty() {
            assert_eq!(missed(&alice, query, synced).await, inserted);
        }
    };
    // Of a tenant without any event.
    let (_, synced) = until_sync(&mut marked(&alice, "", None).await).await;
    let a = alice.insert("a", json!(0)).await;
    assert_eq!(missed(&alice, "", &synced).await, [Event::new("a", &a, "0")]);
    // After a snapshot, with a filter that lets the latest event through or not.
    for query in ["", "&events=a,mark", "&snapshot=false"] {
        let (_, synced) = until_sync(&mut marked(&alice, query, None).await).await;
        check(query, &synced).await;
    }
    // After a resume.
    let (_, synced) = until_sync(&mut marked(&alice, "", Some(&a)).await).await;
    check("", &synced).await;
    // After a reset.
    let (_, synced) = until_sync(&mut marked(&alice, "", Some("abc")).await).await;
    check("", &synced).await;
    // After another filter, which replays what is older than what has come.
    let mut stream = marked(&alice, "&events=nothing", None).await;
    until_sync(&mut stream).await;
    change(&alice, &stream.id(), json!({})).await;
    let (_, synced) = until_sync(&mut stream).await;
    check("", &synced).await;
    // After other scopes.
    alice.insert("c", json!(1)).await;
    set_scopes(&alice.client, "alice", &["mark:get", "a:get", "b:get", "*:post"]).await;
    let mut stream = marked(&alice, "", None).await;
    until_sync(&mut stream).await;
    set_scopes(&alice.client, "alice", &["*:get", "*:post"]).await;
    until_sync(&mut stream).await;
    // That has the id of the last event, which was before the change: who resumes there gets everything. Not so after this.
    let after = alice.insert("c", json!(2)).await;
    check("", &after).await;
}
