//! Guards the `Authorization` header: Bearer and Basic, and everything that is neither.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use serde_json::json;

use super::exchange;
use crate::support::{TestServer, User, password_of};

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")))
}

#[tokio::test]
async fn every_door_takes_a_token_and_a_password() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    assert_eq!(alice.doors().await, [200; 3]);
    let by_password = alice.client.with_authorization(&basic("alice", &password_of("alice")));
    assert_eq!(by_password.doors().await, [200; 3]);
    assert_eq!(by_password.verify().await.ok().json()["username"], "alice");
}

#[tokio::test]
async fn the_case_of_the_scheme_does_not_matter() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let password = basic("alice", &password_of("alice"))["Basic ".len()..].to_owned();
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        alice.client.with_authorization(&format!("{scheme} {}", alice.jwt())).verify().await.ok();
    }
    for scheme in ["Basic", "basic", "BASIC", "bAsIc"] {
        alice.client.with_authorization(&format!("{scheme} {password}")).verify().await.ok();
    }
}

#[tokio::test]
async fn a_password_is_all_that_follows_the_first_colon() {
    let server = TestServer::start_with(&["--password_min=1"]).await;
    let client = server.client();
    for (username, password) in
        [("alice", "a:b:c"), ("bob", ":"), ("carol", "x:"), ("dan", "пароль:🔑"), ("eve", " x ")]
    {
        client.create_user_with(username, "acme", json!({ "password": password })).await.ok();
        client.with_authorization(&basic(username, password)).verify().await.ok();
    }
    for part in ["a", "a:b", "a:b:c:", "b:c", "a:b:c "] {
        client.with_authorization(&basic("alice", part)).verify().await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn base64_may_lack_its_padding() {
    let server = TestServer::start().await;
    server.client().create_user("robert", "acme").await;
    let credentials = BASE64_STANDARD_NO_PAD.encode("robert:pw-secret-robert");
    assert_ne!(credentials.len() % 4, 0);
    server.client().with_authorization(&format!("Basic {credentials}")).verify().await.ok();
}

#[tokio::test]
async fn a_malformed_header_is_401_at_every_door() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let jwt = alice.jwt();
    let encoded = |text: &[u8]| format!("Basic {}", BASE64_STANDARD.encode(text));
    for header in [
        "",
        " ",
        "Bearer",
        "Basic",
        "Bearer ",
        "Basic ",
        "Bearer  ",
        jwt,
        "Digest x",
        "Bearerx",
        "Basic !!!",
        "Basic a",
        &format!("Token {jwt}"),
        &format!("Bearer{jwt}"),
        &format!("Bearer,{jwt}"),
        &format!("Bearer {jwt} x"),
        &format!("Basic {jwt}"),
        "Bearer a",
        "Bearer a.b",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer a.b.c.d",
        &encoded(b"alice"),
        &encoded(b""),
        &encoded(b":"),
        &encoded(b":pw-secret-alice"),
        &encoded(b"alice:"),
        &encoded(b"\xff:\xff"),
        &encoded(b"alice:\xff"),
    ] {
        assert_eq!(alice.client.with_authorization(header).doors().await, [401; 3], "{header:?}");
        alice.client.with_authorization(header).verify().await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_header_that_is_no_text_is_401() {
    let server = TestServer::start().await;
    for value in [&b"Bearer \xff\xfe"[..], b"\xc3\xa9", b"Basic \xf0\x9f\x94\x91"] {
        let mut request = b"GET /verify HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: ".to_vec();
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n\r\n");
        assert!(exchange(&server, &request).await.starts_with("HTTP/1.1 401"));
    }
}

#[tokio::test]
async fn without_the_header_every_door_is_401() {
    let server = TestServer::start().await;
    let client = server.client();
    client.get("/verify").await.refused(401, "unauthorized");
    client.get("/sse").await.refused(401, "unauthorized");
    client.get("/sse?events=news").await.refused(401, "unauthorized");
    client.post("/insert", &json!({ "event": "news", "data": 1 })).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn credentials_count_only_in_the_header() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for path in ["/verify", "/sse"] {
        let path = format!("{path}?authorization={0}&token={0}&access_token={0}", alice.jwt());
        alice.client.get(&path).await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_user_with_two_factor_on_cannot_use_basic() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user_with("alice", "acme", json!({ "two_factor": true })).await.ok();
    let alice = client.with_authorization(&basic("alice", &password_of("alice")));
    assert_eq!(alice.doors().await, [401; 3]);
    client.admin("/update_user", json!({ "username": "alice", "two_factor": false })).await.ok();
    assert_eq!(alice.doors().await, [200; 3]);
}

#[tokio::test]
async fn a_revoked_user_can_use_neither_scheme() {
    let server = TestServer::start().await;
    let by_token = server.user("alice", "acme").await;
    let by_password = by_token.client.with_authorization(&basic("alice", &password_of("alice")));
    let doors = async |user: &User| user.doors().await;
    by_token.client.admin("/revoke_user", json!({ "username": "alice" })).await.ok();
    assert_eq!([doors(&by_token).await, doors(&by_password).await], [[401; 3]; 2]);
    by_token.client.login("alice", &password_of("alice")).await.refused(401, "unauthorized");
}
