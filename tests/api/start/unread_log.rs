//! Guards a log that nobody reads, and one that strangers fill.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Authority, Client, TestServer, command, eventually, free_port, within};

/// As many connections as once filled a pipe.
const CONNECTIONS: usize = 529;
/// The bytes of a client that speaks another protocol, or stops in the middle.
const GARBAGE: [&[u8]; 5] = [
    b"NONSENSE\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"POST /login HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno length\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
];

/// A server whose log is a pipe that nobody reads.
struct Unread {
    child: Child,
    client: Client,
    _directory: tempfile::TempDir,
}

impl Unread {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        // A line for each request.
        let flags = [format!("--port={port}"), "--log=debug".to_owned()];
        let child = command(&flags, directory.path()).spawn().unwrap();
        eventually("the server to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        let client = Client::new(&format!("http://127.0.0.1:{port}"));
        Self { child, client, _directory: directory }
    }

    /// Has it write more lines than the pipe and any queue hold.
    async fn overfill(&self) {
        let ask = |_| async {
            for _ in 0..500 {
                self.client.get("/").await;
            }
        };
        join_all((0..16).map(ask)).await;
    }

    fn address(&self) -> &str {
        self.client.url.strip_prefix("http://").unwrap()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends garbage, and waits until the server has had enough of it.
async fn send_garbage(address: &str) {
    for first in (0..CONNECTIONS).step_by(100) {
        let send = |number: usize| async move {
            let mut connection = TcpStream::connect(address).await.unwrap();
            // It may have hung up before all of it was sent.
            let _ = connection.write_all(GARBAGE[number % GARBAGE.len()]).await;
            let _ = connection.shutdown().await;
            let _ = within("an end", connection.read_to_end(&mut Vec::new())).await;
        };
        join_all((first..(first + 100).min(CONNECTIONS)).map(send)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_stops_nobody_and_says_later_how_many_lines_were_dropped() {
    let mut server = Unread::start().await;
    send_garbage(server.address()).await;
    server.overfill().await;
    server.client.create_user("alice", "acme").await;
    let alice = server.client.sign_in("alice").await;
    alice.insert("news", json!(1)).await;

    let log = BufReader::new(server.child.stderr.take().unwrap());
    let told = tokio::task::spawn_blocking(move || {
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        lines.find_map(|line| line["dropped"].as_u64()).unwrap()
    });
    assert!(within("the number of lines", told).await.unwrap() > 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_keeps_no_server_from_ending() {
    let mut server = Unread::start().await;
    server.overfill().await;
    let sent = Command::new("kill").arg(server.child.id().to_string()).status().unwrap();
    assert!(sent.success());
    let mut status = None;
    eventually("the server to end", || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_of_strangers_is_a_few_lines() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let (chain, key) = Authority::new().issue(directory.path());
    let mut flags = vec!["--secure".to_owned(), "--auto_cert=false".to_owned(), "--https_port=0".to_owned()];
    flags.extend([format!("--cert_path={}", chain.display()), format!("--key_path={}", key.display())]);
    let since = Instant::now();
    let tls = TestServer::try_start(directory, move |directory| command(&flags, directory)).await.unwrap();
    let plain = TestServer::start_with(&["--log=info"]).await;
    for mut server in [plain, tls] {
        send_garbage(server.address()).await;
        // A line that is there at every level comes after any of these.
        server.stop().await;
        server.says("stopped").await;
        let log = server.log();
        let lines = log.lines().filter(|line| !line.contains("DEBUG")).count();
        // So many in each ten seconds, of which a slow machine needs some.
        let spans = since.elapsed().as_secs() as usize / 10 + 1;
        assert!(lines < 60 * spans, "{log}");
    }
}
