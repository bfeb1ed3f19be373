//! Guards the parameters of `/sse`: `events`, `except`, `snapshot`, and the header that names the stream.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Event, RawStream, Stream, TestServer, User, change, foreign, listed, names, subscribe, within};

#[tokio::test]
async fn except_leaves_out_names_and_prefixes_at_first_live_and_where_events_are_read() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let all = ["news", "newsroom", "chat", "chat/1", "chat/2", "secret", "a,b", "ünï"];
    let cases: [(&str, &[&str]); 9] = [
        ("except=chat/*", &["news", "newsroom", "chat", "secret", "a,b", "ünï"]),
        ("except=news", &["newsroom", "chat", "chat/1", "chat/2", "secret", "a,b", "ünï"]),
        ("except=news*,secret,nothing,chat/1,news", &["chat", "chat/2", "a,b", "ünï"]),
        ("except=%20news%20,%C3%BCn*", &["newsroom", "chat", "chat/1", "chat/2", "secret", "a,b"]),
        ("except=Chat*,chat/,chat/*/x", &all),
        ("events=chat*,mark&except=chat/1", &["chat", "chat/2"]),
        ("except=chat/1&events=mark,chat*", &["chat", "chat/2"]),
        ("events=news,chat/1,mark&except=n*", &["chat/1"]),
        ("events=*&except=chat*,secret", &["news", "newsroom", "a,b", "ünï"]),
    ];
    for name in all {
        alice.insert(name, json!("old")).await;
    }
    for (query, expected) in cases {
        assert_eq!(listed(&alice, query).await, expected, "{query}");
        let mut stream = alice.stream_of(&format!("/sse?{query}"), None).await;
        assert_eq!(names(&stream.so_far(&alice).await), expected, "{query}");
        for name in all {
            alice.insert(name, json!("new")).await;
        }
        assert_eq!(names(&stream.so_far(&alice).await), expected, "{query}");
    }
}

#[tokio::test]
async fn except_leaves_names_out_of_the_missed_events() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut inserted = Vec::new();
    for (number, name) in ["news", "chat/1", "chat/2"].into_iter().cycle().take(12).enumerate() {
        inserted.push(Event::new(name, &alice.insert(name, json!(number)).await, &number.to_string()));
    }
    // The last id may be of a name that is left out.
    for seen in [0, 1, 5] {
        let came = alice.stream_of("/sse?except=chat/1", Some(&inserted[seen].id)).await.so_far(&alice).await;
        let expected: Vec<_> = inserted[seen + 1..].iter().filter(|event| event.name != "chat/1").cloned().collect();
        assert_eq!(came, expected, "after {seen}");
    }
}

#[tokio::test]
async fn a_stream_without_a_snapshot_begins_with_the_next_insert() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["news", "other"] {
        alice.insert(name, json!("old")).await;
    }
    let mut all = alice.stream_of("/sse?snapshot=false", None).await;
    let mut filtered = alice.stream_of("/sse?events=news&snapshot=false", None).await;
    let other = alice.insert("other", json!(1)).await;
    let news = alice.insert("news", json!(2)).await;
    assert_eq!(all.take(2).await, [Event::new("other", &other, "1"), Event::new("news", &news, "2")]);
    assert_eq!(filtered.next().await, Event::new("news", &news, "2"));
    // Where there is nothing at all it is a stream as well.
    let bob = server.user("bob", "empty").await;
    let mut stream = bob.stream_of("/sse?snapshot=false", None).await;
    let id = bob.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
}

#[tokio::test]
async fn a_client_that_resumes_without_a_snapshot_gets_the_missed_events() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut inserted = Vec::new();
    for (number, name) in ["news", "chat"].into_iter().cycle().take(10).enumerate() {
        inserted.push(Event::new(name, &alice.insert(name, json!(number)).await, &number.to_string()));
    }
    for seen in [0, 4, 9] {
        let came = alice.stream_of("/sse?snapshot=false", Some(&inserted[seen].id)).await.so_far(&alice).await;
        assert_eq!(came, inserted[seen + 1..], "after {seen}");
    }
}

#[tokio::test]
async fn without_a_snapshot_an_id_that_is_none_of_this_database_gives_only_new_events() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("news", json!(1)).await;
    for unknown in ["abc", "1", "null", &foreign(&id), &format!("{id}0")] {
        assert_eq!(alice.stream_of("/sse?snapshot=false", Some(unknown)).await.so_far(&alice).await, [], "{unknown}");
    }
}

#[tokio::test]
async fn to_ask_for_a_snapshot_and_for_no_control_events_changes_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let id = alice.insert("news", json!(1)).await;
    for path in ["/sse", "/sse?snapshot=true", "/sse?marks=false", "/sse?marks=false&snapshot=true&x=1"] {
        assert_eq!(alice.stream_of(path, None).await.so_far(&alice).await, [Event::new("news", &id, "1")], "{path}");
    }
}

#[tokio::test]
async fn bad_values_are_400() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for name in ["snapshot", "marks"] {
        for bad in ["", "1", "0", "yes", "no", "True", "FALSE", "null", "true%20", "truefalse"] {
            alice.get(&format!("/sse?{name}={bad}")).await.refused(400, "query_invalid");
        }
    }
    let long = format!("{}*", "x".repeat(257));
    for path in ["/sse", "/events"] {
        for bad in ["", ",", "a,,b", "a,", "a%0Ab", "data:x", "event:", long.as_str()] {
            alice.get(&format!("{path}?except={bad}")).await.refused(400, "filter_invalid");
            alice.get(&format!("{path}?events=a&except={bad}")).await.refused(400, "filter_invalid");
            alice.get(&format!("{path}?events={bad}&except=a")).await.refused(400, "filter_invalid");
        }
    }
}

#[tokio::test]
async fn every_stream_has_an_id_of_its_own() {
    let server = TestServer::start().await;
    let mut ids = BTreeSet::new();
    // One that has ended lends its id to the next: here all stay open.
    let (mut streams, mut raws) = (Vec::new(), Vec::new());
    for username in ["alice", "bob"] {
        let user = server.user(username, "acme").await;
        let id = user.insert("news", json!(1)).await;
        for path in ["/sse", "/sse?events=news", "/sse?marks=true", "/sse?snapshot=false"] {
            let pair = [user.stream_of(path, None).await, user.stream_of(path, Some(&id)).await];
            ids.extend(pair.iter().map(Stream::id));
            streams.extend(pair);
        }
        let raw = [RawStream::open(&server, &user).await, RawStream::open(&server, &user).await];
        ids.extend(raw.iter().map(RawStream::id));
        raws.extend(raw);
    }
    assert_eq!((ids.len(), streams.len() + raws.len()), (20, 20));
}

/// A filter of 900 long names, among them one that is asked for.
fn large(number: usize, name: &str) -> String {
    let names: Vec<_> = (0..900).map(|other| format!("{number:03}{other:04}{}", "x".repeat(243))).collect();
    format!("{},{name}", names.join(","))
}

#[tokio::test]
async fn large_filters_count_for_their_user_each_once_until_the_last_stream_with_it_ends() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let change =
        async |user: &User, stream: &str, filter: String| subscribe(user, stream, json!({ "events": filter })).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let stream = RawStream::open_at(&server, &alice, "/sse?events=none", None).await;
        streams.push((stream.id(), stream));
    }
    for (number, (stream, _)) in streams.iter().enumerate().take(3) {
        change(&alice, stream, large(number, "news")).await.ok();
    }
    // Of another one there is no room, but of the same, and for others.
    let refused = change(&alice, &streams[3].0, large(3, "news")).await.refused(429, "too_many_filters");
    assert_eq!(refused.header("retry-after"), Some("10"));
    change(&alice, &streams[3].0, large(0, "news")).await.ok();
    change(&alice, &streams[4].0, "small,ones".to_owned()).await.ok();
    let stream = RawStream::open_at(&server, &bob, "/sse?events=none", None).await;
    change(&bob, &stream.id(), large(3, "news")).await.ok();
    // Once both streams that had it have another filter, the memory for it is given back.
    change(&alice, &streams[0].0, "news".to_owned()).await.ok();
    change(&alice, &streams[4].0, large(3, "news")).await.refused(429, "too_many_filters");
    change(&alice, &streams[3].0, "news".to_owned()).await.ok();
    within("room for another", async {
        while change(&alice, &streams[4].0, large(3, "news")).await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_ticket_is_not_used_up_by_a_stream_with_a_filter_for_which_there_is_no_room() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut streams = Vec::new();
    for number in 0..3 {
        let stream = alice.stream_of("/sse?events=none", None).await;
        change(&alice, &stream.id(), json!({ "events": large(number, "news") })).await;
        streams.push(stream);
    }
    // What is left is taken by smaller ones, which fit into a URL.
    let query = |number: usize| {
        let names: Vec<_> = (0..24).map(|other| format!("{number:03}{other:04}{}", "y".repeat(243))).collect();
        format!("events={}", names.join(","))
    };
    let mut number = 0;
    loop {
        assert!(number < 200, "nobody counts");
        let request = alice.client.http.get(format!("{}/sse?{}", server.url, query(number)));
        let answer = within("an answer", request.header("authorization", &alice.authorization).send()).await.unwrap();
        if answer.status() == 429 {
            break;
        }
        streams.push(Stream::open(answer).await);
        number += 1;
    }
    let ticket = crate::sse_ticket::ticket_of(&alice).await;
    let path = format!("/sse?ticket={ticket}");
    let refused = crate::sse_ticket::ask(&alice.client, &format!("{path}&{}", query(number)), &[]).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(crate::sse_ticket::ask(&alice.client, &format!("{path}&events=news"), &[]).await.status(), 200);
    assert_eq!(crate::sse_ticket::ask(&alice.client, &format!("{path}&events=news"), &[]).await.status(), 401);
}
