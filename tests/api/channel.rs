//! Guards `/channel`: the tokens of channels.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Client, TestServer};

pub const AUTH_KEY: &str = "test-auth-key-0123456789";
/// Channels in the tenant acme.
pub const FLAGS: [&str; 2] = ["--auth_key=test-auth-key-0123456789", "--channel_tenant=acme"];

/// Posts to a path with a key, as ChannelAPI's clients do.
pub async fn post(server: &TestServer, path: &str, key: Option<&str>, body: &str) -> Answer {
    let headers: Vec<_> = key.map(|key| ("authorization", key)).into_iter().collect();
    Client::new(&server.url).request(Method::POST, path, &headers, Some(body.as_bytes().to_vec())).await
}

/// The token of a channel.
pub async fn token(server: &TestServer, channel: &str) -> String {
    let answer = post(server, &format!("/channel/{channel}"), Some(AUTH_KEY), "").await.ok();
    let json = answer.json();
    assert_eq!((&json["success"], json.as_object().unwrap().len()), (&json!(true), 2), "{answer:?}");
    json["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_channel_has_one_token_of_43_characters_also_after_a_kill() {
    let server = TestServer::start_with(&FLAGS).await;
    let first = token(&server, "room/1").await;
    assert!(first.len() == 43 && first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert_eq!(token(&server, "room%2F1").await, first, "the name is decoded");
    let mut others = Vec::new();
    for channel in ["room/2", "room", "r%C3%B6%C3%B6m%201", "room%252F1"] {
        others.push(token(&server, channel).await);
    }
    assert!(!others.contains(&first) && others.iter().collect::<std::collections::BTreeSet<_>>().len() == 4);
    let server = server.end_and_restart(true).await;
    assert_eq!(token(&server, "room/1").await, first);
}

#[tokio::test]
async fn many_who_ask_at_once_are_given_the_same_token() {
    let server = TestServer::start_with(&FLAGS).await;
    let asking = (0..20).map(|_| token(&server, "busy"));
    let tokens = futures_util::future::join_all(asking).await;
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
}

#[tokio::test]
async fn another_key_makes_other_tokens() {
    let server = TestServer::start_with(&FLAGS).await;
    let first = token(&server, "room").await;
    let other = "--auth_key=another-auth-key-0123456";
    let server = server
        .end_and_restart_with(move |directory| {
            crate::support::command(&[other.to_owned(), FLAGS[1].to_owned()], directory)
        })
        .await;
    let path = "/channel/room";
    post(&server, path, Some(AUTH_KEY), "").await.refused(403, "auth_key_incorrect");
    let second = post(&server, path, Some("another-auth-key-0123456"), "").await.ok().json();
    assert_ne!(second["token"], json!(first));
}

#[tokio::test]
async fn without_the_key_nothing_is_said() {
    let server = TestServer::start_with(&FLAGS).await;
    let bearer = format!("Bearer {AUTH_KEY}");
    for key in [None, Some(""), Some("wrong"), Some(bearer.as_str()), Some(&AUTH_KEY[1..])] {
        for path in ["/channel/room", "/channel/", "/message/room"] {
            post(&server, path, key, r#"{"message": 1}"#).await.refused(403, "auth_key_incorrect");
        }
    }
    let none = post(&server, "/channel/", Some(AUTH_KEY), "").await.ok();
    assert_eq!(none.json(), json!({ "success": false, "message": "No Channel Supplied" }));
    for (name, status, code) in [
        ("%24reset", 400, "event_name_reserved"),
        ("%20x", 400, "event_name_invalid"),
        ("id:5", 400, "event_name_invalid"),
        ("@alice/x", 403, "topic_not_allowed"),
        ("%0A", 400, "event_name_invalid"),
        // These two would be the same name.
        ("%ff", 400, "path_invalid"),
        ("%fe", 400, "path_invalid"),
        ("a/%c3", 400, "path_invalid"),
    ] {
        for path in ["channel", "message"] {
            let answer = post(&server, &format!("/{path}/{name}"), Some(AUTH_KEY), r#"{"message": 1}"#).await;
            answer.refused(status, code);
        }
    }
    // A page may ask whether it may call.
    let headers = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let answer = Client::new(&server.url).request(Method::OPTIONS, "/channel/room", &headers, None).await.ok();
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("authorization"), "{allowed}");
}

#[tokio::test]
async fn without_the_flags_there_are_no_channels() {
    let server = TestServer::start().await;
    for path in ["/channel/room", "/message/room"] {
        post(&server, path, Some(AUTH_KEY), r#"{"message": 1}"#).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn neither_the_key_nor_a_token_is_in_the_database() {
    let server = TestServer::start_with(&FLAGS).await;
    let token = token(&server, "room").await;
    let mut server = server;
    server.stop().await;
    let stored = server.stored();
    assert!(stored.has("acmeroom"), "the row of the token was looked for elsewhere");
    assert!(!stored.has(&token) && !stored.has(AUTH_KEY));
}
