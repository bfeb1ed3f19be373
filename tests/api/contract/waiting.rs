//! Guards pipelined HTTP/1 requests while earlier answers are unread: they wait, and take little memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{TestServer, command, within};

/// What costs the server sixteen times as much to answer as the client to ask.
const PREFLIGHT: &str = "OPTIONS / HTTP/1.1\r\nhost: x\r\norigin: x\r\n\r\n";
const REQUESTS: usize = 20_000;
/// What they may take, in mebibytes. All of the answers are twice as much.
const MOST: usize = 6;

async fn connect(server: &TestServer) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    within("a connection", socket.connect(server.address().parse().unwrap())).await.unwrap()
}

/// Sends as much of this as is taken; how much that is.
async fn write_as_much_as_is_taken(connection: &mut TcpStream, mut bytes: &[u8]) -> usize {
    let all = bytes.len();
    while !bytes.is_empty()
        && let Ok(sent) = tokio::time::timeout(Duration::from_secs(2), connection.write(bytes)).await
    {
        bytes = &bytes[sent.unwrap()..];
    }
    all - bytes.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_answers_that_nobody_reads_wait_and_take_little_memory() {
    let server = TestServer::try_start(Arc::new(tempfile::tempdir().unwrap()), |directory| {
        let mut command = command(&["--log=info".to_owned()], directory);
        // What one thread has freed is used by the others, or their number would be what is measured.
        command.env("MALLOC_ARENA_MAX", "1");
        command
    });
    let server = server.await.unwrap();
    server.client().get("/").await.ok();
    server.forget_peak();
    let before = server.peak_mebibytes();
    let requests = PREFLIGHT.repeat(REQUESTS);
    let mut connection = connect(&server).await;
    let sent = write_as_much_as_is_taken(&mut connection, requests.as_bytes()).await;
    let taken = server.peak_above(before);
    assert!(taken <= MOST, "answers that nobody reads take {taken} MiB");
    // A client that reads after all gets every answer.
    let (mut answers, mut all) = (Vec::new(), usize::MAX);
    let asked = sent / PREFLIGHT.len();
    while answers.len() < all {
        assert!(within("answers", connection.read_buf(&mut answers)).await.unwrap() > 0);
        if let Some(end) = answers[..answers.len().min(2000)].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            all = (end + 4) * asked;
        }
    }
    assert_eq!(answers.len(), all);
    assert_eq!(String::from_utf8(answers).unwrap().matches("HTTP/1.1 200 OK\r\n").count(), asked);
}

#[tokio::test]
async fn a_body_is_not_taken_for_a_head_wherever_what_comes_is_cut() {
    let server = TestServer::start().await;
    let first = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let body = format!("{{\"username\":{}}}", "1".repeat(7_000));
    let posts = [
        format!("POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        format!(
            "POST /login HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nx: y\r\n\r\n",
            body.len()
        ),
    ];
    let cases = posts.iter().flat_map(|post| {
        let end = post.find("\r\n\r\n").unwrap();
        [1, end, end + 1, end + 2, end + 3, end + 4, end + 9, post.len() - 3, post.len()].map(|at| (post.as_str(), at))
    });
    let asked = cases.map(|(post, at)| {
        let server = &server;
        async move {
            let address = server.address();
            let mut connection = within("a connection", TcpStream::connect(address)).await.unwrap();
            connection.write_all((first.to_owned() + &post[..at]).as_bytes()).await.unwrap();
            let mut answers = vec![0; 2000];
            let length = within("an answer", connection.read(&mut answers)).await.unwrap();
            answers.truncate(length);
            let last = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            connection.write_all((post[at..].to_owned() + last).as_bytes()).await.unwrap();
            within("the rest", connection.read_to_end(&mut answers)).await.unwrap();
            let answers = String::from_utf8(answers).unwrap();
            let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
            assert_eq!(statuses.len(), 3, "{at}: {answers}");
            assert_eq!(statuses[..2], ["200", "400"], "{at}: {answers}");
        }
    });
    futures_util::future::join_all(asked).await;
}
