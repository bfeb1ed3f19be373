//! Guards `/refresh` against guesses, and what the log says of sessions.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Session, TestServer, eventually, revoke, unrevoke};

async fn post_from(client: &Client, address: &str, path: &str, token: &str) -> Answer {
    let body = json!({ "refresh_token": token }).to_string().into_bytes();
    client.request(Method::POST, path, &[("x-forwarded-for", address)], Some(body)).await
}

/// Guesses from an address, at the family of a session and at nothing, until the next one would be refused. Returns how many were not.
async fn guess_until_throttled(client: &Client, address: &str, path: &str, session: &Session) -> usize {
    let rotation = session.refresh_token.rsplit('.').next().unwrap();
    let guess = format!("{}.{rotation}.{rotation}", session.id);
    for number in 0..1000 {
        let token = if number % 2 == 0 { &guess } else { "nonsense" };
        let answer = post_from(client, address, path, token).await;
        if answer.status == 429 {
            answer.refused(429, "too_many_attempts");
            return number;
        }
        // That a session has ended is what a sign-out wants.
        if path == "/logout" {
            answer.ok()
        } else {
            answer.refused(401, "session_ended")
        };
    }
    panic!("1000 guesses were not too many");
}

#[tokio::test]
async fn guesses_count_by_their_address_and_right_tokens_neither_count_nor_are_refused_for_those() {
    let server = TestServer::start_with(&["--trusted_proxies=127.0.0.1"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (mut session, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let guesses = guess_until_throttled(&client, "192.0.2.1", "/refresh", &session).await;
    assert!(guesses >= 300, "{guesses}");
    // It goes on, there and elsewhere, however often.
    for number in 0..400 {
        let address = format!("192.0.2.{}", 1 + number % 2);
        let answer = post_from(&client, &address, "/refresh", &session.refresh_token).await.ok().json();
        session.refresh_token = answer["refresh_token"].as_str().unwrap().to_owned();
    }
    guess_until_throttled(&client, "192.0.2.1", "/refresh", &session).await;
    post_from(&client, "192.0.2.1", "/refresh", &other.refresh_token).await.ok();
    // Guesses have ended nothing.
    post_from(&client, "192.0.2.1", "/refresh", &session.refresh_token).await.ok();
    session.user.verify().await.ok();
}

#[tokio::test]
async fn guesses_at_a_sign_out_count_too_and_nobody_there_is_kept_from_one() {
    let server = TestServer::start_with(&["--trusted_proxies=127.0.0.1"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let session = client.begin_session("alice").await;
    let guesses = guess_until_throttled(&client, "192.0.2.1", "/logout", &session).await;
    assert!(guesses >= 300, "{guesses}");
    // Both ways in take from one allowance.
    let more = guess_until_throttled(&client, "192.0.2.1", "/refresh", &session).await;
    assert!(more < 150, "{more}");
    session.user.verify().await.ok();
    post_from(&client, "192.0.2.1", "/logout", &session.refresh_token).await.ok();
    session.user.verify().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_token_of_a_session_that_has_ended_counts_as_a_guess() {
    let server = TestServer::start_with(&["--trusted_proxies=127.0.0.1"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for (address, path) in [("192.0.2.1", "/refresh"), ("192.0.2.2", "/logout")] {
        let session = client.begin_session("alice").await;
        // Its row is still there.
        revoke(&client, "alice").await;
        let mut tries = 0;
        while post_from(&client, address, path, &session.refresh_token).await.status != 429 {
            tries += 1;
            assert!(tries < 1000, "{path}");
        }
        assert!(tries >= 300, "{path} {tries}");
        unrevoke(&client, "alice").await;
    }
}

#[tokio::test]
async fn the_log_says_what_ended_sessions_and_shows_no_token() {
    let server = TestServer::start_with(&["--log=info"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(client.begin_session("alice").await);
    }
    let refreshed = sessions[0].refreshed().await;
    let family = refreshed.refresh_token.rsplit_once('.').unwrap().0;
    let made_up = format!("{family}.{}", sessions[1].refresh_token.rsplit('.').next().unwrap());
    client.refresh(&made_up).await.refused(401, "session_ended");
    client.refresh(&refreshed.refresh_token).await.refused(401, "session_ended");
    sessions[1].user.post("/logout", json!({})).await.ok();
    sessions[3].user.post("/end_session", json!({ "session": sessions[2].id })).await.ok();
    sessions[3].user.post("/end_session", json!({ "session": sessions[2].id })).await.refused(404, "session_unknown");
    sessions[3].user.post("/end_session", json!({ "all": true })).await.ok();
    let told = || {
        let lines = server.log();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines = lines.filter(|line| line["target"] == "broker::access" && line["door"] != "sign-in");
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        lines.map(|line| ["message", "door", "user", "outcome"].map(|field| text(&line[field]))).collect::<Vec<_>>()
    };
    let expected = [
        ["not let in", "refresh", "alice", "refresh_token_reused"],
        ["not let in", "refresh", "-", "session_ended"],
        ["session ended by logout", "account", "alice", "ok"],
        ["session ended", "account", "alice", "ok"],
        ["session not ended", "account", "alice", "session_unknown"],
        ["all sign-ins ended", "account", "alice", "ok"],
    ];
    eventually("the last of them", || told().len() >= expected.len()).await;
    assert_eq!(told(), expected.map(|line| line.map(str::to_owned)));
    let log = server.log();
    for session in sessions.iter().chain([&refreshed]) {
        for secret in session.refresh_token.split('.').skip(1).chain([session.user.jwt()]) {
            assert!(!log.contains(secret), "{secret}");
        }
    }
}
