//! Guards `base_path`: a proxy gives Broker a part of a host's paths, and removes the prefix or leaves it there.

use reqwest::Method;
use serde_json::json;

use crate::sse_ticket::{ask, set_cookie, ticket_of};
use crate::support::{Stream, TestServer};

#[tokio::test]
async fn with_a_base_path_the_cookie_is_for_the_stream_below_it_and_both_kinds_of_paths_are_served() {
    let server = TestServer::start_with(&["--base_path=/api/"]).await;
    let alice = server.user("alice", "acme").await;
    for prefix in ["", "/api"] {
        alice.get(&format!("{prefix}/verify")).await.ok();
        alice.client.get(&format!("{prefix}/")).await.ok();
        let insert = json!({ "event": "news", "data": 1 }).to_string();
        let headers = [("authorization", alice.authorization.as_str())];
        alice.client.request(Method::POST, &format!("{prefix}/insert"), &headers, Some(insert.into())).await.ok();
        alice.get(&format!("{prefix}/insert")).await.refused(405, "method_not_allowed");
        alice.get(&format!("{prefix}/nothing")).await.refused(404, "not_found");

        let path = format!("{prefix}/sse?ticket={}", ticket_of(&alice).await);
        let opened = Stream::open(ask(&alice.client, &path, &[]).await).await;
        let (cookie, attributes) = set_cookie(&opened.headers).split_once("; ").unwrap();
        assert!(attributes.contains("; Path=/api/sse; "), "{attributes}");
        assert_eq!(ask(&alice.client, &path, &[]).await.status(), 401);
        assert_eq!(ask(&alice.client, &path, &[("cookie", cookie)]).await.status(), 200);
    }
    for path in ["/api", "/apis/verify", "/api/api/verify", "//api/verify", "/api//verify"] {
        alice.get(path).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn without_a_base_path_nothing_else_is_served() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.get("/api/verify").await.refused(404, "not_found");
    let path = format!("/sse?ticket={}", ticket_of(&alice).await);
    let opened = Stream::open(ask(&alice.client, &path, &[]).await).await;
    assert!(set_cookie(&opened.headers).contains("; Path=/sse; "));
}
