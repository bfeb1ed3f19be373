//! Guards a server that has more connections than descriptors.

use std::net::SocketAddr;
use std::sync::Arc;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;

use crate::support::{TestServer, command, eventually, raise_descriptor_limit, until, with_descriptors, within};

/// How many descriptors the server has.
const DESCRIPTORS: usize = 256;
/// How many connections are tried.
const CONNECTIONS: usize = 400;

const FULL: &str = "no more connections are accepted";
const AGAIN: &str = "connections are accepted again";

/// A server with few descriptors, whose journal begins a new file every 64 KiB.
async fn start() -> TestServer {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let started = TestServer::try_start(directory, |directory| {
        with_descriptors(DESCRIPTORS, &command(&["--journal_bytes=65536".to_owned()], directory), directory)
    });
    started.await.unwrap_or_else(|why| panic!("{why}"))
}

async fn with_more_connections_than_descriptors(is_stream: bool) {
    raise_descriptor_limit();
    let server = start().await;
    let alice = server.user("alice", "acme").await;
    alice.insert("first", json!(0)).await;
    let address: SocketAddr = server.address().parse().unwrap();
    let mut others = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut other = TcpStream::connect(address).await.unwrap();
        if is_stream {
            let request = format!("GET /sse HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", alice.authorization);
            other.write_all(request.as_bytes()).await.unwrap();
        }
        others.push(other);
    }
    server.says(FULL).await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    assert!(open <= DESCRIPTORS - 16, "{open} descriptors are open");

    // Over a connection that is there: the journal begins a new file many times, and each goes with a checkpoint.
    for number in 0..100 {
        alice.insert(&format!("n{number}"), json!("x".repeat(10_000))).await;
    }
    let first = server.database().join("journal.0000000000000001");
    eventually("the first file of the journal to go", || !first.exists()).await;

    // A closed connection makes room for a new one, however often.
    drop(others);
    let bob = server.user("bob", "acme").await;
    bob.stream().await.take(101).await;
    server.says(AGAIN).await;
    server.keeps_only(8).await;
    // One that begins it and one that ends it, and not one for each connection; again where those that had waited, and have gone too,
    // take all places for a moment.
    let lines = || [FULL, AGAIN].map(|line| server.log().matches(line).count());
    eventually("the end of the last time", || lines()[0] == lines()[1]).await;
    assert!(lines()[0] <= CONNECTIONS / 20, "{:?}", lines());
}

#[tokio::test]
async fn more_idle_connections_than_descriptors_neither_stop_the_database_nor_shut_the_door_for_good() {
    with_more_connections_than_descriptors(false).await;
}

#[tokio::test]
async fn streams_count_as_connections_also_where_they_have_left_the_http_server() {
    with_more_connections_than_descriptors(true).await;
}

#[tokio::test]
async fn without_a_descriptor_for_the_journal_inserts_wait_for_one_and_the_server_goes_on() {
    let server = start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await.cut_off_allowed();
    // Read all the while, because nobody may leave that for too long.
    let (came, mut names) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(event) = stream.read().await {
            let _ = came.send(event.name);
        }
    });
    let pid = Pid::from_raw(server.pid() as i32);
    let mut inserted = Vec::new();
    let mut insert = async || {
        let name = format!("n{}", inserted.len());
        let answer = alice.try_insert(&name, json!("x".repeat(10_000))).await;
        if answer.status == 200 {
            inserted.push(name);
        }
        answer
    };
    for _ in 0..3 {
        // The connection for it is there, beside that of the stream.
        until("an insert to be taken", async || (insert().await.status == 200).then_some(())).await;
        // From now on nothing can be opened, though what is open stays so.
        prlimit(pid, Resource::Nofile, limit(3)).unwrap();
        // The file that was made ahead is begun, and then there is none.
        let mut taken = 0;
        let refusal = loop {
            let answer = insert().await;
            if answer.status != 200 {
                break answer;
            }
            taken += 1;
            assert!(taken < 1000, "files are begun though none can be opened");
        };
        refusal.refused(503, "overloaded");
        prlimit(pid, Resource::Nofile, limit(DESCRIPTORS as u64)).unwrap();
        // A checkpoint that lacked one as well asks again in a moment.
        until("an insert to be taken", async || (insert().await.status == 200).then_some(())).await;
    }
    for name in &inserted {
        assert_eq!(within("an event", names.recv()).await.as_ref(), Some(name));
    }
    let server = server.end_and_restart(true).await;
    let bob = server.client().sign_in("alice").await;
    assert_eq!(bob.everything().await.len(), inserted.len());
}

fn limit(descriptors: u64) -> Rlimit {
    Rlimit { current: Some(descriptors), maximum: Some(DESCRIPTORS as u64) }
}
