//! Guards requests that are sent before earlier answers have come (RFC 9112, section 9.3.2), a stream among them.

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::{TestServer, User, within};

/// What comes on a connection of HTTP/1.1.
struct Answers<S> {
    socket: S,
    received: BytesMut,
}

impl<S: AsyncRead + Unpin> Answers<S> {
    async fn more(&mut self) {
        self.received.reserve(64 << 10);
        assert!(within("bytes", self.socket.read_buf(&mut self.received)).await.unwrap() > 0, "it was cut off");
    }

    async fn through(&mut self, end: &[u8]) -> String {
        loop {
            if let Some(at) = self.received.windows(end.len()).position(|window| window == end) {
                return String::from_utf8(self.received.split_to(at + end.len()).into()).unwrap();
            }
            self.more().await;
        }
    }

    async fn bytes(&mut self, count: usize) -> String {
        while self.received.len() < count {
            self.more().await;
        }
        String::from_utf8(self.received.split_to(count).into()).unwrap()
    }

    async fn head(&mut self) -> String {
        let head = self.through(b"\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        head
    }

    async fn chunk(&mut self) -> String {
        let size = self.through(b"\r\n").await;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("no size: {size:?}"));
        let chunk = self.bytes(size).await;
        assert_eq!(self.bytes(2).await, "\r\n");
        chunk
    }

    /// One whole answer of JSON.
    async fn json(&mut self) -> Value {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = String::new();
        if let Some(length) = length {
            body = self.bytes(length.parse().unwrap()).await;
        } else {
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    break;
                }
                body += &chunk;
            }
        }
        serde_json::from_str(&body).unwrap()
    }
}

fn get(path: &str, user: &User) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", user.authorization)
}

fn insert_request(event: &str, user: &User) -> String {
    let body = json!({ "event": event, "data": 1 }).to_string();
    let authorization = &user.authorization;
    let length = body.len();
    format!(
        "POST /insert HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// That everything that was asked before a stream is answered whole and in order, on such a connection, and nothing that was
/// asked after it is done.
pub async fn requests_before_a_stream_are_answered<S>(connect: impl AsyncFnOnce() -> S, alice: &User)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    const NAMES: usize = 40;
    const BYTES: usize = 90_000;
    for number in 0..NAMES {
        alice.insert(&format!("large{number}"), json!("x".repeat(BYTES))).await;
    }
    let mut requests = insert_request("small", alice);
    for _ in 0..3 {
        requests += &get("/events", alice);
    }
    requests += &insert_request("last", alice);
    requests += &get("/sse?events=small,last", alice);
    requests += &insert_request("after", alice);
    // Not before: the head of a request may take ten seconds from there.
    let mut answers = Answers { socket: connect().await, received: BytesMut::new() };
    answers.socket.write_all(requests.as_bytes()).await.unwrap();
    answers.socket.flush().await.unwrap();
    let small = answers.json().await["id"].clone();
    for _ in 0..3 {
        let events = answers.json().await;
        let events = events.as_array().unwrap();
        assert_eq!(events.len(), NAMES + 1);
        let size: usize = events.iter().filter_map(|event| event["data"].as_str()).map(str::len).sum();
        assert_eq!(size, NAMES * BYTES);
    }
    let last = answers.json().await["id"].clone();
    let head = answers.head().await;
    assert!(head.contains("content-type: text/event-stream\r\n") && head.contains("connection: close\r\n"), "{head}");
    assert_eq!(head.matches("transfer-encoding: chunked\r\n").count(), 1, "{head}");
    let mut came = String::new();
    while came.matches("\n\n").count() < 2 {
        came += &answers.chunk().await;
    }
    let mut ids: Vec<&str> = came.lines().filter_map(|line| line.strip_prefix("id:")).collect();
    ids.sort_unstable();
    assert_eq!(ids, [small, last]);
    // Nobody would have heard how that went.
    assert!(!alice.everything().await.contains_key("after"));
}

#[tokio::test]
async fn requests_before_a_stream_are_answered_before_it_whole_and_in_order() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let connect = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(server.address().parse().unwrap()).await.unwrap()
    };
    requests_before_a_stream_are_answered(connect, &alice).await;
}

#[tokio::test]
async fn an_insert_and_a_stream_in_one_packet_are_both_answered() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for _ in 0..20 {
        let socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let mut answers = Answers { socket, received: BytesMut::new() };
        let requests = insert_request("news", &alice) + &get("/sse", &alice);
        answers.socket.write_all(requests.as_bytes()).await.unwrap();
        let inserted = answers.json().await["id"].clone();
        answers.head().await;
        // After the first heartbeat.
        while !answers.chunk().await.contains(inserted.as_str().unwrap()) {}
    }
}
