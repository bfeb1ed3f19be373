//! Guards methods, paths, status codes and connections that no other file covers.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{bodies, exchange};
use crate::support::{Answer, TestServer, password_of, within};

#[tokio::test]
async fn the_root_answers_get_and_head_with_200() {
    let server = TestServer::start().await;
    let client = server.client();
    for method in [Method::GET, Method::HEAD] {
        let answer = client.request(method, "/", &[], None).await.ok();
        assert_eq!((answer.header("content-type"), answer.body.as_str()), (Some("application/json"), ""));
    }
}

#[tokio::test]
async fn the_content_type_of_a_request_does_not_matter() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let login = json!({ "username": "alice", "password": password_of("alice") }).to_string();
    for content_type in ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "", "nonsense"]
    {
        let headers = [("content-type", content_type), ("authorization", &alice.authorization)];
        for (path, body) in [("/insert", r#"{"event":"news","data":1}"#), ("/login", login.as_str())] {
            alice.client.request(Method::POST, path, &headers, Some(body.into())).await.ok();
        }
    }
}

#[tokio::test]
async fn a_body_without_any_content_type_is_accepted() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let request = format!(
        "POST /insert HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {}\r\ncontent-length: 25\r\n\r\n{}",
        alice.authorization, r#"{"event":"news","data":1}"#
    );
    assert!(exchange(&server, request.as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn every_reply_says_that_it_is_json() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let authorization = [("authorization", alice.authorization.as_str())];
    let of = |answer: Answer, what: &str| {
        assert_eq!(answer.header("content-type"), Some("application/json"), "{what}: {answer:?}");
    };
    for (path, body) in bodies() {
        let body = Some(body.to_string().into_bytes());
        of(alice.client.request(Method::POST, path, &authorization, body).await, path);
        of(alice.client.request(Method::POST, path, &[], Some(b"{".to_vec())).await, path);
        of(alice.client.request(Method::POST, path, &[], None).await, path);
        of(alice.client.request(Method::GET, path, &[], None).await, path);
        of(alice.client.request(Method::OPTIONS, path, &[], None).await, path);
        of(alice.client.request(Method::OPTIONS, path, &[("origin", "https://a.example")], None).await, path);
    }
    for method in [Method::GET, Method::HEAD] {
        for path in ["/", "/verify", "/sse", "/nothing"] {
            of(alice.client.request(method.clone(), path, &[], None).await, path);
        }
    }
    of(server.user("carol", "acme").await.verify().await.ok(), "/verify");
}

#[tokio::test]
async fn a_success_with_nothing_to_say_has_an_empty_body() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    for (path, body) in bodies() {
        if ["/create_user", "/update_user", "/revoke_user", "/unrevoke_user"].contains(&path) {
            let answer = server.client().post(path, &body).await.ok();
            assert_eq!((answer.body.as_str(), answer.header("content-length")), ("", Some("0")), "{path}");
        }
    }
    server.client().admin("/unrevoke_user", json!({ "username": "alice" })).await.ok();
    let code = server.client().admin("/create_totp", json!({ "username": "alice" })).await.json()["totp"].clone();
    let reset = json!({ "username": "alice", "password": password_of("new"), "totp": code });
    assert_eq!(server.client().post("/password_reset", &reset).await.ok().body, "");
}

#[tokio::test]
async fn head_works_wherever_get_does_and_has_the_same_head_and_no_body() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (path, authorization) in
        [("/", ""), ("/verify", &*alice.authorization), ("/verify", ""), ("/sse", ""), ("/nothing", "")]
    {
        let of = async |method: &str| {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-none: 1\r\nauthorization: {authorization}\r\n\r\n"
            );
            let answer = exchange(&server, request.as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let mut lines: Vec<_> = head
                .lines()
                .filter(|line| !line.starts_with("date:") && !line.starts_with("x-request-id:"))
                .map(str::to_owned)
                .collect();
            // The length of a biscuit varies by a byte or so.
            lines.retain(|line| path != "/verify" || authorization.is_empty() || !line.starts_with("content-length:"));
            lines.sort();
            (lines, body.to_owned())
        };
        let ((get, _), (head, body)) = (of("GET").await, of("HEAD").await);
        assert_eq!(head, get, "{path}");
        assert_eq!(body, "", "{path}");
    }
}

#[tokio::test]
async fn head_of_the_stream_tells_its_type_and_ends() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let headers = [("authorization", alice.authorization.as_str())];
    let answer = alice.client.request(Method::HEAD, "/sse", &headers, None).await.ok();
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
}

#[tokio::test]
async fn an_unknown_path_is_404() {
    let server = TestServer::start().await;
    for path in ["/nothing", "/insert/", "/INSERT", "//", "/login/x", "/%00", "/%zz", "/..%2finsert"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = server.client().request(method, path, &[], None).await.refused(404, "not_found");
            assert_eq!(answer.error(), "there is nothing at this path", "{path}");
        }
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_405() {
    let server = TestServer::start().await;
    let posts =
        bodies().into_iter().map(|(path, _)| (path, [Method::GET, Method::PUT, Method::DELETE], "POST, OPTIONS"));
    let gets = ["/", "/verify", "/sse"];
    let gets = gets.map(|path| (path, [Method::POST, Method::PUT, Method::DELETE], "GET, HEAD, OPTIONS"));
    for (path, methods, allowed) in posts.chain(gets) {
        for method in methods {
            let answer = server.client().request(method, path, &[], Some(b"{}".to_vec())).await;
            let answer = answer.refused(405, "method_not_allowed");
            assert_eq!(answer.header("allow"), Some(allowed), "{path}");
        }
        let answer = server.client().request(Method::HEAD, path, &[], None).await;
        assert_eq!(answer.status == 405, allowed == "POST, OPTIONS", "{path}");
    }
}

#[tokio::test]
async fn a_query_that_an_endpoint_does_not_know_is_ignored() {
    let server = TestServer::start().await;
    server.client().get("/?x=1&y").await.ok();
    let body = json!({ "username": "alice", "password": password_of("alice") });
    server.client().create_user("alice", "acme").await;
    server.client().post("/login?x=%zz", &body).await.ok();
}

#[tokio::test]
async fn a_connection_serves_on_after_a_refusal() {
    let server = TestServer::start().await;
    let bad = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n{";
    let good = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answers = exchange(&server, format!("{bad}{bad}{good}").as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 400").count(), 2, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_its_body_is_told_to_go_on() {
    let server = TestServer::start().await;
    let body = json!({ "username": "nobody", "password": "x" }).to_string();
    let request = format!(
        "POST /login HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = within("an answer", exchange(&server, request.as_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 100"), "{answer}");
    assert!(answer.contains("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn over_http_1_0_a_body_without_a_length_has_no_chunks_and_ends_with_the_connection() {
    let server = TestServer::start().await;
    for (name, tenant, more) in [("alice", "acme", ""), ("bob", "other", "connection: keep-alive\r\n")] {
        let user = server.user(name, tenant).await;
        for number in 0..10 {
            user.insert(&format!("large{number}"), json!("x".repeat(90_000))).await;
        }
        let id = user.insert("news", json!({ "a": 1 })).await;
        let get = async |path: &str| {
            let authorization = &user.authorization;
            let request = format!("GET {path} HTTP/1.0\r\n{more}authorization: {authorization}\r\n\r\n");
            let answer = exchange(&server, request.as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.0 200 OK"), "{head}");
            assert!(!head.contains("transfer-encoding") && !head.contains("keep-alive"), "{head}");
            body.to_owned()
        };
        let events: serde_json::Value = serde_json::from_str(&get("/events").await).unwrap();
        assert!(events.as_array().unwrap().iter().any(|event| event["id"] == id));
        let request = format!("GET /sse?events=news HTTP/1.0\r\n{more}authorization: {}\r\n\r\n", user.authorization);
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"\n\n") {
            assert!(within("bytes", socket.read_buf(&mut came)).await.unwrap() > 0);
        }
        let stream = String::from_utf8(came).unwrap();
        let (head, body) = stream.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("transfer-encoding") && !head.contains("keep-alive"), "{head}");
        assert_eq!(body.trim_start_matches(":\n"), format!("event:news\nid:{id}\ndata:{{\"a\":1}}\n\n"));
    }
}

#[tokio::test]
async fn an_offer_to_speak_something_else_is_ignored_and_the_connection_and_the_body_are_as_without_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let body = r#"{"event":"news","data":1}"#;
    for offer in [
        "",
        "connection: upgrade\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEA\r\n",
        "connection: keep-alive, Upgrade\r\nupgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nsec-websocket-version: 13\r\n",
        "upgrade: websocket\r\n",
        "",
    ] {
        let (authorization, length) = (&alice.authorization, body.len());
        let head = format!(
            "POST /insert HTTP/1.1\r\nhost: x\r\n{offer}authorization: {authorization}\r\ncontent-length: {length}\r\n\r\n"
        );
        // In parts too.
        for cut in [head.len(), head.len() - 20, 30] {
            let request = format!("{head}{body}");
            let (one, other) = request.split_at(cut);
            socket.write_all(one.as_bytes()).await.unwrap();
            socket.write_all(other.as_bytes()).await.unwrap();
            let mut came = Vec::new();
            while !came.ends_with(b"}") {
                assert!(within("bytes", socket.read_buf(&mut came)).await.unwrap() > 0, "{offer}");
            }
            let answer = String::from_utf8(came).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("{\"id\":"), "{answer}");
            assert!(!answer.contains("connection: "), "{answer}");
        }
    }
}
