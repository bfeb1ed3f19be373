//! Guards HTTP Basic.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{by_password, reset, reset_code, revoke, ticks, unrevoke, update, with_two_factor};
use crate::support::{TestServer, User, password_of, until_throttled};

/// Knocks at a door without the cost of what is behind it.
async fn knock(user: &User) -> u16 {
    user.client.request(Method::HEAD, "/sse", &[("authorization", &user.authorization)], None).await.status
}

/// A user whose password has just been found right, so that it is remembered.
async fn remembered(server: &TestServer, username: &str) -> User {
    server.client().create_user(username, "acme").await;
    let user = by_password(&server.client(), username, &password_of(username));
    assert_eq!(user.doors().await, [200; 3]);
    user
}

#[tokio::test]
async fn the_same_password_again_is_not_hashed_again() {
    let server = TestServer::start().await;
    let alice = remembered(&server, "alice").await;
    let before = ticks(&server);
    for _ in 0..30 {
        assert_eq!(knock(&alice).await, 200);
    }
    let repeated = ticks(&server) - before;
    let before = ticks(&server);
    for n in 0..15 {
        let wrong = by_password(&alice.client, "alice", &format!("wrong{n}"));
        assert_eq!(knock(&wrong).await, 401);
    }
    let hashed = ticks(&server) - before;
    assert!(repeated < hashed, "30 remembered ones cost {repeated} ticks, 15 hashes {hashed}");
}

#[tokio::test]
async fn a_remembered_password_lets_nobody_in_with_another() {
    let server = TestServer::start().await;
    let alice = remembered(&server, "alice").await;
    let bob = remembered(&server, "bob").await;
    for (username, password) in [
        ("alice", "wrong".to_owned()),
        ("alice", password_of("bob")),
        ("alice", password_of("alic")),
        ("bob", password_of("alice")),
        ("alicepw-secret-", "alice".to_owned()),
    ] {
        assert_eq!(by_password(&alice.client, username, &password).doors().await, [401; 3], "{username}");
    }
    assert_eq!([alice.doors().await, bob.doors().await], [[200; 3]; 2]);
}

#[tokio::test]
async fn a_remembered_password_stops_at_once_when_it_is_changed() {
    let server = TestServer::start().await;
    let alice = remembered(&server, "alice").await;
    update(&alice.client, "alice", json!({ "password": password_of("new") })).await;
    assert_eq!(alice.doors().await, [401; 3]);
    assert_eq!(by_password(&alice.client, "alice", &password_of("new")).doors().await, [200; 3]);
    update(&alice.client, "alice", json!({ "password": password_of("alice") })).await;
    assert_eq!(alice.doors().await, [200; 3]);
}

#[tokio::test]
async fn a_remembered_password_stops_at_once_when_it_is_reset() {
    let server = TestServer::start().await;
    let alice = remembered(&server, "alice").await;
    let code = reset_code(&alice.client, "alice").await;
    assert_eq!(alice.doors().await, [200; 3]);
    reset(&alice.client, "alice", &password_of("new"), &code).await.ok();
    assert_eq!(alice.doors().await, [401; 3]);
}

#[tokio::test]
async fn a_remembered_password_stops_at_once_when_its_user_is_revoked() {
    let server = TestServer::start().await;
    let alice = remembered(&server, "alice").await;
    let mut stream = alice.stream().await;
    revoke(&alice.client, "alice").await;
    assert_eq!(alice.doors().await, [401; 3]);
    stream.ends_now().await;
    unrevoke(&alice.client, "alice").await;
    assert_eq!(alice.doors().await, [200; 3]);
}

#[tokio::test]
async fn a_remembered_password_stops_at_once_when_two_factor_is_switched_on() {
    let server = TestServer::start().await;
    let alice = remembered(&server, "alice").await;
    update(&alice.client, "alice", json!({ "two_factor": true })).await;
    assert_eq!(alice.doors().await, [401; 3]);
}

#[tokio::test]
async fn a_remembered_password_shows_the_changes_since() {
    let server = TestServer::start().await;
    let alice = remembered(&server, "alice").await;
    let bob = server.user("bob", "other").await;
    let of_other = bob.insert("news", json!("of other")).await;
    update(&alice.client, "alice", json!({ "tenant_name": "other", "scopes": ["news:get"] })).await;
    assert_eq!(alice.verify().await.ok().json()["scopes"], json!(["news:get"]));
    assert_eq!(alice.stream().await.next().await.id, of_other);
}

#[tokio::test]
async fn the_right_password_many_times_side_by_side_is_right_every_time() {
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let alice = by_password(&server.client(), "alice", &password_of("alice"));
    let statuses = join_all((0..64).map(|_| knock(&alice))).await;
    assert_eq!(statuses, [200; 64]);
}

#[tokio::test]
async fn a_remembered_password_still_serves_while_others_guess() {
    let server = TestServer::start().await;
    let alice = remembered(&server, "alice").await;
    let mut statuses = Vec::new();
    for n in 0..25 {
        statuses.push(knock(&by_password(&alice.client, "alice", &format!("wrong{n}"))).await);
    }
    assert_eq!(statuses[24], 429, "{statuses:?}");
    assert_eq!(alice.doors().await, [200; 3]);
}

/// Knocks until an account's allowance is used up, where each of them is a guess that was wrong.
async fn knocks_are_guesses(user: &User) {
    let mut refused = 0;
    loop {
        match knock(user).await {
            401 => refused += 1,
            429 => break,
            status => panic!("{status} after {refused} guesses"),
        }
    }
    // A slow machine takes so long for them that one or another is allowed again.
    assert!((20..=25).contains(&refused), "{refused}");
}

#[tokio::test]
async fn with_two_factor_on_a_right_password_is_answered_and_counted_as_a_wrong_one() {
    let server = TestServer::start().await;
    let client = server.client();
    for username in ["alice", "bob"] {
        with_two_factor(&client, username).await;
    }
    let cost = async |user: &User| {
        let before = ticks(&server);
        knocks_are_guesses(user).await;
        ticks(&server) - before
    };
    let right = cost(&by_password(&client, "alice", &password_of("alice"))).await;
    let wrong = cost(&by_password(&client, "bob", "wrong")).await;
    assert!(right * 2 > wrong && wrong * 2 > right, "right: {right} ticks, wrong: {wrong}");
}

#[tokio::test]
async fn a_password_that_was_remembered_is_a_guess_like_any_once_its_user_has_two_factor_on_or_is_revoked() {
    let server = TestServer::start().await;
    let (alice, bob) = (remembered(&server, "alice").await, remembered(&server, "bob").await);
    update(&alice.client, "alice", json!({ "two_factor": true })).await;
    knocks_are_guesses(&alice).await;
    revoke(&bob.client, "bob").await;
    knocks_are_guesses(&bob).await;
}

#[tokio::test]
async fn a_right_password_is_no_wrong_guess_because_the_body_is_not_as_it_should_be() {
    let server = TestServer::start().await;
    for username in ["alice", "bob"] {
        server.client().create_user(username, "acme").await;
    }
    for _ in 0..25 {
        // Each time as if for the first time: on a connection, and with a password, that nothing is known of.
        let alice = by_password(&server.client(), "alice", &password_of("alice"));
        alice.insert_raw("{broken").await.refused(400, "body_invalid");
    }
    by_password(&server.client(), "alice", &password_of("alice")).insert("news", json!(1)).await;
    let bob = by_password(&server.client(), "bob", "wrong");
    for _ in 0..20 {
        bob.insert_raw("{broken").await.refused(401, "unauthorized");
    }
    until_throttled(async || bob.insert_raw("{broken").await).await;
}

#[tokio::test]
async fn a_password_is_the_same_however_its_accents_are_written() {
    let server = TestServer::start().await;
    let client = server.client();
    let (composed, decomposed) = ("pw-secret-jos\u{e9}", "pw-secret-jose\u{301}");
    for (username, password) in [("alice", composed), ("bob", decomposed)] {
        client.create_user_with(username, "acme", json!({ "password": password })).await.ok();
        for password in [composed, decomposed] {
            client.login(username, password).await.ok();
            by_password(&client, username, password).verify().await.ok();
        }
        client.login(username, "pw-secret-jose").await.refused(401, "unauthorized");
    }
}
