//! Guards SIGTERM and Ctrl-C.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{RawStream, TestServer, in_time, insert_big, password_of, within};

/// The contract's bound on how long a stop may take. A busy machine gets another try.
const WITHIN: Duration = Duration::from_secs(5);

async fn connect(server: &TestServer) -> TcpStream {
    let address: SocketAddr = server.address().parse().unwrap();
    TcpStream::connect(address).await.unwrap()
}

/// Sends a request but for the end of its body, which it gives back. Returns when the server has begun with the request: it says so to
/// a client that expects it.
async fn begin(socket: &mut TcpStream, path: &str, headers: &str, body: &str) -> String {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let (now, later) = body.split_at(body.len() / 2);
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut begun = [0; CONTINUE.len()];
    within("the request to begin", socket.read_exact(&mut begun)).await.unwrap();
    assert_eq!(begun, CONTINUE);
    socket.write_all(now.as_bytes()).await.unwrap();
    later.to_owned()
}

async fn stopping(server: &TestServer) {
    server.says(r#""message":"stopping""#).await;
}

async fn read_all(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an end as well.
    let _ = within("the end of a connection", socket.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_signal_ends_the_streams_finishes_requests_and_exits_0_within_5_seconds() {
    for signal in ["TERM", "INT"] {
        in_time(signal, async || stops_in_time(signal).await).await;
    }
}

/// Nothing where it took too long.
async fn stops_in_time(signal: &str) -> Option<()> {
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let last = alice.insert("news", json!(1)).await;
    let mut streams = join_all((0..50).map(|_| alice.stream())).await;
    for stream in &mut streams {
        stream.next().await;
    }
    let mut raw = RawStream::open(&server, &alice).await;
    raw.events().await.unwrap();
    // One connection that waits for its next request, one that never says more than half of one.
    let mut idle = connect(&server).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();
    let mut half = connect(&server).await;
    half.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();

    let since = Instant::now();
    server.signal(signal);
    for stream in &mut streams {
        assert_eq!(stream.rest().await, []);
    }
    assert!(raw.chunk().await.is_none() && raw.complete, "they end as they should, they are not cut off");
    let status = server.ended().await;
    let took = since.elapsed();
    assert_eq!(status.code(), Some(0), "{signal}: {status}");

    let server = server.restart().await;
    assert_eq!(server.client().sign_in("alice").await.stream().await.next().await.id, last);
    (took < WITHIN).then_some(())
}

#[tokio::test]
async fn requests_in_flight_are_finished_and_their_changes_are_on_disk() {
    for _ in 0..10 {
        let mut server = TestServer::start().await;
        let alice = server.user("alice", "acme").await;
        let (mut login, mut insert) = (connect(&server).await, connect(&server).await);
        let credentials = json!({ "username": "alice", "password": password_of("alice") }).to_string();
        let rest_of_login = begin(&mut login, "/login", "", &credentials).await;
        let authorization = format!("authorization: {}\r\n", alice.authorization);
        let event = json!({ "event": "news", "data": "at the last moment" }).to_string();
        let rest_of_insert = begin(&mut insert, "/insert", &authorization, &event).await;

        let since = Instant::now();
        server.signal("TERM");
        stopping(&server).await;
        let _ = login.write_all(rest_of_login.as_bytes()).await;
        let _ = insert.write_all(rest_of_insert.as_bytes()).await;
        // A stop waits for three seconds only: who sends the rest much later, on a busy machine, tries again.
        if since.elapsed() > Duration::from_secs(1) {
            continue;
        }
        let (login, insert) = (read_all(&mut login).await, read_all(&mut insert).await);
        assert!(login.starts_with("HTTP/1.1 200 OK\r\n") && login.contains(r#"{"jwt":""#), "{login:?}");
        assert!(insert.starts_with("HTTP/1.1 200 OK\r\n"), "{insert:?}");
        assert_eq!(server.ended().await.code(), Some(0));

        let server = server.restart().await;
        let event = server.client().sign_in("alice").await.stream().await.next().await;
        assert_eq!(event.json(), "at the last moment");
        assert!(insert.contains(&event.id), "{insert:?}");
        return;
    }
    panic!("each time the rest of the requests came too late");
}

#[tokio::test]
async fn sign_ins_that_are_being_hashed_are_answered() {
    let mut server = TestServer::start().await;
    server.client().create_user("alice", "acme").await;
    // Few enough for the three seconds that a stop waits for them.
    let count = 2 * std::thread::available_parallelism().unwrap().get() + 1;
    let logins: Vec<_> = (0..count)
        .map(|_| {
            let client = server.client();
            tokio::spawn(async move { client.login("alice", &password_of("alice")).await })
        })
        .collect();
    // Each takes tens of milliseconds, on as many threads as there are processors: when one is done, others are not.
    server.says(r#""path":"/login""#).await;
    server.signal("TERM");
    for login in logins {
        login.await.unwrap().ok();
    }
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn readers_that_stall_do_not_hold_up_the_end() {
    in_time("a stop", async || {
        let mut server = TestServer::start().await;
        let alice = server.user("alice", "acme").await;
        let mut stalled = connect(&server).await;
        let request = format!("GET /sse HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", alice.authorization);
        stalled.write_all(request.as_bytes()).await.unwrap();
        stalled.read_u8().await.unwrap();
        insert_big(&alice).await;
        let since = Instant::now();
        server.signal("TERM");
        let status = server.ended().await;
        let took = since.elapsed();
        assert_eq!(status.code(), Some(0), "{status}");
        (took < WITHIN).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_signal_right_after_the_start_ends_it_as_well() {
    for signal in ["TERM", "INT"].into_iter().cycle().take(8) {
        let mut server = TestServer::start().await;
        server.signal(signal);
        let status = server.ended().await;
        assert_eq!(status.code(), Some(0), "{signal}: {status}");
    }
}

#[tokio::test]
async fn sighup_that_asks_for_certificates_to_be_read_again_does_no_harm_where_there_are_none() {
    // As `systemctl reload` sends it.
    let mut server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut stream = alice.stream().await;
    server.signal("HUP");
    let id = alice.insert("news", json!(1)).await;
    assert_eq!(stream.next().await.id, id);
    server.signal("TERM");
    assert_eq!(server.ended().await.code(), Some(0));
}
