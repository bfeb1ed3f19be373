//! Guards `/sign_up`: who may make an account, and what it costs those who may not.

use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::contract::user_object;
use crate::support::{Answer, Client, TestServer, bare_command, command, password_of, revoke, update};

const OPEN: [&str; 2] = ["--signup=open", "--signup_tenant=acme"];

/// Signs up with [`password_of`] the name, and more fields.
async fn sign_up(client: &Client, username: &str, more: Value) -> Answer {
    let mut body = json!({ "username": username, "password": password_of(username) });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    client.post("/sign_up", &body).await
}

/// An invite that an admin makes.
async fn invite(client: &Client, more: Value) -> String {
    let answer = client.admin("/create_invite", more).await.ok();
    answer.json()["invite"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn nobody_signs_up_unless_the_operator_says_so() {
    let server = TestServer::start().await;
    let answer = sign_up(&server.client(), "alice", json!({})).await.refused(403, "signup_closed");
    assert_eq!(answer.error(), "nobody can sign up here");
    server.client().admin("/create_invite", json!({ "tenant_name": "acme" })).await.refused(403, "signup_closed");
}

#[tokio::test]
async fn whoever_signs_up_is_a_user_like_others_with_the_default_scopes() {
    let server = TestServer::start_with(&[&OPEN[..], &["--default_scopes=news:get,chat/*:post"]].concat()).await;
    let client = server.client();
    let more = json!({
        "email": "alice@example.com", "data": { "color": "red" },
        // Nobody gives themselves rights.
        "scopes": ["*:get"], "tenant_name": "globex", "two_factor": true, "revoked": true,
    });
    assert_eq!(sign_up(&client, "alice", more).await.ok().body, "");
    let user = user_object(&client, "alice").await;
    let expected = json!({
        "username": "alice", "tenant_name": "acme", "email": "alice@example.com", "data": { "color": "red" },
        "scopes": ["news:get", "chat/*:post"], "two_factor": null, "revoked": false,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&user[field], value, "{field}");
    }
    let alice = client.sign_in("alice").await;
    alice.insert("news", json!(1)).await;
    server.says("\"door\":\"sign-up\"").await;
}

#[tokio::test]
async fn names_passwords_and_addresses_are_checked_as_an_admins_are() {
    let server = TestServer::start_with(&OPEN).await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    for (username, more, code) in [
        ("alice", json!({}), "username_taken"),
        ("Alice", json!({}), "username_lookalike"),
        ("а\u{200b}", json!({}), "username_invalid"),
        ("a:b", json!({}), "username_invalid"),
        ("bob", json!({ "password": "short" }), "password_too_short"),
        ("bob", json!({ "password": "" }), "password_invalid"),
        ("bob", json!({ "email": "none" }), "email_invalid"),
        ("bob", json!({ "email": "bob@mailinator.com" }), "email_disposable"),
        ("bob", json!({ "invite": "none" }), "invite_invalid"),
    ] {
        sign_up(&client, username, more).await.refused(400, code);
    }
    sign_up(&client, "bob", json!({ "data": "x".repeat(9000) })).await.refused(413, "body_too_large");
    let users = client.admin("/list_users", json!({})).await.ok().json();
    assert_eq!(users.as_array().unwrap().len(), 1, "a refusal makes nobody");
}

#[tokio::test]
async fn of_many_who_want_one_name_at_once_one_gets_it() {
    let server = TestServer::start_with(&OPEN).await;
    let client = server.client();
    let names = ["carol", "Carol", "CAROL"];
    let answers = join_all((0..16).map(|number| sign_up(&client, names[number % 3], json!({})))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert!(["username_taken", "username_lookalike"].contains(&answer.code().as_str()), "{answer:?}");
    }
}

#[tokio::test]
async fn with_an_invite_one_gets_its_tenant_and_scopes_and_without_one_nothing() {
    let server = TestServer::start_with(&["--signup=invite", "--default_scopes=d:get"]).await;
    let client = server.client();
    sign_up(&client, "alice", json!({})).await.refused(400, "invite_invalid");
    let with_scopes = invite(&client, json!({ "tenant_name": "acme", "scopes": ["news:get"] })).await;
    let without = invite(&client, json!({ "tenant_name": "globex" })).await;
    let none = invite(&client, json!({ "tenant_name": "globex", "scopes": [] })).await;
    for (name, invite, tenant, scopes) in [
        ("alice", with_scopes, "acme", json!(["news:get"])),
        ("bob", without, "globex", json!(["d:get"])),
        ("carol", none, "globex", json!([])),
    ] {
        sign_up(&client, name, json!({ "invite": invite })).await.ok();
        let user = user_object(&client, name).await;
        assert_eq!((&user["tenant_name"], &user["scopes"]), (&json!(tenant), &scopes));
        client.sign_in(name).await;
        sign_up(&client, "dave", json!({ "invite": invite })).await.refused(400, "invite_invalid");
    }
    // Nobody without an invite learns which names are taken.
    sign_up(&client, "alice", json!({ "invite": "wrong" })).await.refused(400, "invite_invalid");
}

#[tokio::test]
async fn of_a_hundred_uses_at_once_of_an_invite_as_many_pass_as_it_has_and_a_refusal_uses_none_up() {
    let server = TestServer::start_with(&["--signup=invite", "--signup_tenant=acme"]).await;
    let client = server.client();
    let (one, three) = (invite(&client, json!({})).await, invite(&client, json!({ "uses": 3 })).await);
    sign_up(&client, "x", json!({ "invite": three, "password": "short" })).await.refused(400, "password_too_short");
    for (invite, uses) in [(&one, 1), (&three, 3)] {
        let names: Vec<_> = (0..100).map(|number| format!("u{uses}n{number}")).collect();
        let answers = join_all(names.iter().map(|name| sign_up(&client, name, json!({ "invite": invite })))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), uses);
        for answer in answers.into_iter().filter(|answer| ![200, 503].contains(&answer.status)) {
            answer.refused(400, "invite_invalid");
        }
    }
    let users = client.admin("/list_users", json!({})).await.ok().json();
    assert_eq!(users.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn an_invite_is_used_up_over_a_restart_and_stands_nowhere_on_the_disk() {
    let server = TestServer::start_with(&["--signup=invite", "--signup_tenant=acme"]).await;
    let client = server.client();
    let (used, open) = (invite(&client, json!({})).await, invite(&client, json!({})).await);
    sign_up(&client, "alice", json!({ "invite": used })).await.ok();
    let stored = server.stored();
    assert!(stored.has("alice") && !stored.has(&used) && !stored.has(&open));
    let server = server.end_and_restart(true).await;
    let client = server.client();
    sign_up(&client, "bob", json!({ "invite": used })).await.refused(400, "invite_invalid");
    sign_up(&client, "bob", json!({ "invite": open })).await.ok();
    assert!(!server.log().contains(&open), "no invite is logged");
}

#[tokio::test]
async fn a_users_invite_lasts_only_while_they_may_make_it() {
    let server = TestServer::start_with(&["--signup=invite"]).await;
    let client = server.client();
    let scopes = json!({ "scopes": ["invite:post", "news:get"] });
    client.create_user_with("alice", "acme", scopes.clone()).await.ok();
    let invites = async || {
        let answer = client.sign_in("alice").await.post("/create_invite", json!({ "uses": 9 })).await.ok();
        answer.json()["invite"].as_str().unwrap().to_owned()
    };
    let invite = invites().await;
    sign_up(&client, "bob", json!({ "invite": invite })).await.ok();
    update(&client, "alice", json!({ "scopes": ["news:get"] })).await;
    sign_up(&client, "carol", json!({ "invite": invite })).await.refused(400, "invite_invalid");
    update(&client, "alice", scopes).await;
    sign_up(&client, "carol", json!({ "invite": invite })).await.ok();
    update(&client, "alice", json!({ "tenant_name": "globex" })).await;
    sign_up(&client, "dave", json!({ "invite": invite })).await.refused(400, "invite_invalid");
    update(&client, "alice", json!({ "tenant_name": "acme" })).await;
    revoke(&client, "alice").await;
    sign_up(&client, "dave", json!({ "invite": invite })).await.refused(400, "invite_invalid");
}

#[tokio::test]
async fn sign_ups_are_limited_by_address_successful_ones_too() {
    let server = TestServer::start_with(&[&OPEN[..], &["--trusted_proxies=127.0.0.1"]].concat()).await;
    let client = server.client();
    let from = async |address: &str, username: &str| {
        let body = json!({ "username": username, "password": password_of(username) }).to_string();
        let headers = [("x-forwarded-for", address)];
        client.request(Method::POST, "/sign_up", &headers, Some(body.into_bytes())).await
    };
    from("192.0.2.1", "alice").await.ok();
    let mut refused = from("192.0.2.1", "alice").await;
    for _ in 0..80 {
        if refused.status == 429 {
            break;
        }
        refused.refused(400, "username_taken");
        refused = from("192.0.2.1", "alice").await;
    }
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=600).contains(&seconds), "{refused:?}");
    refused.refused(429, "too_many_attempts");
    from("192.0.2.1", "bob").await.refused(429, "too_many_attempts");
    from("192.0.2.2", "bob").await.ok();
    // Nobody is kept from signing in by it.
    client.login("alice", &password_of("alice")).await.ok();
}

#[tokio::test]
async fn flags_that_do_not_fit_together_are_refused_at_the_start() {
    for (flags, told) in [
        (&["--signup=open"][..], "signup_tenant is not set"),
        (&["--signup_tenant=acme"], "signup is closed"),
        (&["--signup=open", "--signup_tenant=ac\u{200b}me"], "signup_tenant"),
        (&["--signup=anybody"], "signup"),
    ] {
        let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let started = TestServer::try_start(directory, move |directory| command(&flags, directory)).await;
        let log = started.err().expect("it started");
        assert!(log.contains(told), "{log}");
    }
    // A tenant that looks like one that is there would be refused to everybody who signs up.
    let server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    let directory = server.database();
    let mut server = server;
    server.stop().await;
    let mut command = bare_command(server.directory());
    let flags = ["--host=127.0.0.1", "--port=0", "--ntp_servers=", "--signup=open", "--signup_tenant=Acme"];
    let output = command.args(flags).arg(format!("--db={}", directory.display())).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && log.contains("looks like that of another tenant"), "{log}");
}
