//! Guards `/two_factor_confirm`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::identity::{Authenticator, login_with_code, other_than, step};
use crate::sse_ticket::ticket_of;
use crate::support::{
    TestServer, User, after_kill, by_password, password_of, revoke, unrevoke, until_throttled, update,
};
use crate::two_factor_begin::begin;

/// Switches two-factor on: the app, the user with the new token, and the recovery codes.
pub async fn switched_on(user: &User, username: &str) -> (Authenticator, User, Vec<String>) {
    let app = begin(user, username).await;
    let answer = user.post("/two_factor_confirm", &json!({ "totp": app.code(step()) })).await.ok().json();
    let user = user.client.with_authorization(&format!("Bearer {}", answer["jwt"].as_str().unwrap()));
    (app, user, codes(&answer))
}

fn codes(answer: &Value) -> Vec<String> {
    answer["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_code_of_the_app_switches_it_on_ends_every_sign_in_and_signs_in_anew() {
    let server = TestServer::start().await;
    let before = server.user("alice", "acme").await;
    let other = before.client.sign_in("alice").await;
    let basic = by_password(&before.client, "alice", &password_of("alice"));
    let ticket = ticket_of(&before).await;
    let mut streams = [before.stream().await, other.stream().await, basic.stream().await];
    let app = begin(&before, "alice").await;
    let answer = before.post("/two_factor_confirm", &json!({ "totp": app.code(step()) })).await.ok().json();
    let fields: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["jwt", "recovery_codes"]);
    let codes = codes(&answer);
    assert_eq!(codes.len(), 10);
    assert!(codes.iter().all(|code| code.len() >= 16 && codes.iter().filter(|other| *other == code).count() == 1));
    // A token from before it was switched on is dead, and so is everything else.
    for stream in &mut streams {
        stream.ends_now().await;
    }
    for user in [&before, &other, &basic] {
        assert_eq!(user.doors().await, [401; 3]);
    }
    let by_ticket = before.client.get(&format!("/sse?ticket={ticket}")).await;
    assert_eq!(by_ticket.status, 401);
    let after = before.client.with_authorization(&format!("Bearer {}", answer["jwt"].as_str().unwrap()));
    assert_eq!(after.doors().await, [200; 3]);
    before.client.login("alice", &password_of("alice")).await.refused(401, "totp_required");
    let shown = before.client.admin("/get_user", json!({ "username": "alice" })).await.ok();
    assert_eq!(shown.json()["two_factor"], true);
    assert!(codes.iter().all(|code| !shown.body.contains(code.as_str())));
}

#[tokio::test]
async fn the_code_that_confirmed_is_spent_also_after_a_restart() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let app = begin(&alice, "alice").await;
    let now = step();
    alice.post("/two_factor_confirm", &json!({ "totp": app.code(now) })).await.ok();
    login_with_code(&alice.client, "alice", &app.code(now)).await.refused(401, "unauthorized");
    let (server, alice) = after_kill(server, &alice).await;
    login_with_code(&alice.client, "alice", &app.code(now)).await.refused(401, "unauthorized");
    login_with_code(&alice.client, "alice", &app.code(now + 1)).await.ok();
    drop(server);
}

#[tokio::test]
async fn it_may_begin_a_session_in_the_place_of_those_that_it_ends() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let body = json!({ "username": "alice", "password": password_of("alice"), "refresh": true });
    let session = client.post("/login", &body).await.ok().json();
    let bearer = |answer: &Value| client.with_authorization(&format!("Bearer {}", answer["jwt"].as_str().unwrap()));
    let refresh =
        async |answer: &Value| client.post("/refresh", &json!({ "refresh_token": answer["refresh_token"] })).await;
    let alice = bearer(&session);
    let app = begin(&alice, "alice").await;
    let body = json!({ "totp": app.code(step()), "refresh": true });
    let answer = alice.post("/two_factor_confirm", &body).await.ok().json();
    assert_eq!(codes(&answer).len(), 10);
    refresh(&session).await.refused(401, "session_ended");
    assert_eq!(alice.doors().await, [401; 3]);
    assert_eq!(bearer(&answer).doors().await, [200; 3]);
    let refreshed = refresh(&answer).await.ok().json();
    assert_eq!(refreshed["session"], answer["session"]);
    assert_eq!(bearer(&refreshed).get("/sessions").await.ok().json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_not_begun_or_is_on_already_cannot_be_confirmed() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    alice.post("/two_factor_confirm", &json!({ "totp": "123456" })).await.refused(409, "two_factor_not_begun");
    alice.post("/two_factor_confirm", "{}").await.refused(400, "body_invalid");
    alice.client.post("/two_factor_confirm", &json!({ "totp": "123456" })).await.refused(401, "unauthorized");
    let app = begin(&alice, "alice").await;
    // An admin switched it on meanwhile, with the secret of `create_qr`.
    update(&alice.client, "alice", json!({ "two_factor": true })).await;
    alice.post("/two_factor_confirm", &json!({ "totp": app.code(step()) })).await.refused(401, "unauthorized");
    let of_admin = Authenticator::scan(&alice.client, "alice", "Acme").await;
    let jwt = login_with_code(&alice.client, "alice", &of_admin.code(step())).await.jwt();
    let alice = alice.client.with_authorization(&format!("Bearer {jwt}"));
    alice.post("/two_factor_confirm", &json!({ "totp": app.code(step()) })).await.refused(409, "two_factor_on");
}

#[tokio::test]
async fn a_new_password_or_a_revocation_forgets_what_was_begun() {
    let server = TestServer::start().await;
    let client = server.client();
    for revokes in [true, false] {
        let name = format!("user{revokes}");
        let user = server.user(&name, "acme").await;
        let app = begin(&user, &name).await;
        if revokes {
            revoke(&client, &name).await;
            unrevoke(&client, &name).await;
        } else {
            update(&client, &name, json!({ "password": password_of(&name) })).await;
        }
        let user = client.sign_in(&name).await;
        user.post("/two_factor_confirm", &json!({ "totp": app.code(step()) }))
            .await
            .refused(409, "two_factor_not_begun");
    }
}

#[tokio::test]
async fn of_many_confirmations_at_once_one_passes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let app = begin(&alice, "alice").await;
    let body = json!({ "totp": app.code(step()) });
    let answers = join_all((0..20).map(|_| alice.post("/two_factor_confirm", &body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| [200, 401].contains(&answer.status)));
}

#[tokio::test]
async fn guesses_are_bounded_and_share_their_allowance_with_other_codes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let app = begin(&alice, "alice").await;
    let mut wrong = app.wrong_code();
    for _ in 0..20 {
        alice.post("/two_factor_confirm", &json!({ "totp": wrong })).await.refused(401, "unauthorized");
        wrong = other_than(&wrong);
        while (step() - 1..step() + 3).any(|step| app.code(step) == wrong) {
            wrong = other_than(&wrong);
        }
    }
    until_throttled(async || alice.post("/two_factor_confirm", &json!({ "totp": wrong })).await).await;
    let right = json!({ "totp": app.code(step()) });
    alice.post("/two_factor_confirm", &right).await.refused(429, "too_many_attempts");
    // Passwords have their own.
    alice.client.sign_in("alice").await;
}
