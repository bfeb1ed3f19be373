//! Guards HTTP/2 requests that are refused before their body has been read. `h2` resets a stream if nobody reads its body, and a
//! client that is still sending may take that for the end of its request without an answer.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture};
use h2::{Reason, SendStream};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::Secure;
use super::http2::{Connection, PREFACE, connect, frame};
use crate::support::{password_of, send_all, within};

const ORIGIN: &str = "origin: https://other.example";

/// The status, and the code in the body, that curl was given by HTTP/2.
fn curl(secure: &Secure, directory: &Path, path: &str, headers: &[&str], body: &str) -> (u16, String) {
    let root = directory.join("root.pem");
    std::fs::write(&root, secure.authority.root()).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--http2", "--max-time", "20", "--data-binary", body, "--cacert"]).arg(root);
    curl.args(["--write-out", "\n%{http_version} %{http_code}"]).current_dir(directory);
    for header in headers {
        curl.args(["--header", header]);
    }
    let output = curl.arg(format!("{}{path}", secure.server.url)).output().unwrap();
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{path} {body}: {out} {error}");
    let (body, seen) = out.rsplit_once('\n').unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {out}"));
    let status = seen.strip_prefix("2 ").unwrap().parse().unwrap();
    (status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_client_that_is_refused_before_its_body_is_read_gets_the_answer_each_time() {
    let secure = Secure::start_with(&["--origin=https://app.example.com"]).await;
    let client = secure.client();
    client.create_user("alice", "acme").await;
    let alice = client.login("alice", &password_of("alice")).await.ok().json();
    let alice = format!("authorization: Bearer {}", alice["jwt"].as_str().unwrap());
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in [("900k", 900_000), ("3m", 3_000_000)] {
        std::fs::write(directory.path().join(name), "x".repeat(bytes)).unwrap();
    }
    let token = "authorization: Bearer x";
    let cases: [(&str, &[&str], &str, u16, &str); 12] = [
        ("/nope", &[], "{}", 404, "not_found"),
        ("/events", &[], "{\"a\":1}", 405, "method_not_allowed"),
        ("/insert", &[], "{\"event\":\"a\",\"data\":1}", 401, "unauthorized"),
        ("/sse_ticket", &[], "{}", 401, "unauthorized"),
        ("/remove", &[token], "{}", 401, "unauthorized"),
        ("/login", &[ORIGIN], "{}", 403, "origin_not_allowed"),
        ("/login", &["origin: null"], "{}", 403, "origin_not_allowed"),
        ("/nope", &[], "@900k", 404, "not_found"),
        ("/events", &[], "@900k", 405, "method_not_allowed"),
        ("/insert", &[token], "@900k", 401, "unauthorized"),
        ("/login", &[ORIGIN], "@900k", 403, "origin_not_allowed"),
        ("/insert", &[&alice], "@3m", 413, "body_too_large"),
    ];
    for (path, headers, body, status, code) in cases {
        let times = if body.starts_with('@') { 4 } else { 12 };
        for _ in 0..times {
            let seen = curl(&secure, directory.path(), path, headers, body);
            assert_eq!((seen.0, seen.1.as_str()), (status, code), "{path} {body}");
        }
    }
}

fn post(connection: &mut Connection, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = http::Request::post(format!("https://localhost{path}")).body(()).unwrap();
    connection.requests.send_request(request, false).unwrap()
}

/// Sends so many bytes, as the window lets it, and returns how many went before the stream was reset.
async fn send_data(body: &mut SendStream<Bytes>, bytes: usize) -> usize {
    let mut sent = 0;
    while sent < bytes {
        body.reserve_capacity((bytes - sent).min(16 << 10));
        let capacity = within("room", std::future::poll_fn(|context| body.poll_capacity(context))).await;
        let Some(Ok(capacity)) = capacity else { return sent };
        if body.send_data(vec![b'x'; capacity].into(), false).is_err() {
            return sent;
        }
        sent += capacity;
    }
    sent
}

/// The status of an answer whose body has come to its end.
async fn whole(answer: ResponseFuture) -> u16 {
    let answer = within("an answer", answer).await.unwrap();
    let (head, mut body) = answer.into_parts();
    let mut json = Vec::new();
    while let Some(chunk) = within("a body", body.data()).await {
        json.extend(chunk.unwrap());
    }
    serde_json::from_slice::<Value>(&json).unwrap();
    head.status.as_u16()
}

async fn reset_of(body: &mut SendStream<Bytes>) -> Reason {
    within("a reset", std::future::poll_fn(|context| body.poll_reset(context))).await.unwrap()
}

#[tokio::test]
async fn a_body_that_is_sent_after_the_answer_is_taken_to_its_end_and_one_that_goes_on_is_cut_off_without_error() {
    let secure = Secure::start().await;
    let mut connection = connect(&secure, &Builder::new()).await;
    let before = secure.server.resident_mebibytes();
    let (answer, mut body) = post(&mut connection, "/nope");
    assert_eq!(whole(answer).await, 404);
    assert_eq!(send_data(&mut body, 3 << 20).await, 3 << 20);
    body.send_data(Bytes::new(), true).unwrap();

    let (answer, mut body) = post(&mut connection, "/nope");
    assert_eq!(whole(answer).await, 404);
    let sent = send_data(&mut body, 64 << 20).await;
    assert!((8 << 20..10 << 20).contains(&sent), "{sent}");
    assert_eq!(reset_of(&mut body).await, Reason::NO_ERROR);
    let growth = secure.server.resident_mebibytes().saturating_sub(before);
    assert!(growth < 10, "{growth} MiB");

    // The connection serves on.
    let (answer, mut body) = post(&mut connection, "/insert");
    body.send_data("{}".into(), true).unwrap();
    assert_eq!(whole(answer).await, 401);
}

/// Reads until these bytes have come.
async fn read_through(connection: &mut (impl AsyncRead + Unpin), end: &[u8]) {
    let mut came = Vec::new();
    while !came.windows(end.len()).any(|window| window == end) {
        assert!(within("bytes", connection.read_buf(&mut came)).await.unwrap() > 0, "it was cut off");
    }
}

#[tokio::test]
async fn many_small_pieces_of_bodies_that_nobody_reads_take_no_memory() {
    const PIECES: usize = 10_000;
    let secure = Secure::start().await;
    let (mut read, mut write) = tokio::io::split(secure.connect("h2").await);
    let before = secure.server.resident_mebibytes();
    write.write_all(PREFACE).await.unwrap();
    // Several, because a body may go on for ten seconds only, of which a slow machine needs some for so many pieces.
    for stream in [1, 3, 5, 7, 9] {
        // POST /nope of https.
        let head = frame(1, 4, stream, &[&[0x83, 0x87, 0x04, 5][..], b"/nope", &[0x41, 1, b'x']].concat());
        send_all(&mut write, &head).await.unwrap();
        read_through(&mut read, b"not_found").await;
        write.write_all(&frame(0, 0, stream, b"x").repeat(PIECES)).await.unwrap();
        // It is answered after all of these have been looked at.
        send_all(&mut write, &frame(6, 0, 0, b"12345678")).await.unwrap();
        read_through(&mut read, &frame(6, 1, 0, b"12345678")).await;
    }
    let growth = secure.server.resident_mebibytes().saturating_sub(before);
    assert!(growth < 20, "{growth} MiB");
}

#[tokio::test]
async fn a_body_that_never_ends_keeps_its_place_for_ten_seconds_and_one_that_is_cancelled_for_none() {
    let secure = Secure::start().await;
    let mut connection = connect(&secure, &Builder::new()).await;
    let mut bodies = Vec::new();
    for _ in 0..128 {
        let (answer, body) = post(&mut connection, "/nope");
        assert_eq!(whole(answer).await, 404);
        bodies.push(body);
    }
    let since = Instant::now();
    for mut body in bodies.drain(1..) {
        body.send_reset(Reason::CANCEL);
    }
    // Few, as a slow machine needs its time for each: without a place that is free the first waits already.
    for _ in 0..20 {
        let (answer, body) = post(&mut connection, "/nope");
        assert_eq!(whole(answer).await, 404);
        bodies.push(body);
    }
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    for mut body in bodies {
        assert_eq!(reset_of(&mut body).await, Reason::NO_ERROR);
    }
    assert!(since.elapsed() > Duration::from_secs(8), "{:?}", since.elapsed());
}
