//! Guards taking over a stream that is still open: a page that comes back before its old connection was noticed to be dead.

use futures_util::future::join_all;
use serde_json::json;

use super::{ALL, Marked, Transport};
use crate::presence::{STREAM, bind, past_the_grace, presence, there};
use crate::support::{TestServer, change};

#[tokio::test]
async fn an_open_stream_is_taken_over_on_any_transport_and_nobody_was_gone() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut watcher = bob.stream_of("/sse?presence=true&events=none,mark", None).await;
    let (mut open, stream) = Marked::open(&server, &alice, Transport::Sse, None).await;
    bind(&alice, &stream, &["seat"]).await;
    let since = there(&alice, &[("alice", 1), ("bob", 1)]).await[0].since;
    let mut seen = 1;
    for before in ALL {
        for after in ALL {
            // Several times each, for both workers.
            for by in [before, after, after] {
                let (next, id) = Marked::open(&server, &alice, by, Some(&stream)).await;
                assert_eq!(id, stream, "{before:?} {after:?}");
                std::mem::replace(&mut open, next).ends_with("replaced").await;
                seen += 1;
            }
            let people = presence(&alice).await;
            assert_eq!((people[0].since, people[0].streams), (since, 1), "{before:?} {after:?}");
        }
    }
    // It is the stream that goes by the id.
    change(&alice, &stream, json!({ "events": "seat,news" })).await;
    let id = alice.insert("news", json!(seen)).await;
    assert_eq!(open.until("news").await.1.id, id);
    past_the_grace(&bob).await;
    assert_eq!(alice.latest("/events?events=seat").await.len(), 1, "what is bound to it has stayed");
    let told: Vec<_> = watcher.so_far(&bob).await.into_iter().filter(|event| event.name == "$presence/alice").collect();
    // As she came, and as others who came then; never as one who has gone, or has come back.
    let online = json!({ "online": true, "since": since, "streams": 1 });
    assert!(!told.is_empty() && told.iter().all(|event| event.json() == online), "{told:?}");
    drop(open);
    crate::presence::removal(&alice, "seat").await;
}

#[tokio::test]
async fn only_a_client_with_control_events_takes_over_an_open_stream_and_only_one_of_the_same_user() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let others = [server.user("bob", "acme").await, server.user("mallory", "other").await];
    let (mut open, stream) = Marked::open(&server, &alice, Transport::Sse, None).await;
    open.until("$synced").await;
    let mut kept = Vec::new();
    for by in ALL {
        for other in &others {
            let (theirs, id) = Marked::open(&server, other, by, Some(&stream)).await;
            assert_ne!(id, stream);
            kept.push(theirs);
        }
    }
    let (_plain, id) = alice.open("/sse", Some(&stream)).await;
    assert_ne!(id, stream, "it would come back for ever, since it is not told why it ends");
    for other in &others {
        let body = json!({ "event": "x", "data": 1, "while_connected": true });
        other.insert_with(&[(STREAM, &stream)], body).await.refused(404, "stream_unknown");
    }
    let id = alice.insert("news", json!(1)).await;
    assert_eq!(open.until("news").await.1.id, id);
    // One without control events is told nothing, and ends.
    let (mut old, plain) = alice.open("/sse?snapshot=false", None).await;
    let (_new, id) = Marked::open(&server, &alice, Transport::Sse, Some(&plain)).await;
    assert_eq!(id, plain);
    assert_eq!(old.ends_now().await, []);
}

#[tokio::test]
async fn of_many_that_take_one_stream_over_at_once_one_stays_and_the_others_are_told() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (first, stream) = Marked::open(&server, &alice, Transport::BrokerV1, None).await;
    let opened = (0..40).map(|number| Marked::open(&server, &alice, ALL[number % 2], Some(&stream)));
    let opened = join_all(opened).await;
    assert!(opened.iter().all(|(_, id)| *id == stream));
    first.ends_with("replaced").await;
    there(&alice, &[("alice", 1)]).await;
    let id = alice.insert("news", json!(1)).await;
    let ends = opened.into_iter().map(async |(mut open, _)| {
        loop {
            let event = open.next().await;
            match event.name.as_str() {
                "$end" => break event.json()["reason"] == "replaced",
                "news" if event.id == id => break false,
                _ => {}
            }
        }
    });
    let replaced = join_all(ends).await;
    assert_eq!(replaced.iter().filter(|replaced| !**replaced).count(), 1);
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_replaced_all_the_same() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stalled = crate::support::RawStream::open_at(&server, &alice, "/sse?marks=true", Some(4096)).await;
    crate::support::insert_big(&alice).await;
    let (mut next, id) = Marked::open(&server, &alice, Transport::Sse, Some(&stalled.id())).await;
    assert_eq!(id, stalled.id());
    next.until("$synced").await;
    there(&alice, &[("alice", 1)]).await;
    let after = alice.insert("after", json!(1)).await;
    while let Some(events) = crate::support::within("the end", stalled.events()).await {
        assert!(events.iter().all(|event| event.id < after || event.name == "$end"), "it got what came after its end");
    }
}
