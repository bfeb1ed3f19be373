//! Guards exports that are cut off, which never look whole, and exports of what changes meanwhile.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::{events, lines};
use crate::support::{ADMIN_TOKEN, Answer, TestServer, bare_command, insert_large};

const END: &str = "{\"kind\":\"end\"}\n";

fn export(directory: &std::path::Path, url: &str, to: &str) -> Child {
    let token = directory.join("token");
    std::fs::write(&token, ADMIN_TOKEN).unwrap();
    let mut command = bare_command(directory);
    command.stdout(Stdio::piped()).args(["export", "--url", url, "--to", to, "--admin_token_file"]);
    command.arg(token).spawn().unwrap()
}

#[tokio::test]
async fn the_last_line_is_there_if_it_is_asked_for_even_if_there_is_nothing_else() {
    let server = TestServer::start().await;
    let client = server.client();
    for wanted in [json!({ "users": true }), json!({ "events": "latest" }), json!({ "events": "history" })] {
        assert_eq!(client.admin("/export", wanted.clone()).await.ok().body, "");
        let mut with_end = wanted;
        with_end["end"] = json!(true);
        assert_eq!(client.admin("/export", with_end).await.ok().body, END);
    }
    server.user("alice", "acme").await.insert("a", json!(1)).await;
    for events in ["latest", "history"] {
        let all = client.admin("/export", json!({ "users": true, "events": events, "end": true })).await.ok().body;
        assert_eq!((all.lines().count(), all.matches(END).count(), all.ends_with(END)), (3, 1, true), "{all}");
    }
}

/// What a server, or a proxy in front of it, answers to one export.
fn answered(head: &'static str, body: String) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"}") {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes()).unwrap();
    });
    (url, answering)
}

#[test]
fn the_command_fails_if_the_answer_is_cut_off_however_its_body_ends() {
    let line = "{\"kind\":\"user\",\"username\":\"alice\"}\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let (chunked, close) = ("transfer-encoding: chunked", "connection: close");
    let cases = [
        (chunked, chunk(line), None),
        (chunked, chunk(&line[..20]), None),
        // As behind a proxy that speaks HTTP/1.0 to the server: the body is whole.
        (chunked, chunk(line) + "0\r\n\r\n", None),
        (close, line.to_owned(), None),
        (close, String::new(), None),
        (close, format!("{line}{}", &END[..END.len() - 1]), None),
        (close, format!("{line}{END}"), Some(line)),
        (close, END.to_owned(), Some("")),
        (chunked, chunk(line) + &chunk(&END[..5]) + &chunk(&END[5..]) + "0\r\n\r\n", Some(line)),
    ];
    for (head, body, expected) in cases {
        let scratch = tempfile::tempdir().unwrap();
        let (url, answering) = answered(head, body.clone());
        let done = export(scratch.path(), &url, "all.ndjson").wait_with_output().unwrap();
        answering.join().unwrap();
        let file = std::fs::read_to_string(scratch.path().join("all.ndjson")).ok();
        assert_eq!(file.as_deref(), expected, "{head}, {body:?}");
        assert_eq!(done.status.code(), Some(i32::from(expected.is_none())), "{body:?}: {done:?}");
        if expected.is_none() {
            assert!(String::from_utf8_lossy(&done.stderr).contains("the export broke off"), "{done:?}");
        }
        assert!(!scratch.path().join("all.ndjson.part").exists(), "{body:?}");
    }
}

#[tokio::test]
async fn the_command_fails_if_the_server_is_killed_in_the_middle() {
    let mut server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let alice = server.user("alice", "acme").await;
    let names: Vec<_> = (0..40).map(|number| format!("large/{number:03}")).collect();
    insert_large(&alice, &names, 900_000).await;
    let scratch = tempfile::tempdir().unwrap();
    let mut command = export(scratch.path(), &server.url, "-");
    let mut output = command.stdout.take().unwrap();
    // The rest, which is more than lies in buffers on the way, is asked for only when the server has gone.
    output.read_exact(&mut [0; 1000]).unwrap();
    server.kill();
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    let done = command.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{} bytes", rest.len());
    assert!(String::from_utf8_lossy(&done.stderr).contains("the export broke off"), "{done:?}");
}

#[tokio::test]
async fn a_history_is_what_there_was_when_it_was_begun_whatever_is_inserted_meanwhile() {
    let server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let alice = server.user("alice", "acme").await;
    let names: Vec<_> = (0..40).map(|number| format!("large/{number:03}")).collect();
    insert_large(&alice, &names, 900_000).await;
    let body = json!({ "admin_token": ADMIN_TOKEN, "events": "history", "end": true }).to_string();
    let begun = alice.client.http.post(format!("{}/export", server.url)).body(body).send().await.unwrap();
    // The answer has begun, and most of it is not read yet.
    for name in ["large/039", "new"] {
        alice.insert(name, json!("meanwhile")).await;
    }
    let mut all: Vec<Value> = lines(&Answer::of(begun).await);
    assert_eq!(all.pop().unwrap(), json!({ "kind": "end" }));
    let seen: Vec<_> = events(&all).into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(seen, names);
    assert!(all.iter().all(|event| event["data"] != "meanwhile"));
    let history = alice.client.admin("/export", json!({ "events": "history" })).await;
    assert_eq!(events(&lines(&history)).len(), 42);
}
