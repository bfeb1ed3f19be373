//! Guards `/two_factor_end`, and recovery codes.

use futures_util::future::join_all;
use serde_json::json;

use crate::identity::{login_with_code, step};
use crate::support::{Answer, Client, TestServer, User, after_kill, password_of, update};
use crate::two_factor_confirm::switched_on;

async fn login_with_recovery(client: &Client, code: &str) -> Answer {
    let body = json!({ "username": "alice", "password": password_of("alice"), "recovery_code": code });
    client.post("/login", &body).await
}

async fn end(user: &User, by: &str, code: &str) -> Answer {
    user.post("/two_factor_end", &json!({ "password": password_of("alice"), by: code })).await
}

#[tokio::test]
async fn its_owner_switches_it_off_with_the_password_and_a_code_and_stays_signed_in() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (app, alice, codes) = switched_on(&alice, "alice").await;
    let mut stream = alice.stream().await;
    let password = password_of("alice");
    alice.post("/two_factor_end", &json!({ "password": password })).await.refused(401, "totp_required");
    alice.post("/two_factor_end", &json!({ "password": "wrong" })).await.refused(401, "unauthorized");
    let right = app.code(step() + 1);
    let wrong_password = json!({ "password": "wrong", "totp": right });
    alice.post("/two_factor_end", &wrong_password).await.refused(401, "unauthorized");
    end(&alice, "totp", &app.wrong_code()).await.refused(401, "unauthorized");
    end(&alice, "recovery_code", "0000-0000-0000-0000").await.refused(401, "unauthorized");
    let both = json!({ "password": password, "totp": right, "recovery_code": codes[0] });
    alice.post("/two_factor_end", &both).await.refused(400, "body_invalid");
    let ended = end(&alice, "totp", &right).await.ok();
    assert_eq!(ended.body, "");
    assert_eq!(alice.doors().await, [200; 3]);
    let id = alice.insert("news", json!(1)).await;
    while stream.next().await.id != id {}
    alice.client.sign_in("alice").await;
    end(&alice, "totp", &right).await.refused(409, "two_factor_off");

    // The recovery codes have gone with it: another secret, and other codes.
    let (app, alice, other) = switched_on(&alice, "alice").await;
    assert!(codes.iter().all(|code| !other.contains(code)));
    for code in &codes[..3] {
        login_with_recovery(&alice.client, code).await.refused(401, "unauthorized");
    }
    login_with_recovery(&alice.client, &other[0]).await.ok();
    login_with_code(&alice.client, "alice", &app.code(step() + 1)).await.ok();
}

#[tokio::test]
async fn a_code_that_signed_in_does_not_switch_it_off_nor_the_other_way_round_over_a_restart() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (app, alice, codes) = switched_on(&alice, "alice").await;
    let used = app.code(step() + 1);
    login_with_code(&alice.client, "alice", &used).await.ok();
    login_with_recovery(&alice.client, &codes[0]).await.ok();
    end(&alice, "totp", &used).await.refused(401, "unauthorized");
    end(&alice, "recovery_code", &codes[0]).await.refused(401, "unauthorized");
    let (_server, alice) = after_kill(server, &alice).await;
    end(&alice, "totp", &used).await.refused(401, "unauthorized");
    end(&alice, "recovery_code", &codes[0]).await.refused(401, "unauthorized");
    // A wrong password spends none.
    let body = json!({ "password": "wrong", "recovery_code": codes[1] });
    alice.post("/two_factor_end", &body).await.refused(401, "unauthorized");
    end(&alice, "recovery_code", &codes[1]).await.ok();
}

#[tokio::test]
async fn each_recovery_code_works_once_however_it_is_typed_also_after_a_restart() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (_, alice, codes) = switched_on(&alice, "alice").await;
    let typed = |code: &str| code.to_uppercase().replace('-', " ");
    login_with_recovery(&alice.client, &codes[0]).await.ok();
    login_with_recovery(&alice.client, &typed(&codes[1])).await.ok();
    let (server, alice) = after_kill(server, &alice).await;
    for used in [&codes[0], &codes[1], &typed(&codes[0])] {
        login_with_recovery(&alice.client, used).await.refused(401, "unauthorized");
    }
    // A recovery code is no code of the app, and the other way round.
    login_with_code(&alice.client, "alice", &codes[2]).await.refused(401, "unauthorized");
    for code in &codes[2..9] {
        login_with_recovery(&alice.client, code).await.ok();
    }
    end(&alice, "recovery_code", &codes[9]).await.ok();
    alice.client.sign_in("alice").await;
    // What is stored is no code.
    let stored = server.stored();
    assert!(stored.has("alice") && codes.iter().all(|code| !stored.has(code)));
}

#[tokio::test]
async fn a_hundred_uses_of_one_recovery_code_at_once_are_one_use() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (_, alice, codes) = switched_on(&alice, "alice").await;
    let answers = join_all((0..100).map(|_| login_with_recovery(&alice.client, &codes[0]))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    // The others were wrong, or too many.
    assert!(answers.iter().all(|answer| [200, 401, 429, 503].contains(&answer.status)));
    // Every way that takes a code shares the limit of codes.
    end(&alice, "recovery_code", &codes[1]).await.refused(429, "too_many_attempts");
}

#[tokio::test]
async fn a_recovery_code_is_taken_wherever_a_code_is_and_is_good_once_at_all_of_them() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (_, alice, codes) = switched_on(&alice, "alice").await;
    let old = password_of("alice");
    let change = async |user: &User, code: &str, old: &str, new: &str| {
        let body = json!({ "password": old, "new_password": new, "recovery_code": code });
        user.post("/change_password", &body).await
    };
    login_with_recovery(&alice.client, &codes[0]).await.ok();
    change(&alice, &codes[0], &old, &password_of("new")).await.refused(401, "unauthorized");
    let without = json!({ "password": old, "new_password": password_of("new") });
    alice.post("/change_password", &without).await.refused(401, "totp_required");
    // A password that is refused spends no code.
    change(&alice, &codes[1], &old, "short").await.refused(400, "password_too_short");
    let jwt = change(&alice, &codes[1], &old, &password_of("new")).await.jwt();
    let alice = alice.client.with_authorization(&format!("Bearer {jwt}"));
    let new = password_of("new");
    change(&alice, &codes[1], &new, &old).await.refused(401, "unauthorized");
    let delete = async |code: &str| alice.post("/delete_me", &json!({ "password": new, "recovery_code": code })).await;
    delete(&codes[1]).await.refused(401, "unauthorized");
    delete(&codes[2]).await.ok();
}

#[tokio::test]
async fn of_many_that_switch_it_off_with_one_code_at_once_one_does() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (_, alice, codes) = switched_on(&alice, "alice").await;
    let ends = join_all((0..20).map(|_| end(&alice, "recovery_code", &codes[1]))).await;
    assert_eq!(ends.iter().filter(|answer| answer.status == 200).count(), 1);
}

#[tokio::test]
async fn an_admin_who_switches_it_off_takes_the_recovery_codes_with_it() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (app, alice, codes) = switched_on(&alice, "alice").await;
    update(&alice.client, "alice", json!({ "two_factor": false })).await;
    assert_eq!(alice.doors().await, [200; 3]);
    update(&alice.client, "alice", json!({ "two_factor": true })).await;
    login_with_recovery(&alice.client, &codes[0]).await.refused(401, "unauthorized");
    // The secret that its owner confirmed is the one that `create_qr` shows.
    login_with_code(&alice.client, "alice", &app.code(step() + 1)).await.ok();
    let scanned = crate::identity::Authenticator::scan(&alice.client, "alice", "Acme").await;
    assert_eq!(scanned.secret(), app.secret());
}
