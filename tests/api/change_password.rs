//! Guards `/change_password`: whoever knows the old password sets a new one, and every earlier sign-in ends.

use futures_util::future::join_all;
use serde_json::json;

use crate::identity::{login_with, login_with_code, step, with_two_factor};
use crate::support::{Answer, Client, TestServer, User, by_password, password_of, revoke, until_throttled};

async fn change(user: &User, password: &str, new: &str) -> Answer {
    user.post("/change_password", json!({ "password": password, "new_password": new })).await
}

fn signed_in(client: &Client, answer: Answer) -> User {
    client.with_authorization(&format!("Bearer {}", answer.jwt()))
}

#[tokio::test]
async fn a_new_password_ends_every_earlier_sign_in_and_answers_with_a_new_one() {
    let server = TestServer::start().await;
    let client = server.client();
    let alice = server.user("alice", "acme").await;
    let elsewhere = client.sign_in("alice").await;
    let mut streams = [alice.stream().await, elsewhere.stream().await];
    let (old, new) = (password_of("alice"), password_of("new"));
    let changed = signed_in(&client, change(&alice, &old, &new).await.ok());
    for stream in &mut streams {
        assert_eq!(stream.ends_now().await, []);
    }
    for earlier in [&alice, &elsewhere, &by_password(&client, "alice", &old)] {
        assert_eq!(earlier.doors().await, [401; 3]);
    }
    assert_eq!(changed.doors().await, [200; 3]);
    client.login("alice", &old).await.refused(401, "unauthorized");
    client.login("alice", &new).await.ok();
    // The same by Basic, and over a restart.
    change(&by_password(&client, "alice", &new), &new, &password_of("newer")).await.ok();
    let server = server.end_and_restart(true).await;
    server.client().login("alice", &new).await.refused(401, "unauthorized");
    server.client().login("alice", &password_of("newer")).await.ok();
}

#[tokio::test]
async fn sessions_end_as_well_and_a_new_one_begins_if_it_is_asked_for() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let body = json!({ "username": "alice", "password": password_of("alice"), "refresh": true });
    let before = client.post("/login", &body).await.ok().json();
    let alice = client.with_authorization(&format!("Bearer {}", before["jwt"].as_str().unwrap()));
    let body = json!({ "password": password_of("alice"), "new_password": password_of("new"), "refresh": true });
    let after = alice.post("/change_password", body).await.ok().json();
    let refresh =
        async |of: &serde_json::Value| client.post("/refresh", &json!({ "refresh_token": of["refresh_token"] })).await;
    refresh(&before).await.refused(401, "session_ended");
    let renewed = refresh(&after).await.ok().json();
    assert_eq!(renewed["session"], after["session"]);
    assert_ne!(after["session"], before["session"]);
    let alice = client.with_authorization(&format!("Bearer {}", renewed["jwt"].as_str().unwrap()));
    assert_eq!(alice.get("/sessions").await.ok().json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_wrong_password_changes_nothing_and_counts() {
    let server = TestServer::start().await;
    let client = server.client();
    let alice = server.user("alice", "acme").await;
    server.user("bob", "acme").await;
    for wrong in ["wrong", "", &password_of("bob")] {
        change(&alice, wrong, &password_of("new")).await.refused(401, "unauthorized");
    }
    // Whether the new one is good is told only to whoever knows the old one.
    change(&alice, "wrong", "short").await.refused(401, "unauthorized");
    for _ in 4..20 {
        change(&alice, "wrong", &password_of("new")).await.refused(401, "unauthorized");
    }
    until_throttled(async || change(&alice, "wrong", &password_of("new")).await).await;
    change(&alice, &password_of("alice"), &password_of("new")).await.refused(429, "too_many_attempts");
    assert_eq!(alice.doors().await, [200; 3], "the sign-in goes on");
    client.login("alice", &password_of("alice")).await.ok();
    // Another's allowance is another's.
    client.login("bob", &password_of("bob")).await.ok();
}

#[tokio::test]
async fn strangers_who_guess_do_not_keep_a_signed_in_owner_from_changing_it() {
    let server = TestServer::start().await;
    let client = server.client();
    let alice = server.user("alice", "acme").await;
    for _ in 0..20 {
        client.login("alice", "wrong").await.refused(401, "unauthorized");
    }
    until_throttled(async || client.login("alice", "wrong").await).await;
    client.login("alice", &password_of("alice")).await.refused(429, "too_many_attempts");
    change(&alice, &password_of("alice"), &password_of("new")).await.ok();
}

#[tokio::test]
async fn the_new_password_is_judged_as_others_are() {
    let server = TestServer::start_with(&["--password_checker"]).await;
    let client = server.client();
    let old = "quiet Osprey 71 lantern pw-secret-";
    client.create_user_with("alice", "acme", json!({ "password": old })).await.ok();
    let alice = by_password(&client, "alice", old);
    change(&alice, old, "").await.refused(400, "password_invalid");
    change(&alice, old, "short").await.refused(400, "password_too_short");
    change(&alice, old, "password").await.refused(400, "password_weak");
    alice.verify().await.ok();
}

#[tokio::test]
async fn nobody_else_may_and_of_many_at_once_one_does() {
    let server = TestServer::start().await;
    let client = server.client();
    let alice = server.user("alice", "acme").await;
    let body = json!({ "password": password_of("alice"), "new_password": password_of("new") });
    client.post("/change_password", &body).await.refused(401, "unauthorized");
    // The password alone is not enough: it takes a sign-in that holds.
    let names: Vec<_> = (0..8).map(|number| password_of(&format!("new{number}"))).collect();
    let old = password_of("alice");
    let answers = join_all(names.iter().map(|new| change(&alice, &old, new))).await;
    let right: Vec<_> = answers.iter().zip(&names).filter(|(answer, _)| answer.status == 200).collect();
    assert_eq!(right.len(), 1);
    client.login("alice", right[0].1).await.ok();
    revoke(&client, "alice").await;
    change(&alice, right[0].1, &password_of("x")).await.refused(401, "unauthorized");
}

#[tokio::test]
async fn with_two_factor_it_takes_a_code_of_the_app_and_spends_it() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let (old, new) = (password_of("alice"), password_of("new"));
    let change = async |user: &User, old: &str, new: &str, code: &str| {
        user.post("/change_password", json!({ "password": old, "new_password": new, "totp": code })).await
    };
    let alice = signed_in(&client, login_with_code(&client, "alice", &app.code(step())).await);
    change(&alice, &old, &new, &app.wrong_code()).await.refused(401, "unauthorized");
    let code = app.code(step() + 1);
    let alice = signed_in(&client, change(&alice, &old, &new, &code).await);
    change(&alice, &new, &old, &code).await.refused(401, "unauthorized");
    login_with(&client, "alice", &new, &code).await.refused(401, "unauthorized");
    alice.verify().await.ok();
}
