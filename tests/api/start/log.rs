//! Guards the log: its forms and its lines.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestServer, command};

/// The lines of a log in JSON.
fn lines(server: &TestServer) -> Vec<Value> {
    server.log().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

#[tokio::test]
async fn a_line_at_the_start_says_where_it_listens_and_where_its_data_is() {
    let server = TestServer::start_with(&["--db=my data"]).await;
    let lines = lines(&server);
    let line = lines.iter().find(|line| line["message"] == "listening").unwrap();
    assert_eq!((&line["url"], &line["level"]), (&json!(server.url), &json!("INFO")));
    assert!(line["database"].as_str().unwrap().ends_with("my data"));

    let directory = Arc::new(tempfile::tempdir().unwrap());
    let text = TestServer::try_start(directory, |directory| {
        command(&["--log_format=text".to_owned(), "--db=my data".to_owned()], directory)
    });
    let text = text.await.unwrap();
    let log = text.log();
    let line = log.lines().find(|line| line.contains("listening")).unwrap();
    assert!(line.contains("INFO") && line.contains(&format!("url=\"{}\"", text.url)), "{line}");
    assert!(line.contains("database=") && line.contains("my data"), "{line}");
    assert!(!log.contains('\u{1b}'), "colours are for terminals: {log:?}");
}

#[tokio::test]
async fn each_request_is_one_line_at_debug_without_its_query_headers_or_body() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    server.says("/login").await;
    let before = lines(&server).len();
    let stream = alice.stream_of("/sse?events=pw-secret-filter", None).await;
    alice.insert("news", json!("pw-secret-data")).await;
    let client = server.client();
    client.request(Method::GET, "/nowhere?token=pw-secret-query", &[("x-token", "pw-secret-header")], None).await;
    client.login("alice", "pw-secret-wrong").await;
    client.request(Method::POST, "/login", &[], Some(br#"{"password":"pw-secret-cut"#.to_vec())).await;
    client.request(Method::OPTIONS, "/login", &[("origin", "https://pw-secret-origin")], None).await;
    drop(stream);
    let expected = [
        "GET /sse 200",
        "POST /insert 200",
        "GET /nowhere 404",
        "POST /login 401",
        "POST /login 400",
        "OPTIONS /login 200",
    ];
    server.says("OPTIONS").await;
    let mut requests: Vec<_> = lines(&server).split_off(before);
    requests.retain(|line| line["message"] == "request");
    let seen: Vec<_> = requests
        .iter()
        .map(|line| {
            assert!(line["level"] == "DEBUG" && line["micros"].is_u64(), "{line}");
            let status = line["status"].as_u64().unwrap();
            format!("{} {} {status}", line["method"].as_str().unwrap(), line["path"].as_str().unwrap())
        })
        .collect();
    assert_eq!(seen, expected);
    // That no line holds any of the secrets is looked at when the server goes.
}

#[tokio::test]
async fn at_its_default_level_the_log_has_no_line_for_a_request() {
    let mut server = TestServer::start_with(&["--log=info"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("news", json!(1)).await;
    // A line that is there at every level comes after any of these.
    server.signal("TERM");
    server.ended().await;
    server.says("stopped").await;
    assert!(lines(&server).iter().all(|line| line["message"] != "request"));
}

#[tokio::test]
async fn at_its_most_talkative_the_log_still_holds_no_secret() {
    // What is looked for is looked for when the server goes.
    let server = TestServer::start_with(&["--log=trace,broker=trace,actix=trace,sled=trace,h2=trace"]).await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    alice.insert("news", json!(1)).await;
    stream.next().await;
    alice.verify().await.ok();
    let update = json!({ "username": "alice", "password": "pw-secret-new" });
    server.client().admin("/update_user", update).await.ok();
    server.client().login("alice", "pw-secret-new").await.ok();
    stream.rest().await;
}
