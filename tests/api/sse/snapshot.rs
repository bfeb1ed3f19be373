//! Guards the snapshot of a new stream.

use serde_json::json;

use crate::support::{Event, Stream, TestServer};

/// Names and data of the next events.
async fn next(stream: &mut Stream, count: usize) -> Vec<(String, String)> {
    stream.take(count).await.into_iter().map(|Event { name, data, .. }| (name, data)).collect()
}

fn named(events: &[(&str, &str)]) -> Vec<(String, String)> {
    events.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect()
}

#[tokio::test]
async fn a_stream_begins_with_the_latest_event_of_every_name_by_id_and_goes_on_with_each_insert() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut ids = Vec::new();
    for (name, data) in [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("b", 5), ("b", 6)] {
        ids.push(alice.insert(name, json!(data)).await);
    }
    let mut stream = alice.stream().await;
    let snapshot = stream.take(3).await;
    let expected = [("c", 2, "3"), ("a", 3, "4"), ("b", 5, "6")].map(|(name, at, data)| Event {
        name: name.to_owned(),
        id: ids[at].clone(),
        data: data.to_owned(),
    });
    assert_eq!(snapshot, expected);
    let live = alice.insert("a", json!(7)).await;
    let again = alice.insert("a", json!(7)).await;
    let came = stream.take(2).await;
    assert_eq!([&came[0].id, &came[1].id], [&live, &again], "the same data again is an event again");
}

#[tokio::test]
async fn a_snapshot_of_many_names_comes_whole_and_in_order_before_live_events() {
    const NAMES: usize = 600;
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut expected = Vec::new();
    for batch in (0..NAMES).collect::<Vec<_>>().chunks(100) {
        let inserts = batch.iter().map(|name| {
            let alice = alice.clone();
            let name = format!("name{name}");
            // A few of them fill what is sent at once.
            async move { (alice.insert(&name, json!("x".repeat(1000))).await, name) }
        });
        expected.extend(futures_util::future::join_all(inserts).await);
    }
    expected.sort();
    let mut stream = alice.stream().await;
    let mark = alice.insert("mark", json!(null)).await;
    let snapshot: Vec<_> = stream.take(NAMES).await.into_iter().map(|event| (event.id, event.name)).collect();
    assert!(snapshot == expected);
    assert_eq!(stream.next().await.id, mark);
}

#[tokio::test]
async fn the_events_of_another_tenant_never_come_neither_at_first_nor_live_nor_on_resuming() {
    let server = TestServer::start().await;
    let ours = server.user("alice", "acme").await;
    // Names that a careless key, prefix or comparison would take for ours.
    let mut theirs = Vec::new();
    for (number, tenant) in ["acm", "acme_", "acme/", "acmé", "acme x"].into_iter().enumerate() {
        theirs.push(server.user(&format!("other{number}"), tenant).await);
    }
    let first = ours.insert("news", json!("ours")).await;
    for other in &theirs {
        other.insert("news", json!("theirs")).await;
        other.insert("more", json!("theirs")).await;
    }
    let (mut new, mut resumed) = (ours.stream().await, ours.stream_of("/sse", Some(&first)).await);
    for other in &theirs {
        other.insert("news", json!("theirs, live")).await;
    }
    let mark = ours.insert("mark", json!("ours")).await;
    assert_eq!(new.next().await.id, first);
    assert_eq!(new.next().await.id, mark);
    assert_eq!(resumed.next().await.id, mark);
    // And each of the others gets theirs.
    for other in &theirs {
        let came = next(&mut other.stream().await, 2).await;
        assert_eq!(came, named(&[("more", r#""theirs""#), ("news", r#""theirs, live""#)]));
    }
}

#[tokio::test]
async fn tenant_a_b_with_event_c_never_meets_tenant_a_with_event_b_c() {
    let server = TestServer::start().await;
    let first = server.user("first", "a_b").await;
    let second = server.user("second", "a").await;
    let (mut first_live, mut second_live) = (first.stream().await, second.stream().await);
    first.insert("c", json!("of a_b")).await;
    second.insert("b_c", json!("of a")).await;
    for stream in [&mut first_live, &mut first.stream().await] {
        assert_eq!(next(stream, 1).await, named(&[("c", r#""of a_b""#)]));
    }
    for stream in [&mut second_live, &mut second.stream().await] {
        assert_eq!(next(stream, 1).await, named(&[("b_c", r#""of a""#)]));
    }
    first.insert("mark", json!(1)).await;
    second.insert("mark", json!(2)).await;
    assert_eq!(next(&mut first_live, 1).await, named(&[("mark", "1")]));
    assert_eq!(next(&mut second_live, 1).await, named(&[("mark", "2")]));
}

#[tokio::test]
async fn a_filter_narrows_the_snapshot_and_live_events_to_names_and_prefixes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let names = ["news", "newsroom", "chat", "chat/1", "chat/2", "chatter", "New", "a,b", "ünï"];
    for name in names {
        alice.insert(name, json!("old")).await;
    }
    let cases: [(&str, &[&str]); 9] = [
        ("news,chat/*", &["news", "chat/1", "chat/2"]),
        ("news", &["news"]),
        ("chat*", &["chat", "chat/1", "chat/2", "chatter"]),
        ("news*,newsroom,news", &["news", "newsroom"]),
        ("chat/2,chat/1", &["chat/1", "chat/2"]),
        ("%20news%20,%20chat/1", &["news", "chat/1"]),
        ("%C3%BCn*", &["ünï"]),
        ("*", &names),
        ("nothing,no/*", &[]),
    ];
    for (filter, expected) in cases {
        let mut stream = alice.stream_of(&format!("/sse?events={filter},mark"), None).await;
        let mark = alice.insert("mark", json!(filter)).await;
        let came: Vec<_> = stream.take(expected.len()).await.into_iter().map(|event| event.name).collect();
        // An older mark may be of the snapshot.
        let mut last = stream.next().await;
        if last.id < mark {
            last = stream.next().await;
        }
        assert_eq!((came, last.id), (expected.iter().map(ToString::to_string).collect(), mark), "{filter}");
        for name in names {
            alice.insert(name, json!("old")).await;
        }
        let came: Vec<_> = stream.take(expected.len()).await.into_iter().map(|event| event.name).collect();
        assert_eq!(came, expected, "{filter}");
        let mark = alice.insert("mark", json!(filter)).await;
        assert_eq!(stream.next().await.id, mark, "{filter}");
    }
}

#[tokio::test]
async fn a_filter_that_no_event_could_pass_is_refused() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let long = format!("{}*", "x".repeat(257));
    for bad in ["", ",", "a,,b", "a,", "a%0Ab", "data:x", "event:", long.as_str()] {
        let answer = alice.get(&format!("/sse?events={bad}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "filter_invalid"), "{bad:?}");
    }
    // Other parameters are none of ours.
    let mut stream = alice.stream_of("/sse?cache=5&events=news", None).await;
    alice.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.name, "news");
}

#[tokio::test]
async fn ids_increase_over_names_tenants_and_restarts_as_numbers_and_as_text() {
    let mut server = TestServer::start().await;
    let mut ids = Vec::new();
    server.user("alice", "acme").await;
    server.user("bob", "other").await;
    for round in 0..3 {
        let (alice, bob) = (server.client().sign_in("alice").await, server.client().sign_in("bob").await);
        for count in 0..6 {
            ids.push(alice.insert(&format!("name{count}"), json!(round)).await);
            ids.push(bob.insert("news", json!(round)).await);
        }
        if round == 0 {
            server.kill();
        } else {
            server.signal("TERM");
            assert!(server.ended().await.success());
        }
        server = server.restart().await;
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let numbers: Vec<u128> = ids.iter().map(|id| id.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{ids:?}");
}
