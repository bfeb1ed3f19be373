//! Guards answers that nobody reads: each is read from the store only as it is sent, so that it takes little memory.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{ADMIN_TOKEN, Page, RawStream, TestServer, again, command, one, within};

/// More than the system takes of an answer that is not read.
const EVENTS: usize = 60;
const LARGE: usize = 90_000;
const UNREAD: usize = 60;
/// The name of a list that is an answer by itself.
const WHOLE: &str = "the whole list";
/// What they may hold in memory, in mebibytes: of each a step, what is on its way to the socket, and as much again. A
/// whole answer is ten times as much.
const MOST: usize = UNREAD / 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_hold_little_memory_and_are_whole_once_they_are_read() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server = TestServer::try_start(directory, |directory| {
        let mut command = command(&["--log=info".to_owned()], directory);
        // What one thread has freed is used by the others, or their number would be what is measured.
        command.env("MALLOC_ARENA_MAX", "1");
        command
    });
    let server = server.await.unwrap();
    let alice = server.user("alice", "acme").await;
    let large = "x".repeat(LARGE);
    for batch in (0..EVENTS).collect::<Vec<_>>().chunks(20) {
        alice.insert_raw(batch.iter().map(|_| one("news", large.as_str())).collect::<Value>()).await.ok();
        alice
            .insert_raw(batch.iter().map(|number| one(&format!("name{number}"), large.as_str())).collect::<Value>())
            .await
            .ok();
    }
    server.client().create_user_with("user", "acme", json!({ "data": large })).await.ok();
    let names: Vec<_> = (0..EVENTS).map(|number| format!("user{number}")).collect();
    let users: Vec<_> = names.iter().map(|name| (name.as_str(), "acme")).collect();
    let server = server.with_users_like("user", &users).await;
    let alice = again(&server, &alice);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", alice.authorization);
    let users = |body: Value| {
        let body = body.to_string();
        format!("POST /list_users HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let all = [
        ("events", get("/history?event=news&limit=1000")),
        ("events", get("/history?event=news&limit=1000&order=oldest")),
        ("events", get("/events?limit=1000")),
        ("users", users(json!({ "admin_token": ADMIN_TOKEN, "limit": 1000 }))),
        // Without a limit they are the whole answer.
        (WHOLE, get("/events")),
        (WHOLE, users(json!({ "admin_token": ADMIN_TOKEN }))),
    ];
    // What one alone takes is taken before anything is measured.
    for path in ["/history?event=news&limit=1000", "/history?event=news&limit=1000&order=oldest", "/events"] {
        alice.get(path).await.ok();
    }
    server.client().admin("/list_users", json!({})).await.ok();
    let mut unread = Vec::new();
    for (name, request) in &all {
        server.forget_peak();
        let before = server.peak_mebibytes();
        let mut answers = Vec::new();
        for _ in 0..UNREAD {
            answers.push(RawStream::ask(&server, request, Some(4096)).await);
        }
        let taken = server.peak_above(before);
        assert!(taken <= MOST, "{UNREAD} unread answers take {taken} MiB: {name}");
        // The last, and at once: an answer of which nothing is taken for half a minute is given up.
        let (text, is_ended) = within("the rest of an answer", answers.pop().unwrap().rest()).await;
        unread.push(answers);
        assert!(is_ended, "{name} was cut off");
        let page: Value = serde_json::from_str(&text).unwrap();
        let items = if *name == WHOLE { &page } else { &page[name] }.as_array().unwrap();
        assert!(items.len() >= 45 && items.iter().filter(|item| item.to_string().len() > LARGE).count() >= 45);
        if *name == "events" {
            assert!(serde_json::from_str::<Page>(&text).is_ok(), "{}", &text[..200]);
        }
    }
}
