//! Guards closed connections: each is forgotten at once.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{RawStream, TestServer, insert_big};

const CONNECTIONS: usize = 200;

#[tokio::test]
async fn two_hundred_closed_connections_are_forgotten_at_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    let before = server.connections();
    for _ in 0..3 {
        let mut streams = join_all((0..CONNECTIONS).map(|_| RawStream::open(&server, &alice))).await;
        for stream in &mut streams {
            assert_eq!(stream.events().await.unwrap().len(), 1);
        }
        assert!(server.connections() >= before + CONNECTIONS);
        drop(streams);
        // Nothing is inserted, so that no failing write can tell the server.
        server.keeps_only(before).await;
    }
}

#[tokio::test]
async fn two_hundred_streams_that_close_at_once_leave_no_line_each_in_the_log() {
    let server = TestServer::start_with(&["--log=info"]).await;
    let alice = server.user("alice", "acme").await;
    let before = server.connections();
    let streams = join_all((0..CONNECTIONS).map(|_| RawStream::open(&server, &alice))).await;
    let lines = server.log().lines().count();
    for (number, stream) in streams.into_iter().enumerate() {
        // Some say goodbye, and some are cut off.
        if number % 2 == 0 { drop(stream) } else { stream.reset() }
    }
    server.keeps_only(before).await;
    // A line that is there in any case comes after any of these.
    server.client().create_user("last", "acme").await;
    server.says(r#""user":"last""#).await;
    let lines = server.log().lines().skip(lines).map(str::to_owned).collect::<Vec<_>>();
    assert!(lines.len() < 10, "{lines:#?}");
}

#[tokio::test]
async fn a_connection_that_is_closed_half_or_reset_is_forgotten_at_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let before = server.connections();
    let mut half = RawStream::open(&server, &alice).await;
    let reset = RawStream::open(&server, &alice).await;
    assert_eq!(half.chunk().await.as_deref(), Some(":\n"));
    assert!(server.connections() >= before + 2);
    half.close_half().await;
    reset.reset();
    server.keeps_only(before).await;
    assert_eq!(half.chunk().await, None);
}

#[tokio::test]
async fn a_reader_that_stalls_and_then_goes_is_forgotten_at_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let before = server.connections();
    let stalled = RawStream::open_with(&server, &alice, Some(4096)).await;
    insert_big(&alice).await;
    assert!(server.connections() > before);
    drop(stalled);
    server.keeps_only(before).await;
}
