//! Guards `/delete_me`: whoever knows the password deletes the own account. What then goes is in `delete_user`.

use futures_util::future::join_all;
use serde_json::json;

use crate::identity::{login_with, step, with_two_factor};
use crate::support::{Answer, TestServer, User, by_password, password_of, revoke, until, until_throttled};

async fn delete(user: &User, password: &str) -> Answer {
    user.post("/delete_me", json!({ "password": password })).await
}

#[tokio::test]
async fn a_user_who_is_gone_is_nobody() {
    let server = TestServer::start_with(&["--name_quarantine=0"]).await;
    let client = server.client();
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut streams = [alice.stream().await, client.sign_in("alice").await.stream().await];
    assert_eq!(delete(&alice, &password_of("alice")).await.ok().body, "");
    for stream in &mut streams {
        assert_eq!(stream.ends_now().await, []);
    }
    for earlier in [&alice, &by_password(&client, "alice", &password_of("alice"))] {
        assert_eq!(earlier.doors().await, [401; 3]);
    }
    client.login("alice", &password_of("alice")).await.refused(401, "unauthorized");
    client.admin("/get_user", json!({ "username": "alice" })).await.refused(400, "user_unknown");
    bob.try_insert("@alice/x", json!(1)).await.refused(404, "inbox_unknown");
    // The name is free once everything is erased. Another who gets it is not let in by what the first one had.
    until("the name to be free", async || {
        let answer = client.create_user_with("alice", "acme", json!({})).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(alice.doors().await, [401; 3]);
    let other = client.sign_in("alice").await;
    assert_eq!(other.doors().await, [200; 3]);
    let server = server.end_and_restart(true).await;
    assert_eq!(crate::support::again(&server, &alice).doors().await, [401; 3]);
    assert_eq!(crate::support::again(&server, &other).doors().await, [200; 3]);
}

#[tokio::test]
async fn sessions_of_a_user_who_is_gone_have_ended() {
    let server = TestServer::start_with(&["--name_quarantine=0"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let body = json!({ "username": "alice", "password": password_of("alice"), "refresh": true });
    let session = client.post("/login", &body).await.ok().json();
    let alice = client.with_authorization(&format!("Bearer {}", session["jwt"].as_str().unwrap()));
    delete(&alice, &password_of("alice")).await.ok();
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    client.post("/refresh", &refresh).await.refused(401, "session_ended");
    alice.get("/sessions").await.refused(401, "unauthorized");
    until("the name to be free", async || {
        let answer = client.create_user_with("alice", "acme", json!({})).await;
        (answer.status == 200).then_some(())
    })
    .await;
    client.post("/refresh", &refresh).await.refused(401, "session_ended");
    assert_eq!(client.sign_in("alice").await.get("/sessions").await.ok().json(), json!([]));
}

#[tokio::test]
async fn it_takes_the_password_and_wrong_ones_count() {
    let server = TestServer::start().await;
    let client = server.client();
    let alice = server.user("alice", "acme").await;
    server.user("bob", "acme").await;
    client.post("/delete_me", &json!({ "password": password_of("alice") })).await.refused(401, "unauthorized");
    delete(&alice, &password_of("bob")).await.refused(401, "unauthorized");
    for _ in 1..20 {
        delete(&alice, "wrong").await.refused(401, "unauthorized");
    }
    until_throttled(async || delete(&alice, "wrong").await).await;
    delete(&alice, &password_of("alice")).await.refused(429, "too_many_attempts");
    assert_eq!(alice.doors().await, [200; 3]);
}

#[tokio::test]
async fn with_two_factor_it_takes_a_code_which_works_once() {
    let server = TestServer::start().await;
    let client = server.client();
    let app = with_two_factor(&client, "alice").await;
    let now = step();
    let code = app.code(now);
    let jwt = login_with(&client, "alice", &password_of("alice"), &code).await.jwt();
    let alice = client.with_authorization(&format!("Bearer {jwt}"));
    delete(&alice, &password_of("alice")).await.refused(401, "totp_required");
    for wrong in [&code, &app.wrong_code()] {
        let body = json!({ "password": password_of("alice"), "totp": wrong });
        alice.post("/delete_me", body).await.refused(401, "unauthorized");
    }
    alice.verify().await.ok();
    let body = json!({ "password": password_of("alice"), "totp": app.code(now + 1) });
    alice.post("/delete_me", body).await.ok();
    alice.verify().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn of_many_at_once_one_deletes_and_a_revoked_user_deletes_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let password = password_of("alice");
    let answers = join_all((0..8).map(|_| delete(&alice, &password))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    let bob = server.user("bob", "acme").await;
    revoke(&server.client(), "bob").await;
    delete(&bob, &password_of("bob")).await.refused(401, "unauthorized");
    server.client().admin("/get_user", json!({ "username": "bob" })).await.ok();
}
