//! Guards the audit log: every sign-in, and every act of an admin.

use serde_json::json;

use super::{begin_sign_in, by_password, lines, reset, visits};
use crate::support::{TestServer, eventually, password_of};

#[tokio::test]
async fn each_sign_in_is_a_line_with_user_address_and_outcome() {
    let server = TestServer::start_with(&["--log=info"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    client
        .post("/list_users", &json!({ "admin_token": "pw-secret-guess" }))
        .await
        .refused(401, "admin_token_incorrect");
    client.login("alice", "pw-secret-wrong").await.refused(401, "unauthorized");
    client.login("nobody", "pw-secret-wrong").await.refused(401, "unauthorized");
    client.login("not a name:\n{\"level\":\"FORGED\"}", "pw-secret-wrong").await.refused(401, "unauthorized");
    by_password(&client, "alice", "pw-secret-wrong").verify().await.refused(401, "unauthorized");
    reset(&client, "alice", &password_of("new"), "000000").await.refused(401, "unauthorized");
    client.sign_in("alice").await;
    let code = client.admin("/create_totp", json!({ "username": "alice" })).await.ok().json()["totp"].clone();
    reset(&client, "alice", &password_of("alice"), code.as_str().unwrap()).await.ok();
    client.admin("/revoke_user", json!({ "username": "alice" })).await.ok();
    client.login("alice", &password_of("alice")).await.refused(401, "unauthorized");
    let expected = [
        ["admin token", "-", "admin_token_incorrect"],
        ["sign-in", "alice", "unauthorized"],
        ["sign-in", "nobody", "unauthorized"],
        ["sign-in", "-", "unauthorized"],
        ["basic", "alice", "unauthorized"],
        ["password reset", "alice", "unauthorized"],
        ["sign-in", "alice", "ok"],
        ["password reset", "alice", "ok"],
        ["sign-in", "alice", "unauthorized"],
    ];
    eventually("the last of them", || visits(&server).len() >= expected.len()).await;
    assert_eq!(visits(&server), expected.map(|line| line.map(str::to_owned)));
    for line in lines(&server, "broker::access") {
        assert!(line["level"] == "INFO" && line["address"] == "127.0.0.1", "{line}");
    }
    assert!(!server.log().contains("FORGED"));
}

#[tokio::test]
async fn a_client_that_hangs_up_before_the_answer_leaves_a_line_too() {
    let server = TestServer::start_with(&["--log=info"]).await;
    let is_gone = || visits(&server).iter().any(|line| line[2] == "gone");
    for number in 0..1000 {
        drop(begin_sign_in(&server, &format!("user{number}"), "pw-secret-guess").await);
        // Meanwhile the server has come round to it, on whichever of its threads it is.
        for _ in 0..3 {
            server.client().get("/").await;
        }
        if is_gone() {
            return;
        }
    }
    panic!("nobody is gone: {}", server.log());
}

#[tokio::test]
async fn each_act_of_an_admin_is_a_line_with_the_user_it_was_done_to() {
    let server = TestServer::start_with(&["--log=info"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let of_alice = || json!({ "username": "alice" });
    client.admin("/update_user", json!({ "username": "alice", "password": password_of("new") })).await.ok();
    client.admin("/revoke_user", of_alice()).await.ok();
    client.admin("/unrevoke_user", of_alice()).await.ok();
    client.admin("/create_totp", of_alice()).await.ok();
    client.admin("/create_qr", json!({ "username": "alice", "issuer": "acme" })).await.ok();
    client.admin("/revoke_user", json!({ "username": "nobody" })).await.refused(400, "user_unknown");
    // All of them, however many come at once.
    for number in 0..30 {
        client.create_user(&format!("user{number}"), "acme").await;
    }
    let done = || lines(&server, "broker::admin");
    eventually("the last of them", || done().len() >= 37).await;
    let acts: Vec<_> = done().iter().take(8).map(|line| line["message"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        acts,
        [
            "user created",
            "user updated",
            "user revoked",
            "user unrevoked",
            "reset code made",
            "QR code made",
            "user not revoked",
            "user created"
        ]
    );
    assert!(done().iter().take(6).all(|line| line["user"] == "alice" && line["address"] == "127.0.0.1"));
    assert_eq!(done().len(), 37);
}

#[tokio::test]
async fn what_an_admin_was_refused_is_a_line_with_the_reason() {
    let server = TestServer::start_with(&["--log=info"]).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let wrong = json!({ "admin_token": "pw-secret-guess", "username": "alice" });
    client.post("/revoke_user", &wrong).await.refused(401, "admin_token_incorrect");
    for (path, body, status, code) in [
        ("/revoke_user", json!({ "username": "nobody" }), 400, "user_unknown"),
        ("/unrevoke_user", json!({ "username": "not a name:\nFORGED" }), 400, "user_unknown"),
        ("/update_user", json!({ "username": "nobody" }), 400, "user_unknown"),
        ("/create_totp", json!({ "username": "nobody" }), 401, "unauthorized"),
        ("/create_qr", json!({ "username": "alice", "issuer": ":" }), 400, "issuer_invalid"),
    ] {
        client.admin(path, body).await.refused(status, code);
    }
    client.create_user_with("alice", "acme", json!({})).await.refused(400, "username_taken");
    let done = || lines(&server, "broker::admin");
    eventually("the last of them", || done().len() >= 7).await;
    let told: Vec<_> = done()
        .iter()
        .map(|line| {
            assert!(line["level"] == "INFO" && line["address"] == "127.0.0.1", "{line}");
            ["message", "user", "outcome"].map(|field| line[field].as_str().unwrap_or("-").to_owned())
        })
        .collect();
    let expected = [
        ["user created", "alice", "ok"],
        ["user not revoked", "nobody", "user_unknown"],
        ["user not unrevoked", "-", "user_unknown"],
        ["user not updated", "nobody", "user_unknown"],
        ["reset code not made", "nobody", "unauthorized"],
        ["QR code not made", "alice", "issuer_invalid"],
        ["user not created", "alice", "username_taken"],
    ];
    assert_eq!(told, expected.map(|line| line.map(str::to_owned)));
    assert_eq!(visits(&server), [["admin token", "-", "admin_token_incorrect"].map(str::to_owned)]);
    assert!(!server.log().contains("FORGED"));
}

#[tokio::test]
async fn guesses_in_a_flood_are_a_few_lines_and_that_they_are_throttled_is_one_of_them() {
    let server = TestServer::start_with(&["--log=info"]).await;
    let client = server.client();
    for number in 0..300 {
        client.post("/list_users", &json!({ "admin_token": "pw-secret-guess" })).await;
        if number < 25 {
            client.login("alice", "pw-secret-wrong").await;
        }
    }
    // A line that is there in any case comes after any of these.
    client.create_user("last", "acme").await;
    eventually("the last line", || !lines(&server, "broker::admin").is_empty()).await;
    let visits = visits(&server);
    let count = |door: &str, outcome: &str| visits.iter().filter(|line| line[0] == door && line[2] == outcome).count();
    assert!((1..=20).contains(&count("sign-in", "unauthorized")));
    assert!(count("sign-in", "too_many_attempts") >= 1);
    assert!((10..100).contains(&count("admin token", "admin_token_incorrect")), "ten in ten seconds");
}

#[tokio::test]
async fn what_users_do_to_their_own_account_is_told_apart() {
    let server = TestServer::start_with(&["--log=info", "--signup=invite"]).await;
    let client = server.client();
    client.create_user_with("alice", "acme", json!({ "scopes": ["invite:post"] })).await.ok();
    let alice = client.sign_in("alice").await;
    alice.post("/update_me", json!({ "data": 1 })).await.ok();
    alice.post("/create_invite", json!({})).await.ok();
    let (_, alice, codes) = crate::two_factor_confirm::switched_on(&alice, "alice").await;
    let end = json!({ "password": password_of("alice"), "recovery_code": codes[0] });
    alice.post("/two_factor_end", &end).await.ok();
    let told = || lines(&server, "broker::access");
    eventually("the last of them", || told().len() >= 6).await;
    let told: Vec<_> = told().iter().map(|line| [&line["door"], &line["message"]].map(ToString::to_string)).collect();
    let expected = [
        ["sign-in", "let in"],
        ["account", "data changed"],
        ["account", "invite made"],
        ["two-factor begin", "let in"],
        ["two-factor on", "let in"],
        ["two-factor off", "let in"],
    ];
    assert_eq!(told, expected.map(|line| line.map(|text| format!("\"{text}\""))));
}
