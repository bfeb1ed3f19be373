//! Guards the bytes of a stream.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{RawStream, TestServer};

#[tokio::test]
async fn the_head_is_of_an_event_stream_that_nobody_on_the_way_may_keep() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let headers = alice.stream().await.headers;
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-cache, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert!(!headers.contains_key("content-length"));
    assert!(!headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn head_answers_as_get_does_without_a_body() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    let head = async |authorization: &str| {
        server.client().request(Method::HEAD, "/sse", &[("authorization", authorization)], None).await
    };
    let answer = head(&alice.authorization).await.ok();
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert_eq!(answer.body, "");
    assert_eq!(head("Bearer x").await.status, 401);
}

#[tokio::test]
async fn a_frame_is_sent_byte_for_byte_and_in_one_chunk_in_the_snapshot_and_live() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let body = r#"{ "event": "grüße/日本", "data": { "b" : 1,	"a": [ "Grüße 😀", 12345678901234567890123.50 ] } }"#;
    let data = "{\"b\":1,\"a\":[\"Gr\\u00fc\\u00dfe \\ud83d\\ude00\",12345678901234567890123.50]}";
    let mut expected = Vec::new();
    let mut live = RawStream::open(&server, &alice).await;
    assert_eq!(live.chunk().await.as_deref(), Some(":\n"));
    for _ in 0..2 {
        let answer = alice.insert_raw(body).await.ok().json();
        let id = answer["id"].as_str().unwrap();
        expected.push(format!("event:grüße/日本\nid:{id}\ndata:{data}\n\n"));
        assert_eq!(live.chunk().await.as_ref(), expected.last());
    }
    let mut snapshot = RawStream::open(&server, &alice).await;
    assert_eq!(snapshot.chunk().await.as_deref(), Some(":\n"));
    assert_eq!(snapshot.chunk().await.as_ref(), expected.last());
    assert!(live.head.to_lowercase().contains("\r\ntransfer-encoding: chunked\r\n"), "{}", live.head);
}

#[tokio::test]
async fn every_chunk_is_whole_frames_while_inserts_pour_in() {
    const WRITERS: usize = 16;
    const EACH: usize = 50;
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = RawStream::open(&server, &alice).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let alice = alice.clone();
            tokio::spawn(async move {
                for count in 0..EACH {
                    // Of many sizes, some over what one write of the server or one read of a client takes.
                    alice.insert(&format!("name{writer}"), json!("x".repeat(count * count * 16))).await;
                }
            })
        })
        .collect();
    let mut events = Vec::new();
    while events.len() < WRITERS * EACH {
        events.extend(stream.events().await.expect("the stream goes on"));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id));
    for writer in 0..WRITERS {
        let name = format!("name{writer}");
        let lengths: Vec<_> = events.iter().filter(|event| event.name == name).map(|event| event.data.len()).collect();
        assert_eq!(lengths, (0..EACH).map(|count| count * count * 16 + 2).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_quiet_stream_gets_a_comment_line_alone_soon_even_while_others_are_busy() {
    /// The contract has it come within 15 s. A busy machine gets more.
    const WITHIN: Duration = Duration::from_secs(20);
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "elsewhere").await;
    let mut quiet = RawStream::open(&server, &bob).await;
    let mut filtered = alice.stream_of("/sse?events=never", None).await;
    assert_eq!(quiet.chunk().await.as_deref(), Some(":\n"), "it begins with one");
    let since = Instant::now();
    let busy = tokio::spawn(async move {
        loop {
            alice.insert("news", json!(1)).await;
        }
    });
    let quiet = async {
        assert_eq!(quiet.chunk().await.as_deref(), Some(":\n"));
        since.elapsed()
    };
    let filtered = async {
        filtered.heartbeat().await;
        since.elapsed()
    };
    let (quiet, filtered) = tokio::join!(quiet, filtered);
    busy.abort();
    assert!(quiet <= WITHIN && filtered <= WITHIN, "{quiet:?}, {filtered:?}");
}
