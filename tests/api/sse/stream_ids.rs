//! Guards the ids of streams, and taking over a stream.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::presence::{bound, insert_by, is_in_time, there, there_in_time};
use crate::support::{TestServer, in_time};

#[tokio::test]
async fn every_stream_has_an_id_of_its_own() {
    let server = TestServer::start().await;
    let users = [server.user("alice", "acme").await, server.user("bob", "acme").await];
    let (mut streams, mut ids) = (Vec::new(), BTreeSet::new());
    for user in &users {
        for path in ["/sse", "/sse?events=news", "/sse?presence=true"] {
            let (stream, id) = user.open(path, None).await;
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(id.len() == 16 && id.bytes().all(is_digit), "{id:?}");
            ids.insert(id);
            streams.push(stream);
        }
    }
    assert_eq!(ids.len(), streams.len());
}

#[tokio::test]
async fn a_client_that_reconnects_takes_over_the_named_stream_or_else_the_one_that_ended_last() {
    in_time("a client within the grace", async || {
        let server = TestServer::start().await;
        let alice = server.user("alice", "acme").await;
        let (mut streams, mut ids) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let (stream, id) = alice.open("/sse", None).await;
            streams.push(Some(stream));
            ids.push(id);
        }
        // The one that was opened last is not the one that ends last.
        let since = Instant::now();
        for (ended, number) in [2, 0, 3, 1].into_iter().enumerate() {
            drop(streams[number].take());
            there_in_time(&alice, &[("alice", 3 - ended)]).await?;
        }
        let by_header = alice.open("/sse", Some(&ids[2])).await;
        let by_query = alice.open(&format!("/sse?stream={}", ids[0]), None).await;
        let last = alice.open("/sse", None).await;
        let last_but_one = alice.open("/sse?events=news", None).await;
        if !is_in_time(since) {
            return None;
        }
        let taken = [&by_header.1, &by_query.1, &last.1, &last_but_one.1];
        assert_eq!(taken, [&ids[2], &ids[0], &ids[1], &ids[3]]);
        // There is none left that has ended.
        let (_new, new) = alice.open("/sse", None).await;
        assert!(!ids.contains(&new), "{new} is open");
        there(&alice, &[("alice", 5)]).await;
        // And it is the stream that it is called by.
        for id in ids.iter().chain([&new]) {
            insert_by(&alice, id, bound("seat")).await.ok();
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_takes_over_an_open_stream_or_one_of_another_user() {
    in_time("a client within the grace", async || {
        let server = TestServer::start().await;
        let alice = server.user("alice", "acme").await;
        let others = [server.user("bob", "acme").await, server.user("mallory", "other").await];
        let (stream, ended) = alice.open("/sse", None).await;
        let since = Instant::now();
        drop(stream);
        there_in_time(&alice, &[("alice", 0)]).await?;
        let by_query = format!("/sse?stream={ended}");
        let mut streams = Vec::new();
        for other in &others {
            for (path, named) in [("/sse", Some(ended.as_str())), (by_query.as_str(), None)] {
                let (stream, id) = other.open(path, named).await;
                assert_ne!(id, ended);
                streams.push(stream);
            }
        }
        let (_stream, id) = alice.open("/sse", None).await;
        if !is_in_time(since) {
            return None;
        }
        assert_eq!(id, ended, "it was still hers to take over");
        let (_another, id) = alice.open("/sse", Some(&ended)).await;
        assert_ne!(id, ended);
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_names_an_unknown_stream_gets_a_new_one_and_not_that_of_another_page() {
    in_time("a client within the grace", async || {
        let server = TestServer::start().await;
        let alice = server.user("alice", "acme").await;
        let (page, ended) = alice.open("/sse", None).await;
        let (_other_page, is_open) = alice.open("/sse", None).await;
        let since = Instant::now();
        drop(page);
        there(&alice, &[("alice", 1)]).await;
        let never = "0123456789abcdef";
        let mut streams = Vec::new();
        for named in [never, is_open.as_str(), "", "x", &ended[1..], &format!("{ended}0")] {
            let by_query = format!("/sse?stream={named}");
            for (path, named) in [("/sse", Some(named)), (by_query.as_str(), None)] {
                let (stream, id) = alice.open(path, named).await;
                assert!(![&ended, &is_open].contains(&&id), "{path} {named:?}");
                streams.push(stream);
            }
        }
        // The header is what counts where both are there.
        streams.push(alice.open(&format!("/sse?stream={ended}"), Some(never)).await.0);
        let (_stream, id) = alice.open("/sse", None).await;
        if !is_in_time(since) {
            return None;
        }
        assert_eq!(id, ended, "it was still there for who names none");
        Some(())
    })
    .await;
}
