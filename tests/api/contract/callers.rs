//! Guards callers: which hosts are served with a weak secret, and the pages of which origins may change something.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, TestServer, password_of, within};

const EVIL: &str = "https://evil.example";

/// A server as it starts without any flag: its secrets are those that everybody knows.
async fn weak() -> TestServer {
    TestServer::start_with(&["--admin_token=letmein", "--jwt_secret=secret"]).await
}

/// Asks for all users by the token that everybody knows.
async fn steal(server: &TestServer, headers: &[(&str, &str)]) -> Answer {
    let body = json!({ "admin_token": "letmein" }).to_string().into_bytes();
    server.client().request(Method::POST, "/list_users", headers, Some(body)).await
}

/// The first line of the answer to a request as it is written.
async fn raw(server: &TestServer, request: &str) -> String {
    let address = server.address();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n") {
        within("an answer", stream.read_exact(&mut byte)).await.unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap().trim().to_owned()
}

#[tokio::test]
async fn with_a_weak_secret_a_page_of_another_machine_can_neither_call_nor_read() {
    let server = weak().await;
    for origin in [EVIL, "http://localhost.evil.example", "http://192.168.0.1:8080", "http://0.0.0.0:8080", "null", ""]
    {
        let answer = steal(&server, &[("origin", origin)]).await.refused(403, "origin_not_allowed");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        for (method, path) in [(Method::GET, "/"), (Method::GET, "/sse"), (Method::OPTIONS, "/create_user")] {
            let headers = [("origin", origin), ("access-control-request-method", "POST")];
            let answer = server.client().request(method, path, &headers, None).await;
            answer.refused(403, "origin_not_allowed");
        }
    }
}

#[tokio::test]
async fn with_a_weak_secret_a_name_that_was_made_to_resolve_to_this_machine_is_not_served() {
    let server = weak().await;
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.0.1"]
    {
        steal(&server, &[("host", host)]).await.refused(403, "host_not_allowed");
        // Of the page itself, which has this host for its origin.
        steal(&server, &[("host", host), ("origin", &format!("http://{host}"))]).await.refused(403, "host_not_allowed");
        server.client().request(Method::GET, "/", &[("host", host)], None).await.refused(403, "host_not_allowed");
        server.client().request(Method::OPTIONS, "/", &[("host", host)], None).await.refused(403, "host_not_allowed");
    }
    for request in [
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let status = raw(&server, request).await;
        assert!(status.contains(" 403 ") || status.contains(" 400 "), "{request:?}: {status}");
    }
}

#[tokio::test]
async fn with_a_weak_secret_this_machine_and_its_development_servers_are_served() {
    let server = weak().await;
    let user = json!({
        "admin_token": "letmein", "username": "alice", "password": password_of("alice"), "tenant_name": "acme",
    });
    server.client().post("/create_user", &user).await.ok();
    for host in ["localhost", "localhost:8080", "app.localhost", "127.0.0.1:1", "[::1]:8080"] {
        let origin = format!("http://{host}");
        let answer = steal(&server, &[("host", host), ("origin", &origin)]).await.ok();
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{host}");
        let headers = [("origin", origin.as_str()), ("access-control-request-method", "POST")];
        let answer = server.client().request(Method::OPTIONS, "/login", &headers, None).await.ok();
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
    }
    assert!(raw(&server, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").await.contains(" 200 "));
    // What is no browser names no origin.
    steal(&server, &[]).await.ok();
    let alice = server.client().sign_in("alice").await;
    alice.insert("news", json!(1)).await;
    assert_eq!(alice.stream().await.next().await.name, "news");
}

#[tokio::test]
async fn with_a_weak_secret_an_origin_on_the_list_must_be_of_this_machine_too() {
    let here = "http://localhost:5173";
    let origins = format!("--origin={EVIL},{here}");
    let server = TestServer::start_with(&["--admin_token=letmein", "--jwt_secret=secret", &origins]).await;
    steal(&server, &[("origin", EVIL)]).await.refused(403, "origin_not_allowed");
    steal(&server, &[("origin", "http://localhost:3000")]).await.refused(403, "origin_not_allowed");
    let answer = steal(&server, &[("origin", here)]).await.ok();
    assert_eq!(answer.header("access-control-allow-origin"), Some(here));
}

#[tokio::test]
async fn with_secrets_of_its_own_every_host_is_served() {
    let server = TestServer::start().await;
    for host in ["broker.example", "192.168.0.1:8080", "localhost"] {
        server.client().request(Method::GET, "/", &[("host", host)], None).await.ok();
    }
    assert!(raw(&server, "GET / HTTP/1.0\r\n\r\n").await.contains(" 200 "));
}

#[tokio::test]
async fn a_change_is_refused_to_a_page_that_is_not_on_the_list() {
    let server = TestServer::start_with(&["--origin=https://app.example"]).await;
    let alice = server.user("alice", "acme").await;
    let insert = async |headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", &*alice.authorization)]).collect();
        let body = json!({ "event": "news", "data": 1 }).to_string().into_bytes();
        server.client().request(Method::POST, "/insert", &headers, Some(body)).await
    };
    for origin in [EVIL, "null", "", "http://app.example", "https://app.example:444", &server.url] {
        let answer = insert(&[("origin", origin)]).await.refused(403, "origin_not_allowed");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
        assert!(answer.header("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("origin")), "{answer:?}");
        // Reading changes nothing, and the page cannot read the answer.
        let headers = [("origin", origin), ("authorization", &*alice.authorization)];
        server.client().request(Method::GET, "/events", &headers, None).await.ok();
    }
    insert(&[("origin", "https://app.example")]).await.ok();
    insert(&[]).await.ok();
}
