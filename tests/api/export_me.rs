//! Guards `/export_me`: everything that is kept of a user, and nothing of others.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, TestServer, User, by_password, insert_large, move_to, password_of, revoke, transient, user_with,
};

/// The lines of an export.
fn lines(answer: Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert!(answer.body.ends_with('\n'));
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// The names and the data of the events of an export.
async fn events(user: &User) -> Vec<(String, Value)> {
    let lines = lines(user.get("/export_me").await.ok());
    let events = lines.into_iter().filter(|line| line["kind"] == "event");
    events.map(|line| (line["event"].as_str().unwrap().to_owned(), line["data"].clone())).collect()
}

#[tokio::test]
async fn it_holds_the_account_the_invites_and_all_events_of_the_user_and_of_the_inbox() {
    let server = TestServer::start_with(&["--signup=invite", "--max_event_bytes=1048576"]).await;
    let client = server.client();
    let alice = user_with(&server, "alice", &["invite:post"]).await;
    let bob = server.user("bob", "acme").await;
    alice.post("/create_invite", json!({ "uses": 3 })).await.ok();
    bob.insert("news", json!("of bob")).await;
    let first = alice.insert("news", json!({ "b": 1, "a": 2 })).await;
    alice.insert("news", json!("second")).await;
    bob.insert("news", json!("of bob again")).await;
    alice.insert_raw(transient("cursor", 1)).await.ok();
    alice.insert("gone", json!(1)).await;
    alice.remove("gone").await.ok();
    bob.insert("@alice/mail", json!("for alice")).await;
    alice.insert("@bob/mail", json!("for bob")).await;
    bob.insert("@bob/own", json!("of bob")).await;
    let large = "x".repeat(900_000);
    alice.insert("large", json!(large)).await;

    for user in [&alice, &by_password(&client, "alice", &password_of("alice"))] {
        let answer = user.get("/export_me").await.ok();
        for secret in ["argon2", "password", "totp_secret", "***"] {
            assert!(!answer.body.contains(secret), "{secret}");
        }
        let lines = lines(answer);
        let mut me = alice.get("/me").await.json();
        me["kind"] = json!("user");
        assert_eq!(lines[0], me);
        let invite = &lines[1];
        assert_eq!((&invite["kind"], &invite["uses_left"]), (&json!("invite"), &json!(3)));
        let event = lines.iter().find(|line| line["id"] == json!(first)).unwrap();
        let expected = json!({
            "kind": "event", "tenant_name": "acme", "event": "news", "data": { "b": 1, "a": 2 }, "id": first,
            "timestamp": event["timestamp"], "username": "alice",
        });
        assert_eq!(*event, expected);
        assert!(lines.iter().all(|line| ["user", "invite", "event"].contains(&line["kind"].as_str().unwrap())));
        let removal = lines.iter().find(|line| line["removed"] == json!(true)).unwrap();
        assert_eq!(removal["event"], "gone");
    }
    let expected = [
        ("news", json!({ "b": 1, "a": 2 })),
        ("news", json!("second")),
        ("cursor", json!(1)),
        ("gone", json!(1)),
        ("gone", json!(null)),
        ("@alice/mail", json!("for alice")),
        ("@bob/mail", json!("for bob")),
        ("large", json!(large)),
    ];
    assert_eq!(events(&alice).await, expected.map(|(name, data)| (name.to_owned(), data)));
}

#[tokio::test]
async fn sessions_are_in_it_as_their_user_sees_them() {
    let server = TestServer::start().await;
    let client = server.client();
    client.create_user("alice", "acme").await;
    let body = json!({ "username": "alice", "password": password_of("alice"), "refresh": true });
    let session = client.post("/login", &body).await.ok().json();
    let alice = client.with_authorization(&format!("Bearer {}", session["jwt"].as_str().unwrap()));
    let mut expected = alice.get("/sessions").await.ok().json()[0].clone();
    expected["kind"] = json!("session");
    let answer = alice.get("/export_me").await.ok();
    assert!(!answer.body.contains(session["refresh_token"].as_str().unwrap()));
    let lines = lines(answer);
    assert_eq!((lines.len(), &lines[1]), (2, &expected));
    assert_eq!(lines[1]["current"], true);
}

#[tokio::test]
async fn a_user_who_has_moved_gets_the_own_events_of_both_tenants_and_the_inbox_of_now() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice", "acme").await, server.user("bob", "acme").await);
    let carol = server.user("carol", "globex").await;
    alice.insert("plans", json!("of alice at acme")).await;
    bob.insert("@alice/mail", json!("for alice at acme")).await;
    bob.insert("plans/2", json!("of bob")).await;
    move_to(&server.client(), "alice", "globex").await;
    carol.insert("@alice/mail", json!("for alice at globex")).await;
    carol.insert("plans", json!("of carol")).await;
    alice.insert("plans", json!("of alice at globex")).await;
    let lines = lines(alice.get("/export_me").await.ok());
    let texts: Vec<_> = lines[1..].iter().map(|line| (&line["tenant_name"], &line["data"])).collect();
    let expected = [("acme", "of alice at acme"), ("globex", "for alice at globex"), ("globex", "of alice at globex")]
        .map(|(tenant, text)| (json!(tenant), json!(text)));
    assert_eq!(texts, expected.iter().map(|(tenant, text)| (tenant, text)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_large_export_is_read_in_steps_and_breaks_off_when_the_right_ends() {
    let server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let alice = server.user("alice", "acme").await;
    let names: Vec<_> = (0..60).map(|number| format!("large/{number:03}")).collect();
    insert_large(&alice, &names, 900_000).await;
    let before = server.resident_mebibytes();
    server.forget_peak();
    assert_eq!(events(&alice).await.len(), 60);
    let grown = server.peak_above(before);
    assert!(grown < 40, "{grown} MiB for an export of 54 MB");
    // A body that nobody has read to its end.
    let request = alice.client.http.get(format!("{}/export_me", server.url));
    let mut response = request.header("authorization", &alice.authorization).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    revoke(&server.client(), "alice").await;
    let mut is_whole = true;
    loop {
        match response.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(_) => {
                is_whole = false;
                break;
            }
        }
    }
    assert!(!is_whole, "the export went on to its end");
}

#[tokio::test]
async fn only_whoever_is_signed_in_may_and_head_has_no_body() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    server.client().get("/export_me").await.refused(401, "unauthorized");
    let head = alice.send(Method::HEAD, "/export_me", &[], None).await.ok();
    assert_eq!((head.header("content-type"), head.body.as_str()), (Some("application/x-ndjson"), ""));
    assert_eq!(lines(alice.get("/export_me").await.ok()).len(), 1, "of a user who did nothing");
}
