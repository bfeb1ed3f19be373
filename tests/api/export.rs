//! Guards `/export` and `broker export`: users and events of all tenants or of one, a line each, for the admin alone.

mod cut_off;

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, Answer, Client, TestServer, bare_command, insert_large, password_of, transient};

/// The lines of an export with these fields.
async fn export(client: &Client, fields: Value) -> Vec<Value> {
    lines(&client.admin("/export", fields).await.ok())
}

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    of_text(&answer.body)
}

fn of_text(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// What stands out of each line: tenant, name and data of events.
fn events(lines: &[Value]) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = lines.iter().filter(|line| line["kind"] == "event");
    events.map(|line| (text(&line["tenant_name"]), text(&line["event"]), line["data"].clone())).collect()
}

fn expected(events: &[(&str, &str, Value)]) -> Vec<(String, String, Value)> {
    events.iter().map(|(tenant, name, data)| ((*tenant).to_owned(), (*name).to_owned(), data.clone())).collect()
}

/// Two tenants with events of every kind.
async fn world(server: &TestServer) {
    let (alice, carol) = (server.user("alice", "acme").await, server.user("carol", "globex").await);
    server.user("bob", "acme").await;
    alice.insert("plans", json!(1)).await;
    carol.insert("plans", json!("of globex")).await;
    alice.insert("plans", json!(2)).await;
    alice.insert("@bob/mail", json!("for bob")).await;
    alice.insert_raw(transient("cursor", 3)).await.ok();
    alice.insert("gone", json!(4)).await;
    alice.remove("gone").await.ok();
    alice.insert_raw(json!({ "event": "a/short", "data": 5, "expires_in": 1000 })).await.ok();
}

#[tokio::test]
async fn the_latest_events_are_those_of_each_name_in_every_tenant_and_every_inbox() {
    let server = TestServer::start().await;
    world(&server).await;
    let client = server.client();
    let of_acme = [("acme", "@bob/mail", json!("for bob")), ("acme", "a/short", json!(5)), ("acme", "plans", json!(2))];
    let all = export(&client, json!({ "events": "latest" })).await;
    let of_globex = ("globex", "plans", json!("of globex"));
    assert_eq!(events(&all), expected(&[&of_acme[..], &[of_globex]].concat()));
    let short = &all[1];
    let lasts = short["expires_at"].as_u64().unwrap() - short["timestamp"].as_u64().unwrap();
    assert_eq!((lasts, &all[0]["expires_at"], &all[0]["username"]), (1_000_000, &Value::Null, &json!("alice")));
    assert_eq!(
        events(&export(&client, json!({ "events": "latest", "tenant_name": "acme" })).await),
        expected(&of_acme)
    );
    assert_eq!(export(&client, json!({ "events": "latest", "tenant_name": "nobody" })).await, [] as [Value; 0]);
}

#[tokio::test]
async fn the_history_has_all_events_in_their_order_with_removals_and_transient_ones() {
    let server = TestServer::start().await;
    world(&server).await;
    let all = export(&server.client(), json!({ "events": "history" })).await;
    let of_both = [
        ("acme", "plans", json!(1)),
        ("acme", "plans", json!(2)),
        ("acme", "@bob/mail", json!("for bob")),
        ("acme", "cursor", json!(3)),
        ("acme", "gone", json!(4)),
        ("acme", "gone", json!(null)),
        ("acme", "a/short", json!(5)),
        ("globex", "plans", json!("of globex")),
    ];
    assert_eq!(events(&all), expected(&of_both));
    assert_eq!((&all[3]["transient"], &all[5]["removed"]), (&json!(true), &json!(true)));
    let of_one = export(&server.client(), json!({ "events": "history", "tenant_name": "globex" })).await;
    assert_eq!(events(&of_one), expected(&of_both[7..]));
}

#[tokio::test]
async fn users_come_before_events_and_without_secrets_unless_these_are_asked_for() {
    let server = TestServer::start().await;
    world(&server).await;
    let client = server.client();
    client
        .admin("/update_user", json!({ "username": "bob", "data": { "b": 1, "a": 2 }, "two_factor": true }))
        .await
        .ok();
    client.admin("/revoke_user", json!({ "username": "carol" })).await.ok();
    let answer = client.admin("/export", json!({ "users": true, "events": "latest" })).await.ok();
    for secret in ["argon2", "hash", "totp"] {
        assert!(!answer.body.contains(secret), "{secret}");
    }
    let all = lines(&answer);
    let names: Vec<_> = all[..3].iter().map(|line| (line["kind"].as_str(), line["username"].as_str())).collect();
    assert_eq!(names, ["alice", "bob", "carol"].map(|name| (Some("user"), Some(name))));
    assert!(all[3..].iter().all(|line| line["kind"] == "event") && all.len() == 7);
    let bob = json!({
        "kind": "user", "id": all[1]["id"], "username": "bob", "tenant_name": "acme", "email": null, "scopes": null,
        "data": { "b": 1, "a": 2 }, "two_factor": true, "revoked": false,
    });
    assert_eq!((&all[1], &all[2]["revoked"]), (&bob, &json!(true)));
    let secret = export(&client, json!({ "users": true, "hashes": true, "tenant_name": "globex" })).await;
    assert_eq!((secret.len(), &secret[0]["username"]), (1, &json!("carol")));
    assert!(secret[0]["password_hash"].as_str().unwrap().starts_with("$argon2id$"));
    assert_eq!(secret[0]["totp_secret"].as_str().unwrap().len(), 32);
    server.says("export begun").await;
}

#[tokio::test]
async fn nothing_is_given_to_others_or_for_a_request_that_makes_no_sense() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let client = server.client();
    let wanted = json!({ "users": true, "hashes": true });
    client.post("/export", &wanted).await.refused(400, "body_invalid");
    let with_token = json!({ "admin_token": "wrong", "users": true });
    client.post("/export", &with_token).await.refused(401, "admin_token_incorrect");
    alice.post("/export", wanted).await.refused(400, "body_invalid");
    for fields in [
        json!({}),
        json!({ "users": false }),
        json!({ "events": "all" }),
        json!({ "hashes": true, "events": "latest" }),
    ] {
        client.admin("/export", fields).await.refused(400, "body_invalid");
    }
    client.admin("/export", json!({ "users": true, "tenant_name": "" })).await.refused(400, "tenant_name_invalid");
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_no_more_than_a_step() {
    let server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let alice = server.user("alice", "acme").await;
    let names: Vec<_> = (0..60).map(|number| format!("large/{number:03}")).collect();
    insert_large(&alice, &names, 900_000).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    let body = json!({ "admin_token": ADMIN_TOKEN, "events": "history" }).to_string();
    let request = || alice.client.http.post(format!("{}/export", server.url)).body(body.clone()).send();
    let mut unread = Vec::new();
    for _ in 0..8 {
        unread.push(request().await.unwrap());
    }
    // Whoever reads gets all, whatever others do not read.
    let read = Answer::of(request().await.unwrap()).await;
    assert_eq!(events(&lines(&read)).len(), 60);
    assert!(server.peak_above(before) < 60, "{} MiB", server.peak_above(before));
}

#[tokio::test]
async fn the_command_writes_a_file_that_only_its_owner_reads_and_takes_its_url_and_token_by_flags() {
    let server = TestServer::start().await;
    world(&server).await;
    let scratch = tempfile::tempdir().unwrap();
    let (token, file) = (scratch.path().join("token"), scratch.path().join("all.ndjson"));
    std::fs::write(&token, ADMIN_TOKEN).unwrap();
    let run = |more: &[&str]| {
        let mut command = bare_command(scratch.path());
        command.stdout(Stdio::piped());
        command.args(["export", "--url", &server.url, "--admin_token_file", token.to_str().unwrap()]).args(more);
        command.output().unwrap()
    };
    let to_file = run(&["--to", file.to_str().unwrap()]);
    assert!(to_file.status.success(), "{to_file:?}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let written = of_text(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(written, export(&server.client(), json!({ "users": true, "events": "latest" })).await);
    assert!(String::from_utf8_lossy(&to_file.stderr).contains("7 lines exported"), "{to_file:?}");
    let to_output = run(&["--to", "-", "--events", "history", "--tenant", "globex"]);
    let history = of_text(&String::from_utf8(to_output.stdout).unwrap());
    assert_eq!(events(&history), expected(&[("globex", "plans", json!("of globex"))]));
    std::fs::write(&token, "wrong").unwrap();
    let refused = run(&["--to", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&refused.stderr).contains(&password_of("alice")));
    assert_eq!(of_text(&std::fs::read_to_string(&file).unwrap()), written, "the file stays as it was");
}
