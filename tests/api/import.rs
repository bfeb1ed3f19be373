//! Guards `/import` and `broker import`: lines become users and events, once each, whatever breaks, and in bounded memory.

mod cut_off;
mod guides;
mod hashes;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, Answer, Client, TestServer, bare_command, password_of, until, update};

/// The lines of an import.
pub fn body(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

pub fn event(name: &str, data: impl Into<Value>) -> Value {
    json!({ "kind": "event", "tenant_name": "acme", "event": name, "data": data.into() })
}

pub fn user(name: &str, more: Value) -> Value {
    let mut user = json!({ "kind": "user", "username": name, "tenant_name": "acme" });
    user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    user
}

fn headers(name: &str) -> [(&'static str, String); 2] {
    [("authorization", format!("Bearer {ADMIN_TOKEN}")), ("idempotency-key", name.to_owned())]
}

pub async fn import(client: &Client, name: &str, body: impl Into<Vec<u8>>) -> Answer {
    let headers = headers(name);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    client.request(Method::POST, "/import", &headers, Some(body.into())).await
}

/// Runs `broker import`, beside the file with the admin token.
fn by_command(server: &TestServer, token: &Path, more: &[&str], input: Stdio) -> Output {
    let mut command = bare_command(token.parent().unwrap());
    command.stdout(Stdio::piped()).stdin(input);
    command.args(["import", "--url", &server.url, "--admin_token_file", token.to_str().unwrap()]).args(more);
    command.output().unwrap()
}

/// The refused lines with their codes, and the summary.
pub fn outcome(answer: Answer) -> (Vec<(u64, String)>, Value) {
    let mut lines: Vec<Value> = answer.ok().body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    let refused = |line: Value| {
        assert!(!line["error"].as_str().unwrap().is_empty());
        (line["line"].as_u64().unwrap(), line["code"].as_str().unwrap().to_owned())
    };
    (lines.into_iter().map(refused).collect(), summary)
}

fn summary(lines: u64, imported: u64, refused: u64) -> Value {
    json!({ "lines": lines, "imported": imported, "refused": refused, "complete": true })
}

/// The names, the data and the authors of the events of a tenant, in their order.
async fn history(client: &Client, tenant: &str) -> Vec<(String, Value, String)> {
    let body = client.admin("/export", json!({ "events": "history", "tenant_name": tenant })).await.ok().body;
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        (text("event"), line["data"].clone(), text("username"))
    };
    body.lines().map(line).collect()
}

#[tokio::test]
async fn an_export_is_imported_by_another_server_with_users_events_and_their_order() {
    let (from, to) = (TestServer::start().await, TestServer::start().await);
    let (client, other) = (from.client(), to.client());
    let alice = from.user("alice", "acme").await;
    from.user("bob", "globex").await;
    update(
        &client,
        "bob",
        json!({ "username": "bob", "data": { "b": 1, "a": 2 }, "scopes": ["*:get"], "email": "bob@example.org" }),
    )
    .await;
    client.admin("/revoke_user", json!({ "username": "bob" })).await.ok();
    for (name, data) in [("b", json!(1)), ("a", json!(null)), ("b", json!({ "z": 1, "a": 1.50 })), ("gone", json!(4))] {
        alice.insert(name, data).await;
    }
    alice.remove("gone").await.ok();
    alice.insert("@alice/mail", json!("own")).await;
    alice.insert_raw(json!({ "event": "moving", "data": 5, "transient": true })).await.ok();
    alice.insert_raw(json!({ "event": "short", "data": 6, "expires_in": 1000 })).await.ok();
    let export = client.admin("/export", json!({ "users": true, "hashes": true, "events": "history" })).await.ok().body;
    assert_eq!(outcome(import(&other, "all", export.clone()).await), (vec![], summary(10, 10, 0)));
    assert_eq!(history(&other, "acme").await, history(&client, "acme").await);
    let again = other.admin("/export", json!({ "users": true, "hashes": true, "events": "history" })).await.ok().body;
    // Ids and times are those of the server that gave them out.
    let essence = |export: &str| -> Vec<Value> {
        let line = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let left =
                line["expires_at"].as_u64().map(|at| (at - line["timestamp"].as_u64().unwrap()).div_ceil(10_000));
            for field in ["id", "timestamp", "expires_at"] {
                line.as_object_mut().unwrap().remove(field);
            }
            line["left"] = json!(left);
            line
        };
        export.lines().map(line).collect()
    };
    assert_eq!(essence(&again), essence(&export));
    assert_eq!(other.login("bob", &password_of("bob")).await.code(), "unauthorized", "still revoked");
    let alice = other.sign_in("alice").await;
    assert_eq!(alice.latest("/events?events=short").await.len(), 1);
}

#[tokio::test]
async fn the_same_lines_again_change_nothing_and_more_lines_go_on_after_them() {
    let server = TestServer::start().await;
    let client = server.client();
    let mut lines = vec![user("alice", json!({})), event("a", 1), event("a", 2), event("b", json!(null))];
    assert_eq!(outcome(import(&client, "one", body(&lines)).await), (vec![], summary(4, 4, 0)));
    let before = history(&client, "acme").await;
    assert_eq!(before.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["a", "a", "b"]);
    assert_eq!(before[0].2, "import:nobody");
    // Without its last line feed it is the same.
    for text in [body(&lines), body(&lines).trim_end().to_owned()] {
        assert_eq!(outcome(import(&client, "one", text).await), (vec![], summary(4, 4, 0)));
    }
    assert_eq!(outcome(import(&client, "one", "").await), (vec![], summary(4, 4, 0)), "how far it has come");
    assert_eq!(history(&client, "acme").await, before);
    lines.push(event("c", 3));
    assert_eq!(outcome(import(&client, "one", body(&lines)).await), (vec![], summary(5, 5, 0)));
    let server = server.restart().await;
    let client = server.client();
    assert_eq!(outcome(import(&client, "one", body(&lines)).await), (vec![], summary(5, 5, 0)));
    // Another file, or a part of it, is not taken for this one.
    import(&client, "one", body(&lines[..3])).await.refused(422, "idempotency_key_reused");
    lines[1] = event("a", 7);
    import(&client, "one", body(&lines)).await.refused(422, "idempotency_key_reused");
    assert_eq!(history(&client, "acme").await.len(), before.len() + 1);
    assert_eq!(outcome(import(&client, "two", body(&lines[3..])).await).1, summary(2, 2, 0));
}

#[tokio::test]
async fn what_is_wrong_with_a_line_is_told_and_the_others_are_imported() {
    let server = TestServer::start_with(&["--max_names=5", "--name_quarantine=1000"]).await;
    let client = server.client();
    for name in ["bob", "carol"] {
        server.user(name, "acme").await;
    }
    client.admin("/delete_user", json!({ "username": "carol" })).await.ok();
    let deep = format!(
        r#"{{"kind":"event","tenant_name":"acme","event":"d","data":{}1{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let of_user = |name: &str, more: Value| user(name, more).to_string();
    let lines: Vec<(String, Option<&str>)> = vec![
        (event("fine", 1).to_string(), None),
        ("not JSON".to_owned(), Some("body_invalid")),
        (String::new(), None),
        ("[1]".to_owned(), Some("body_invalid")),
        (r#"{"kind":"else"}"#.to_owned(), Some("body_invalid")),
        (
            r#"{"kind":"event","kind":"user","tenant_name":"acme","event":"x","data":1}"#.to_owned(),
            Some("body_invalid"),
        ),
        (r#"{"kind":"event","tenant_name":"acme","event":"x","event":"y","data":1}"#.to_owned(), Some("body_invalid")),
        (r#"{"kind":"event","tenant_name":"acme","event":"x"}"#.to_owned(), Some("body_invalid")),
        (deep, Some("data_too_deep")),
        (event("$end", 1).to_string(), Some("event_name_reserved")),
        (event("a\nb", 1).to_string(), Some("event_name_invalid")),
        (event("large", "x".repeat(200_000)).to_string(), Some("event_too_large")),
        (event("@nobody/x", 1).to_string(), Some("inbox_unknown")),
        (event("@bob/x", 1).to_string(), None),
        (of_user("bob", json!({})), Some("username_taken")),
        (of_user("carol", json!({})), Some("username_taken")),
        (of_user("b\u{43e}b", json!({})), Some("username_lookalike")),
        (of_user("a:b", json!({})), Some("username_invalid")),
        (of_user("dora", json!({ "tenant_name": "\u{430}cme" })), Some("tenant_name_lookalike")),
        (
            json!({ "kind": "event", "tenant_name": "\u{430}cme", "event": "x", "data": 1 }).to_string(),
            Some("tenant_name_lookalike"),
        ),
        (of_user("dora", json!({ "password": "quiet Osprey 71 lantern" })), Some("body_invalid")),
        (of_user("dora", json!({ "email": "none" })), Some("email_invalid")),
        (of_user("dora", json!({ "scopes": ["none"] })), Some("scopes_invalid")),
        (of_user("dora", json!({ "password_hash": "md5" })), Some("password_hash_invalid")),
        (of_user("dora", json!({ "totp_secret": "1" })), Some("totp_secret_invalid")),
        (of_user("dora", json!({})), None),
        (event("@dora/x", 1).to_string(), None),
        (event("fourth", 1).to_string(), None),
        (event("fifth", 1).to_string(), None),
        (event("sixth", 1).to_string(), Some("too_many_names")),
        (
            json!({ "kind": "event", "tenant_name": "acme", "event": "never", "data": null, "removed": true })
                .to_string(),
            None,
        ),
        (
            json!({ "kind": "event", "tenant_name": "acme", "event": "old", "data": 1, "expires_at": 1000 })
                .to_string(),
            None,
        ),
    ];
    let text = lines.iter().map(|(line, _)| format!("{line}\n")).collect::<String>();
    let refused: Vec<_> =
        (1..).zip(&lines).filter_map(|(number, (_, code))| Some((number, (*code)?.to_owned()))).collect();
    let expected =
        (refused, summary(lines.len() as u64, 6, lines.iter().filter(|(_, code)| code.is_some()).count() as u64));
    let answer = import(&client, "bad", text.clone()).await;
    assert!(!answer.body.contains("Osprey"));
    assert_eq!(outcome(answer), expected);
    assert_eq!(outcome(import(&client, "bad", text).await), expected, "as often as it is asked");
    let names: Vec<_> = history(&client, "acme").await.into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["fine", "@bob/x", "@dora/x", "fourth", "fifth"]);
}

#[tokio::test]
async fn an_author_is_a_user_of_that_name_or_one_that_no_user_can_become() {
    let server = TestServer::start().await;
    let client = server.client();
    let by = |name: &str, author: &str| {
        let mut event = event(name, 1);
        event["username"] = json!(author);
        event
    };
    let lines = [
        user("alice", json!({})),
        by("a", "alice"),
        by("b", "mallory"),
        by("c", "notiflux:x"),
        by("d", "a\nb"),
        by("e", "eve"),
    ];
    // Whoever has the name in another tenant is nobody here.
    client.create_user("eve", "other").await;
    assert_eq!(outcome(import(&client, "one", body(&lines)).await).1, summary(6, 6, 0));
    let authors: Vec<_> = history(&client, "acme").await.into_iter().map(|(.., author)| author).collect();
    assert_eq!(authors[..3], ["alice", "import:mallory", "notiflux:x"]);
    assert!(authors[3].starts_with("import:"), "{authors:?}");
    assert_eq!(authors[4], "import:eve");
}

#[tokio::test]
async fn only_the_admin_imports_and_nothing_is_read_of_others() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let client = server.client();
    let lines = body(&[event("a", 1)]);
    let send = async |headers: &[(&str, &str)]| {
        client.request(Method::POST, "/import", headers, Some(lines.clone().into_bytes())).await
    };
    let key = ("idempotency-key", "one");
    let bearer = |token: &str| format!("Bearer {token}");
    send(&[key]).await.refused(401, "admin_token_incorrect");
    send(&[key, ("authorization", &bearer("wrong"))]).await.refused(401, "admin_token_incorrect");
    send(&[key, ("authorization", &bearer(alice.jwt()))]).await.refused(401, "admin_token_incorrect");
    let right = bearer(ADMIN_TOKEN);
    send(&[("authorization", &right)]).await.refused(400, "idempotency_key_invalid");
    send(&[("idempotency-key", "a b"), ("authorization", &right)]).await.refused(400, "idempotency_key_invalid");
    assert!(history(&client, "acme").await.is_empty());
    assert!(!server.log().contains(ADMIN_TOKEN));
    send(&[key, ("authorization", &right)]).await.ok();
    server.says("import begun").await;
}

#[tokio::test]
async fn after_a_thousand_lines_that_are_refused_no_more_are_read() {
    let server = TestServer::start().await;
    let client = server.client();
    let text = format!("{}{}", "wrong\n".repeat(1500), body(&[event("a", 1)]));
    let (refused, last) = outcome(import(&client, "wrong", text.clone()).await);
    assert!((1000..1200).contains(&refused.len()));
    assert_eq!((&last["complete"], &last["imported"]), (&json!(false), &json!(0)));
    let (again, last) = outcome(import(&client, "wrong", text).await);
    assert_eq!((again, &last["complete"]), (refused, &json!(false)));
}

/// Sends some pieces one after the other, each once it is asked for.
fn in_pieces(pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> reqwest::Body {
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces.map(Ok::<_, std::io::Error>)))
}

async fn send(client: &Client, name: &str, body: reqwest::Body) -> reqwest::Result<reqwest::Response> {
    let mut request = client.http.post(format!("{}/import", client.url)).body(body);
    for (name, value) in headers(name) {
        request = request.header(name, value);
    }
    request.send().await
}

#[tokio::test]
async fn lines_of_any_number_and_length_take_no_more_memory_than_a_step() {
    let server = TestServer::start().await;
    let client = server.client();
    server.forget_peak();
    let before = server.resident_mebibytes();
    // A line of 100 MB, and 40 MB of lines that are superseded at once.
    let long = std::iter::repeat_with(|| vec![b'x'; 1 << 20]).take(100);
    let of_lines =
        (0..4000).map(|number| format!("\n{}", event("a", format!("{number}{}", "y".repeat(10_000)))).into_bytes());
    let answer = send(&client, "long", in_pieces(long.chain(of_lines))).await.unwrap();
    let (refused, last) = outcome(Answer::of(answer).await);
    assert_eq!((refused, last), (vec![(1, "line_too_long".to_owned())], summary(4001, 4000, 1)));
    // The overlay and the journal of the database have their own bounds.
    assert!(server.peak_above(before) < 150, "{} MiB", server.peak_above(before));
}

#[tokio::test]
async fn users_that_are_there_already_keep_nothing_after_them_from_being_imported() {
    let server = TestServer::start().await;
    let client = server.client();
    let mut lines: Vec<_> = (0..1_100).map(|number| user(&format!("user{number}"), json!({}))).collect();
    assert_eq!(outcome(import(&client, "first", body(&lines)).await), (vec![], summary(1_100, 1_100, 0)));
    lines.push(event("a", 1));
    let (listed, last) = outcome(import(&client, "second", body(&lines)).await);
    assert_eq!(last, summary(1_101, 1, 1_100));
    assert!(listed.len() == 1_000 && listed.iter().all(|(_, code)| code == "username_taken"), "{}", listed.len());
    // Other refusals do.
    let (listed, last) = outcome(import(&client, "third", "wrong\n".repeat(1_100) + &body(&lines)).await);
    assert!(
        listed.len() == 1_000 && last["complete"] == json!(false) && last["lines"].as_u64() < Some(1_100),
        "{last}"
    );
}

#[tokio::test]
async fn an_import_leaves_time_for_others() {
    let server = TestServer::start().await;
    let lines: Vec<_> = (0..5_000).map(|number| event("a", number)).collect();
    let begun = Instant::now();
    assert_eq!(outcome(import(&server.client(), "all", body(&lines)).await), (vec![], summary(5_000, 5_000, 0)));
    // At 5,000 lines in a second, but for the first lines and what may be made up for.
    assert!(begun.elapsed() > Duration::from_millis(800), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_import_that_breaks_off_or_is_killed_in_the_middle_ends_as_if_it_had_been_whole() {
    let mut server = TestServer::start().await;
    let lines: Vec<_> = (0..2000).map(|number| event(&format!("n/{}", number % 300), number)).collect();
    let text = body(&lines).into_bytes();
    let client = server.client();
    // The connection goes after some of it.
    let (pieces, wait) = (vec![text[..text.len() / 3].to_vec()], futures_util::stream::pending());
    let half = futures_util::StreamExt::chain(
        futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)),
        wait,
    );
    let half = tokio::spawn({
        let client = client.clone();
        async move { send(&client, "all", reqwest::Body::wrap_stream(half)).await.map(drop) }
    });
    until("lines are imported", async || (history(&client, "acme").await.len() > 100).then_some(())).await;
    import(&client, "other", "").await.refused(409, "import_running");
    half.abort();
    let so_far = async || {
        let answer = import(&client, "all", "").await;
        (answer.status == 200).then(|| outcome(answer).1["lines"].as_u64().unwrap())
    };
    let before_kill = until("the import that has gone", so_far).await;
    assert!((100..700).contains(&before_kill), "{before_kill}");
    // The server goes while the rest is on its way.
    let rest = tokio::spawn({
        let (client, text) = (client.clone(), text.clone());
        async move { send(&client, "all", text.into()).await.map(drop) }
    });
    let goes_on = async || (history(&client, "acme").await.len() as u64 > before_kill).then_some(());
    until("more lines are imported", goes_on).await;
    server.kill();
    let _ = rest.await;
    let server = server.restart().await;
    let client = server.client();
    assert_eq!(outcome(import(&client, "all", text).await), (vec![], summary(2000, 2000, 0)));
    let data: Vec<_> = history(&client, "acme").await.into_iter().map(|(_, data, _)| data).collect();
    assert_eq!(data, (0..2000).map(|number| json!(number)).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_command_imports_a_file_prints_what_was_refused_and_changes_nothing_the_second_time() {
    let server = TestServer::start().await;
    let client = server.client();
    let scratch = tempfile::tempdir().unwrap();
    let (token, file) = (scratch.path().join("token"), scratch.path().join("all.ndjson"));
    std::fs::write(&token, ADMIN_TOKEN).unwrap();
    std::fs::write(&file, body(&[user("alice", json!({})), event("a", 1)])).unwrap();
    let run = |more: &[&str], input| by_command(&server, &token, more, input);
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let path = file.to_str().unwrap();
    for _ in 0..2 {
        let done = run(&[path], Stdio::null());
        assert!(done.status.success() && done.stdout.is_empty(), "{done:?}");
        assert!(said(&done).contains("2 lines read, 2 users and events imported in all, 0 lines refused"), "{done:?}");
    }
    assert_eq!(history(&client, "acme").await.len(), 1);
    std::fs::write(&file, "wrong\n").unwrap();
    let input = || Stdio::from(std::fs::File::open(&file).unwrap());
    assert_eq!(run(&["-"], input()).status.code(), Some(2), "it has no name");
    let refused = run(&["-", "--name", "other"], input());
    assert_eq!(refused.status.code(), Some(1));
    let line: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((&line["line"], &line["code"]), (&json!(1), &json!("body_invalid")));
    let reused = run(&[path], Stdio::null());
    assert!(reused.status.code() == Some(1) && said(&reused).contains("idempotency_key_reused"), "{reused:?}");
    std::fs::write(&token, "wrong").unwrap();
    let unknown = run(&[path], Stdio::null());
    assert!(unknown.status.code() == Some(1) && said(&unknown).contains("admin_token_incorrect"), "{unknown:?}");
}
