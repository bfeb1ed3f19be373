//! Guards `Last-Event-ID`: a client that reconnects misses nothing and gets nothing twice.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Event, TestServer, User, move_to, until};

/// What is to be kept in exact order for each tenant, beyond the latest of each name.
const RETAINED: usize = 1000;

/// Inserts some events that share a few names, and gives them as they should come.
async fn insert_some(user: &User, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for number in 0..count {
        let name = ["news", "news", "chat/1", "chat/2"][number % 4].to_owned();
        let data = json!({ "number": number, "text": "grün" });
        let id = user.insert(&name, data).await;
        events.push(Event { name, id, data: format!(r#"{{"number":{number},"text":"gr\u00fcn"}}"#) });
    }
    events
}

#[tokio::test]
async fn a_reader_who_resumes_gets_every_missed_insert_in_order_and_none_again() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let events = insert_some(&alice, 40).await;
    for seen in [0, 1, 17, 38, 39] {
        assert_eq!(
            alice.coming("/sse?events=news,chat/*,mark", Some(&events[seen].id)).await[..39 - seen],
            events[seen + 1..]
        );
    }
    let mark = alice.insert("mark", json!(null)).await;
    assert_eq!(alice.coming("/sse", Some(&mark)).await, [], "who missed nothing gets nothing");
}

#[tokio::test]
async fn a_reader_who_resumes_with_a_filter_gets_every_missed_insert_that_it_lets_through() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let events = insert_some(&alice, 40).await;
    // The last id need not be of a name that the filter wants.
    for seen in [1, 2, 20] {
        let came = alice.coming("/sse?events=chat/*,mark", Some(&events[seen].id)).await;
        let wanted = events[seen + 1..].iter().filter(|event| event.name.starts_with("chat/"));
        let came: Vec<_> = came.iter().filter(|event| event.name != "mark").collect();
        assert_eq!(came, wanted.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_reader_resumes_over_a_restart_and_over_a_kill() {
    let mut server = TestServer::start().await;
    let mut alice = server.user("alice", "acme").await;
    let mut events = insert_some(&alice, 10).await;
    for kill in [true, false] {
        server = server.end_and_restart(kill).await;
        // The token is as good as before.
        alice = server.client().with_authorization(&alice.authorization);
        events.extend(insert_some(&alice, 10).await);
        for seen in [0, 5, 9, 12] {
            let came = alice.coming("/sse", Some(&events[seen].id)).await;
            let came: Vec<_> = came.into_iter().filter(|event| event.name != "mark").collect();
            assert_eq!(came, events[seen + 1..], "after {seen}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_missed_more_than_is_retained_gets_the_changes_and_then_live_events() {
    const NAMES: usize = 50;
    let server = TestServer::start_with(&[&format!("--retain_events={RETAINED}")]).await;
    let alice = server.user("alice", "acme").await;
    let still = alice.insert("still", json!("not changed since")).await;
    let old = alice.insert("seen", json!(null)).await;
    let once = alice.insert("once", json!("changed once, long ago")).await;
    let inserted = insert_many(&alice, RETAINED + 300, NAMES).await;
    // It is shortened in the background, over what came first.
    let (gone, name) = &inserted[200];
    until("the oldest to go", async || {
        let history = alice.get(&format!("/history?event={name}&limit=1000")).await.body;
        (!history.contains(gone)).then_some(())
    })
    .await;
    let mut latest: BTreeMap<&str, &str> = inserted.iter().map(|(id, name)| (name.as_str(), id.as_str())).collect();
    latest.insert("once", &once);
    let mut expected: Vec<_> = latest.into_iter().map(|(name, id)| (id.to_owned(), name.to_owned())).collect();
    expected.sort();

    let pairs = |events: Vec<Event>| events.into_iter().map(|event| (event.id, event.name)).collect::<Vec<_>>();
    let changed = pairs(alice.coming("/sse", Some(&old)).await);
    assert_eq!(changed, expected);
    // A filter narrows that as well.
    let changed = pairs(alice.coming("/sse?events=once,name7,mark", Some(&old)).await);
    expected.retain(|(_, name)| ["once", "name7"].contains(&name.as_str()));
    assert_eq!(changed[..2], expected);

    // A client that missed less than is retained gets every event.
    let recent = &inserted[inserted.len() - RETAINED + 100..];
    let came = pairs(alice.coming("/sse?events=name*,mark", Some(&recent[0].0)).await);
    let came: Vec<_> = came.into_iter().filter(|(_, name)| name != "mark").collect();
    assert!(came == recent[1..], "{} events came, of {}", came.len(), recent.len() - 1);

    // A new client gets the latest event of every name, however old.
    let snapshot = alice.stream().await.take(2).await;
    assert_eq!([&snapshot[0].id, &snapshot[1].id], [&still, &old]);
}

/// Inserts many events at once; their ids and names in order.
async fn insert_many(user: &User, count: usize, names: usize) -> Vec<(String, String)> {
    const WRITERS: usize = 100;
    let writers = (0..WRITERS).map(|writer| {
        let user = user.clone();
        tokio::spawn(async move {
            let mut inserted = Vec::new();
            for number in (writer..count).step_by(WRITERS) {
                let name = format!("name{}", number % names);
                inserted.push((user.insert(&name, json!(number)).await, name));
            }
            inserted
        })
    });
    let mut inserted: Vec<_> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    inserted.sort();
    inserted
}

#[tokio::test]
async fn an_id_that_is_not_one_of_this_database_gives_the_full_snapshot() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let first = alice.insert("first", json!(1)).await;
    let second = alice.insert("second", json!(2)).await;
    let another = TestServer::start().await;
    let stranger = another.user("alice", "acme").await;
    // Of a position that there is here too.
    let foreign = stranger.insert("first", json!(1)).await;
    assert_ne!(foreign, first);
    // Both are of the same length, so this is one of our ids, only not given yet.
    let ours_but_later = format!("{:022}", second.parse::<u128>().unwrap() + 1_000_000_000);
    let longer = format!("{second}0");
    let signed = format!("-{}", &second[1..]);
    let ids =
        ["", " ", "0", "1", "abc", "null", "1e3", "\u{fc}", "99999999999999999999999999", "0000000000000000000000"];
    for id in ids.into_iter().chain([foreign.as_str(), &ours_but_later, &longer, &signed, &second[1..]]) {
        let snapshot = alice.stream_of("/sse", Some(id)).await.take(2).await;
        assert_eq!([&snapshot[0].id, &snapshot[1].id], [&first, &second], "Last-Event-ID: {id:?}");
    }
}

#[tokio::test]
async fn a_reader_who_was_moved_to_another_tenant_gets_all_of_the_new_one_on_resuming() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "before").await;
    let bob = server.user("bob", "after").await;
    let older = bob.insert("older", json!(1)).await;
    let mut stream = alice.stream().await;
    alice.insert("news", json!(1)).await;
    let last = stream.next().await.id;
    let newer = bob.insert("newer", json!(1)).await;
    drop(stream);
    move_to(&server.client(), "alice", "after").await;
    // As an EventSource does when its connection broke: the last id was of the tenant that she has left.
    let came = alice.stream_of("/sse", Some(&last)).await.next().await;
    assert_eq!(came.id, older, "{came:?} came first, and {newer} is the newer one");
}
