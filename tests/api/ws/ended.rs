//! Guards the end of connections: when they end, and what their clients are told by the code.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::{
    Socket, TestServer, User, claims, forge, password_of, reset, reset_code, revoke, unrevoke, until, update,
};

/// A connection ends within a second of what ends it. A busy machine gets more; one that found out only at its next heartbeat would
/// take 12 s.
const PROMPTLY: Duration = Duration::from_secs(8);

async fn ends_promptly(socket: &mut Socket, code: u16) {
    let since = Instant::now();
    assert_eq!(socket.closed().await, Some(code));
    assert!(since.elapsed() < PROMPTLY, "{:?}", since.elapsed());
}

#[tokio::test]
async fn whatever_ends_the_sign_in_ends_its_connections_and_nobody_elses() {
    let server = TestServer::start().await;
    let client = server.client();
    server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut of_bob = bob.socket(json!({})).await;
    for ending in 0..4 {
        unrevoke(&client, "alice").await;
        update(&client, "alice", json!({ "password": password_of("alice"), "two_factor": false })).await;
        let alice = client.sign_in("alice").await;
        let mut quiet = alice.socket(json!({ "events": "nothing" })).await;
        let mut busy = alice.socket(json!({})).await;
        match ending {
            0 => revoke(&client, "alice").await,
            1 => update(&client, "alice", json!({ "password": "pw-secret-new" })).await,
            2 => update(&client, "alice", json!({ "two_factor": true })).await,
            _ => {
                let code = reset_code(&client, "alice").await;
                reset(&client, "alice", "pw-secret-new", &code).await.ok();
            }
        }
        // What comes now is not for them.
        bob.insert("secret", json!(ending)).await;
        for socket in [&mut quiet, &mut busy] {
            ends_promptly(socket, 4401).await;
        }
        while let Some(event) = busy.read().await {
            assert_ne!(event.data, ending.to_string(), "{event:?}");
        }
        // With the old token nobody comes back.
        let mut again = Socket::connect(&server.url).await;
        again.refused("sign_in", json!({ "token": alice.jwt() }), "unauthorized").await;
    }
    of_bob.ok("ping", json!({})).await;
}

/// A token of the same user, good until so many seconds from now.
fn token_for(user: &User, seconds: i64) -> String {
    let mut claims = claims(user.jwt());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    claims["exp"] = json!(now + seconds);
    forge(&claims, jsonwebtoken::Algorithm::HS256, crate::support::JWT_SECRET)
}

async fn socket_until(user: &User, seconds: i64) -> Socket {
    user.client.with_authorization(&format!("Bearer {}", token_for(user, seconds))).socket(json!({})).await
}

#[tokio::test]
async fn a_connection_ends_when_its_token_expires_unless_a_later_one_of_the_same_user_renews_it() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let mut renewed = socket_until(&alice, 6).await;
    let mut by_wrong_ones = socket_until(&alice, 6).await;
    let mut by_a_shorter_one = socket_until(&alice, 6).await;
    let since = Instant::now();

    let answer = renewed.ok("renew", json!({ "token": alice.jwt() })).await;
    assert_eq!(answer["expires_at"], claims(alice.jwt())["exp"].as_u64().unwrap() * 1000);
    for bad in [token_for(&alice, -10), bob.jwt().to_owned(), "x".to_owned(), String::new()] {
        by_wrong_ones.refused("renew", json!({ "token": bad }), "unauthorized").await;
    }
    by_a_shorter_one.ok("renew", json!({ "token": token_for(&alice, 2) })).await;
    for socket in [&mut by_wrong_ones, &mut by_a_shorter_one] {
        assert_eq!(socket.closed().await, Some(4401));
        assert!(since.elapsed() > Duration::from_secs(4), "{:?}", since.elapsed());
    }
    assert!(since.elapsed() < Duration::from_secs(6) + PROMPTLY, "{:?}", since.elapsed());
    renewed.ok("insert", json!({ "event": "a", "data": 1 })).await;
    assert_eq!(renewed.next().await.name, "a");
}

#[tokio::test]
async fn a_connection_that_was_renewed_ends_by_a_revocation_all_the_same() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({})).await;
    let again = alice.client.sign_in("alice").await;
    socket.ok("renew", json!({ "token": again.jwt() })).await;
    revoke(&alice.client, "alice").await;
    ends_promptly(&mut socket, 4401).await;
}

#[tokio::test]
async fn a_user_whose_stream_has_ended_is_not_present_whatever_is_still_to_be_answered() {
    let server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    alice.insert("large", json!("x".repeat(1_000_000))).await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let mut sent = Vec::new();
    for number in 0..40 {
        let fields = json!({ "event": "large", "data": number, "if_none_match": "*" });
        sent.push(socket.send("insert", fields).await);
    }
    // Each refusal has the event, and no other one is read.
    socket.answer(sent[0]).await;
    let since = Instant::now();
    revoke(&alice.client, "alice").await;
    until("alice to be gone", async || {
        let present = bob.get("/presence").await.ok().json();
        (present[0]["streams"].as_u64().unwrap_or(0) == 0).then_some(())
    })
    .await;
    assert!(since.elapsed() < PROMPTLY, "{:?}", since.elapsed());
    // Her connection is there.
    assert_eq!(socket.closed().await, Some(4401));
}

#[tokio::test]
async fn the_oldest_of_too_many_streams_is_told_not_to_come_back() {
    let server = TestServer::start_with(&["--streams_per_user=2"]).await;
    let alice = server.user("alice", "acme").await;
    let mut first = alice.socket(json!({})).await;
    let mut second = alice.socket(json!({})).await;
    let mut stream = alice.stream().await;
    ends_promptly(&mut first, 4409).await;
    let id = alice.insert("a", json!(1)).await;
    assert_eq!(second.next().await.id, id);
    assert_eq!(stream.next().await.id, id);
}

#[tokio::test]
async fn a_server_that_stops_answers_what_was_asked_and_says_that_it_goes() {
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    let _not_signed_in = Socket::connect(&server.url).await;
    let since = Instant::now();
    let mut sent = Vec::new();
    for number in 0..50 {
        sent.push(socket.send("insert", json!({ "event": format!("a{number}"), "data": number })).await);
    }
    let (_, acknowledged) = tokio::join!(server.stop(), async {
        let code = socket.closed().await;
        assert_eq!(code, Some(1012));
        let mut acknowledged = 0;
        for reference in sent {
            acknowledged += usize::from(socket.was_answered(reference));
        }
        acknowledged
    });
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    let server = server.restart().await;
    let alice = crate::support::again(&server, &alice);
    // Everything that was inserted was answered, and the other way round.
    assert_eq!(alice.latest("/events").await.len(), acknowledged);
}

#[tokio::test]
async fn a_client_that_is_slow_gets_the_rest_of_what_was_begun_and_then_the_code() {
    let server = TestServer::start_with(&["--retain_events=20000"]).await;
    let alice = server.user("alice", "acme").await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        slow.push(alice.socket(json!({})).await);
    }
    let mut quick = alice.socket(json!({})).await;
    let array: Vec<_> = (0..200).map(|_| json!({ "event": "a", "data": "x".repeat(2000) })).collect();
    // 16 MB: more than the system takes for a client that does not read.
    for _ in 0..40 {
        alice.insert_raw(json!(array)).await.ok();
        quick.take(200).await;
    }
    let [breaks_a_rule, closes] = &mut slow[..] else { panic!() };
    breaks_a_rule.send_binary(b"x").await;
    closes.send_close(4321).await;
    assert_eq!(breaks_a_rule.closed().await, Some(1003));
    assert_eq!(closes.closed().await, Some(4321));
}
