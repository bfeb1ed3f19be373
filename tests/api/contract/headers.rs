//! Guards the headers that every answer has for browsers and caches.

use reqwest::Method;
use serde_json::json;

use super::bodies;
use crate::support::{Answer, TestServer};

fn is_kept_by_nobody(answer: &Answer, what: &str) {
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}: {answer:?}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{what}: {answer:?}");
    assert_eq!(answer.header("strict-transport-security"), None, "{what}: {answer:?}");
}

#[tokio::test]
async fn nobody_may_store_an_answer_or_guess_what_it_is() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    for path in ["/", "/verify", "/events", "/history?event=news", "/presence", "/nothing", "/events?events="] {
        is_kept_by_nobody(&alice.get(path).await, path);
        is_kept_by_nobody(&server.client().request(Method::HEAD, path, &[], None).await, path);
        is_kept_by_nobody(&server.client().request(Method::OPTIONS, path, &[], None).await, path);
    }
    let headers = [("authorization", alice.authorization.as_str()), ("host", "broker.example.com")];
    is_kept_by_nobody(&alice.client.request(Method::POST, "/sse_ticket", &headers, None).await.ok(), "/sse_ticket");
    for (path, body) in bodies() {
        is_kept_by_nobody(
            &alice.client.request(Method::POST, path, &headers, Some(body.to_string().into())).await,
            path,
        );
        is_kept_by_nobody(&alice.client.request(Method::POST, path, &[], Some(b"{".to_vec())).await, path);
    }
    let stream = server.user("carol", "acme").await.stream().await;
    assert_eq!(stream.headers["cache-control"], "no-cache, no-transform");
    assert_eq!(stream.headers["x-content-type-options"], "nosniff");
}
