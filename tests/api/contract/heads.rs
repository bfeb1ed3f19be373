//! Guards request heads of HTTP/1 that are too large, arrive too slowly, or are of HTTP/1.0.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::exchange;
use crate::support::{TestServer, within};

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const ORIGIN: &str = "http://localhost:3000";
const EMPTY_POST: &str = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
/// Requests whose bodies nobody reads.
const UNREAD: &str = "POST /nothing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
const UNREAD_EMPTY: &str = "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 00\r\n\r\n";

/// A refusal that is the last answer on its connection.
#[track_caller]
fn refused(answers: &str, status: &str, code: &str) {
    let last = &answers[answers.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("no answer: {answers:?}"))..];
    let (head, body) = last.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{answers}");
    assert!(head.contains("connection: close") && head.contains("content-type: application/json"), "{head}");
    // A page may read it too.
    for line in ["access-control-allow-origin: *", "cache-control: no-store", "x-content-type-options: nosniff"] {
        assert_eq!(head.matches(line).count(), 1, "{head}");
    }
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], code);
}

#[tokio::test]
async fn a_head_of_more_than_32_kib_is_431_wherever_it_is_on_its_connection() {
    let server = TestServer::start().await;
    let head = |bytes: usize| {
        format!("GET / HTTP/1.1\r\nhost: x\r\nOrigin: {ORIGIN}\r\nconnection: close\r\nx-large: {}", "x".repeat(bytes))
    };
    for (before, blank) in [("", ""), (GET, ""), (EMPTY_POST, ""), (UNREAD, ""), (UNREAD_EMPTY, ""), ("", "\r\n\r\n")] {
        let answers = exchange(&server, format!("{before}{blank}{}\r\n\r\n", head(31_000)).as_bytes()).await;
        assert!(answers.rsplit("HTTP/1.1 ").next().unwrap().starts_with("200"), "{answers}");
        let address = server.address();
        for (bytes, end) in [(40_000, "\r\n\r\n"), (200_000, "\r\n\r\n"), (200_000, "")] {
            let mut connection = within("a connection", TcpStream::connect(address)).await.unwrap();
            if !before.is_empty() {
                connection.write_all(before.as_bytes()).await.unwrap();
                let mut answer = [0; 2000];
                assert!(within("an answer", connection.read(&mut answer)).await.unwrap() > 0);
            }
            let large = format!("{blank}{}{end}", head(bytes));
            let _ = within("bytes to be taken", connection.write_all(large.as_bytes())).await;
            let mut answer = String::new();
            within("the end", connection.read_to_string(&mut answer)).await.unwrap();
            refused(&answer, "431", "head_too_large");
        }
    }
}

#[tokio::test]
async fn a_head_of_more_than_96_headers_is_431() {
    let server = TestServer::start().await;
    for (headers, status) in [(93, "200"), (94, "431"), (5_000, "431")] {
        let head = format!(
            "GET / HTTP/1.1\r\nhost: x\r\norigin: {ORIGIN}\r\nconnection: close\r\n{}\r\n",
            "a: b\r\n".repeat(headers)
        );
        let answer = exchange(&server, head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        if status == "431" {
            refused(&answer, status, "head_too_large");
        }
    }
}

#[tokio::test]
async fn a_head_that_is_not_whole_within_ten_seconds_is_408_also_if_it_is_not_the_first() {
    let server = TestServer::start().await;
    let address = server.address();
    let cases = [("", false), (GET, false), (EMPTY_POST, false), (UNREAD, false), (UNREAD_EMPTY, false), (GET, true)];
    let waits = cases.map(|(before, is_at_once)| async move {
        let mut connection = within("a connection", TcpStream::connect(address)).await.unwrap();
        let begun = &format!("GET / HTTP/1.1\r\nhost: x\r\norigin: {ORIGIN}\r\n");
        if !before.is_empty() {
            let more = if is_at_once { begun.as_str() } else { "" };
            connection.write_all((before.to_owned() + more).as_bytes()).await.unwrap();
            assert!(within("an answer", connection.read(&mut [0; 2000])).await.unwrap() > 0);
        }
        let (mut read, mut write) = connection.into_split();
        if !is_at_once {
            write.write_all(begun.as_bytes()).await.unwrap();
        }
        let since = Instant::now();
        let sending = async {
            loop {
                tokio::time::sleep(Duration::from_secs(3)).await;
                let _ = write.write_all(b"x-more: 1\r\n").await;
            }
        };
        let mut answer = String::new();
        tokio::select! {
            read = within("the end", read.read_to_string(&mut answer)) => drop(read.unwrap()),
            () = sending => {}
        }
        refused(&answer, "408", "request_timeout");
        assert!((8..30).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    });
    futures_util::future::join_all(waits).await;
}

#[tokio::test]
async fn a_post_of_http_1_0_without_a_length_has_an_empty_body() {
    let server = TestServer::start().await;
    for (path, status, code) in [
        ("/login", 400, "body_invalid"),
        ("/list_users", 400, "body_invalid"),
        ("/insert", 401, "unauthorized"),
        ("/nothing", 404, "not_found"),
    ] {
        for more in ["", "host: x\r\n"] {
            let answer = exchange(&server, format!("POST {path} HTTP/1.0\r\n{more}\r\n").as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.0 {status}")), "{answer}");
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["code"], code, "{answer}");
        }
    }
}
