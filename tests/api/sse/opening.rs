//! Guards the beginning of a stream: what comes at once, and from which position.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::sse_ticket::ticket_of;
use crate::support::{RawStream, TestServer};

/// Sooner than the first heartbeat of a quiet stream.
pub const AT_ONCE: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_stream_with_nothing_to_say_sends_a_comment_at_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let last = alice.insert("news", json!(1)).await;
    for path in ["/sse?events=other", "/sse?snapshot=false", &format!("/sse?lastEventId={last}")] {
        let mut stream = RawStream::open_at(&server, &alice, path, None).await;
        let first = tokio::time::timeout(AT_ONCE, stream.chunk()).await.expect(path);
        assert_eq!(first.as_deref(), Some(":\n"), "{path}");
    }
    let mut marked = RawStream::open_at(&server, &alice, "/sse?marks=true&lastEventId=none", None).await;
    assert_eq!(marked.chunk().await.as_deref(), Some("retry:2000\n"), "what an earlier stream has said is over");
    let first = marked.chunk().await.unwrap();
    assert!(first.starts_with("event:$reset\n") && first.ends_with("\n\n"), "{first:?}");
}

#[tokio::test]
async fn the_last_id_that_was_seen_may_stand_in_the_url_and_the_header_wins() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let ids = [alice.insert("a", json!(1)).await, alice.insert("b", json!(2)).await, alice.insert("c", json!(3)).await];
    let first = async |in_url: &str, in_header: Option<&str>| {
        alice.stream_of(&format!("/sse?lastEventId={in_url}"), in_header).await.next().await.name
    };
    assert_eq!(first(&ids[0], None).await, "b");
    assert_eq!(first(&format!("%20{}%20", ids[1]), None).await, "c");
    assert_eq!(first(&ids[0], Some(&ids[1])).await, "c", "the browser knows better by now than its page did");
    assert_eq!(first(&ids[0], Some("")).await, "b", "a header that says nothing");
    assert_eq!(first("", None).await, "a");
    let mut unknown = alice.stream_of("/sse?marks=true&lastEventId=0000000000000000999999", None).await;
    assert_eq!(unknown.next().await.name, "$reset");
    let ticket = ticket_of(&alice).await;
    let by_ticket = alice.client.with_authorization("");
    let path = format!("{}/sse?ticket={ticket}&lastEventId={}", server.url, ids[1]);
    let opened = crate::support::Stream::open(by_ticket.client.http.get(path).send().await.unwrap()).await.next().await;
    assert_eq!(opened.name, "c");
}

#[tokio::test]
async fn head_says_nothing_of_the_length_of_an_answer_that_was_not_made_and_spends_no_ticket() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    let head = async |path: &str| alice.send(Method::HEAD, path, &[], None).await.ok();
    for path in ["/sse", "/events", "/history?event=news"] {
        let answer = head(path).await;
        assert_eq!(answer.header("content-length"), None, "{path}: {answer:?}");
    }
    for path in ["/", "/presence"] {
        let length = alice.get(path).await.ok().body.len().to_string();
        assert_eq!(head(path).await.header("content-length"), Some(length.as_str()), "{path}");
    }
    let path = format!("/sse?ticket={}", ticket_of(&alice).await);
    for _ in 0..2 {
        let answer = server.client().request(Method::HEAD, &path, &[], None).await.ok();
        assert_eq!((answer.header("content-length"), answer.header("set-cookie")), (None, None));
    }
    assert_eq!(server.client().http.get(format!("{}{path}", server.url)).send().await.unwrap().status(), 200);
}
