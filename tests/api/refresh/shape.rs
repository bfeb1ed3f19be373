//! Guards what a refresh is answered, and what is refused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::contract::now_millis;
use crate::support::{Session, TestServer, claims, in_time, password_of, revoke, update};

fn fields(answer: &Value) -> Vec<&str> {
    answer.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_session_begins_with_a_short_access_token_and_a_refresh_token_and_goes_on_with_others() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let first = client.begin_session("alice").await;
    let second = first.refreshed().await;
    for Session { user, answer, refresh_token, id } in [&first, &second] {
        let mut all = fields(answer);
        all.sort_unstable();
        assert_eq!(all, ["expires_at", "expires_in", "jwt", "refresh_token", "session"]);
        assert_eq!(answer["expires_in"], 900);
        let claims = claims(user.jwt());
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 900);
        assert_eq!(answer["expires_at"].as_u64().unwrap(), claims["exp"].as_u64().unwrap() * 1000);
        assert_eq!((&claims["sid"], claims["sub"].as_str()), (&json!(id), Some("alice")));
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(refresh_token.len() < 100 && !refresh_token.contains("alice"), "{refresh_token}");
        user.insert("news", json!(1)).await;
    }
    assert_eq!(first.id, second.id);
    assert_ne!(first.refresh_token, second.refresh_token);
}

#[tokio::test]
async fn a_sign_in_without_refresh_is_answered_as_ever_and_is_of_no_session() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for refresh in [json!(false), Value::Null] {
        let body = json!({ "username": "alice", "password": password_of("alice"), "refresh": refresh });
        let answer = client.post("/login", &body).await.ok().json();
        assert_eq!(fields(&answer), ["jwt"]);
        assert_eq!(claims(answer["jwt"].as_str().unwrap()).get("sid"), None);
    }
    let body = json!({ "username": "alice", "password": password_of("alice"), "refresh": "yes" });
    client.post("/login", &body).await.refused(400, "body_invalid");
}

#[tokio::test]
async fn the_flags_say_how_long_tokens_and_sessions_last_and_no_token_lasts_longer_than_its_session() {
    for (access, refresh, lasts) in [("77", "2000", 77), ("600", "50", 50)] {
        let flags = [format!("--access_expiry={access}"), format!("--refresh_expiry={refresh}")];
        let server = TestServer::start_with(&flags.each_ref().map(String::as_str)).await;
        let client = server.client();
        client.create_user("alice", "acme").await;
        let session = client.begin_session("alice").await;
        for session in [&session, &session.refreshed().await] {
            assert_eq!(session.answer["expires_in"], lasts);
            let expires_at = session.answer["expires_at"].as_u64().unwrap();
            assert!(expires_at <= now_millis() + lasts * 1000, "{}", session.answer);
        }
    }
}

#[tokio::test]
async fn a_token_that_was_replaced_a_moment_ago_gives_an_access_token_and_no_successor() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let first = client.begin_session("alice").await;
    let second = first.refreshed().await;
    let third = second.refreshed().await;
    for former in [&first, &second, &first] {
        let answer = former.refresh().await.ok().json();
        let mut all = fields(&answer);
        all.sort_unstable();
        assert_eq!(all, ["expires_at", "expires_in", "jwt", "session"]);
        client.with_authorization(&format!("Bearer {}", answer["jwt"].as_str().unwrap())).insert("x", json!(1)).await;
    }
    third.refreshed().await;
}

#[tokio::test]
async fn what_is_no_refresh_token_of_a_session_is_refused_and_ends_nothing() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (session, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let parts: Vec<_> = session.refresh_token.split('.').collect();
    let others: Vec<_> = other.refresh_token.split('.').collect();
    let wrong = [
        "".to_owned(),
        "nonsense".to_owned(),
        session.user.jwt().to_owned(),
        session.id.clone(),
        // Of another family, as somebody would guess who has read the list of sessions.
        format!("{}.{}.{}", parts[0], others[1], parts[2]),
        format!("{}.{}.{}", parts[0], others[1], others[2]),
        format!("{}.{}.{}", parts[0], parts[2], parts[1]),
        format!("{}.{}.{}", "0123456789abcdef", parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
    ];
    for token in &wrong {
        client.refresh(token).await.refused(401, "session_ended");
    }
    for (body, code) in [(json!({}), "body_invalid"), (json!({ "refresh_token": ["a"] }), "body_invalid")] {
        client.post("/refresh", &body).await.refused(400, code);
    }
    let twice = format!(r#"{{"refresh_token":"x","refresh_token":"{}"}}"#, session.refresh_token);
    let body = Some(twice.into_bytes());
    client.request(reqwest::Method::POST, "/refresh", &[], body).await.refused(400, "body_invalid");
    // A refresh token is no access token.
    client.with_authorization(&format!("Bearer {}", session.refresh_token)).verify().await.refused(401, "unauthorized");
    session.refreshed().await;
    other.refreshed().await;
}

#[tokio::test]
async fn a_token_of_the_right_family_that_is_no_former_one_ends_the_session() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let (session, other) = (client.begin_session("alice").await, client.begin_session("alice").await);
    let parts: Vec<_> = session.refresh_token.split('.').collect();
    let rotation = other.refresh_token.rsplit('.').next().unwrap();
    let (mut stream, mut others) = (session.user.stream().await, other.user.stream().await);
    client.refresh(&format!("{}.{}.{rotation}", parts[0], parts[1])).await.refused(401, "session_ended");
    assert_eq!(stream.ends_now().await, []);
    session.refresh().await.refused(401, "session_ended");
    session.user.verify().await.refused(401, "unauthorized");
    let id = other.user.insert("news", json!(1)).await;
    assert_eq!(others.next().await.id, id);
    other.refreshed().await;
}

#[tokio::test]
async fn what_ends_all_sign_ins_ends_sessions_too_for_good() {
    let server = TestServer::start().await;
    let client = server.client();
    for (number, what) in ["revoked", "password", "two-factor"].into_iter().enumerate() {
        let username = format!("user{number}");
        client.create_user(&username, "acme").await;
        let session = client.begin_session(&username).await;
        let mut stream = session.user.stream().await;
        match what {
            "revoked" => revoke(&client, &username).await,
            "password" => update(&client, &username, json!({ "password": password_of("new") })).await,
            _ => update(&client, &username, json!({ "two_factor": true })).await,
        }
        assert_eq!(stream.ends_now().await, [], "{what}");
        session.refresh().await.refused(401, "session_ended");
        session.user.verify().await.refused(401, "unauthorized");
        client.admin("/unrevoke_user", json!({ "username": username })).await.ok();
        session.refresh().await.refused(401, "session_ended");
    }
}

#[tokio::test]
async fn an_access_token_of_a_session_that_is_made_up_is_refused() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let session = client.begin_session("alice").await;
    let bob = server.user("bob", "acme").await;
    let secret = crate::support::JWT_SECRET;
    for (of, sid) in [
        (session.user.jwt(), json!("0123456789abcdef")),
        (session.user.jwt(), json!("")),
        (session.user.jwt(), json!(session.id.to_uppercase() + "0")),
        (session.user.jwt(), json!(7)),
        // Of somebody else.
        (bob.jwt(), json!(session.id)),
    ] {
        let mut claims = claims(of);
        claims["sid"] = sid;
        let jwt = crate::support::forge(&claims, jsonwebtoken::Algorithm::HS256, secret);
        client.with_authorization(&format!("Bearer {jwt}")).verify().await.refused(401, "unauthorized");
    }
    session.user.verify().await.ok();
}

/// More would make the row of a session grow with each refresh of a client in a loop.
#[tokio::test]
async fn of_the_tokens_that_were_replaced_a_moment_ago_the_last_16_are_known() {
    in_time("18 tokens within the ten seconds of the grace", async || {
        let server = TestServer::start().await;
        let client = server.client();
        client.create_user("alice", "acme").await;
        let mut all = vec![client.begin_session("alice").await];
        let since = Instant::now();
        for _ in 0..17 {
            all.push(all[all.len() - 1].refreshed().await);
        }
        let (known, forgotten) = (all[1].refresh().await, all[0].refresh().await);
        if since.elapsed() >= Duration::from_secs(10) {
            return None;
        }
        assert_eq!(known.ok().json().get("refresh_token"), None);
        forgotten.refused(401, "session_ended");
        all[17].refresh().await.refused(401, "session_ended");
        Some(())
    })
    .await;
}
