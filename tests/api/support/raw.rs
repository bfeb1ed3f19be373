//! An event stream over a bare socket.

use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{Event, TestServer, User, within};

/// An event stream over a bare socket, which shows each chunk of HTTP/1.1 as it was sent.
pub struct RawStream {
    socket: TcpStream,
    received: BytesMut,
    /// The head of the answer.
    pub head: String,
    /// Whether the last chunk has come: it was ended, not cut off.
    pub complete: bool,
}

impl RawStream {
    /// The id that the server gives the stream.
    #[track_caller]
    pub fn id(&self) -> String {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let ids: Vec<_> =
            headers.filter(|(name, _)| name.eq_ignore_ascii_case("broker-stream")).map(|(_, id)| id).collect();
        let [id] = ids[..] else { panic!("not one id: {}", self.head) };
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}");
        id.to_owned()
    }

    /// Reads until an event has come.
    pub async fn read_to(&mut self, id: &str) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let came = self.events().await.expect("the stream goes on");
            let is_there = came.iter().any(|event| event.id == id);
            events.extend(came);
            if is_there {
                return events;
            }
        }
    }

    pub async fn open(server: &TestServer, user: &User) -> Self {
        Self::open_with(server, user, None).await
    }

    /// Opens one whose receive buffer is this small, in bytes.
    pub async fn open_with(server: &TestServer, user: &User, receive_buffer: Option<u32>) -> Self {
        Self::open_at(server, user, "/sse", receive_buffer).await
    }

    /// Opens one by this path.
    pub async fn open_at(server: &TestServer, user: &User, path: &str, receive_buffer: Option<u32>) -> Self {
        Self::ask(server, &get(user, path), receive_buffer).await
    }

    /// Sends this request.
    pub async fn ask(server: &TestServer, request: &str, receive_buffer: Option<u32>) -> Self {
        let address: SocketAddr = server.address().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        Self::of(within("a connection", socket.connect(address)).await.unwrap(), request).await
    }

    /// Opens one over a connection that was made elsewhere.
    pub async fn over(connection: std::net::TcpStream, user: &User) -> Self {
        connection.set_nonblocking(true).unwrap();
        Self::of(TcpStream::from_std(connection).unwrap(), &get(user, "/sse")).await
    }

    async fn of(mut socket: TcpStream, request: &str) -> Self {
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Self { socket, received: BytesMut::new(), head: String::new(), complete: false };
        stream.head = stream.through(b"\r\n\r\n").await.expect("an answer has a head");
        assert!(stream.head.starts_with("HTTP/1.1 200 "), "{}", stream.head);
        stream
    }

    /// A header of the answer.
    pub fn header(&self, name: &str) -> String {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head)).to_owned()
    }

    /// The next chunk as it was sent; `None` at the end.
    pub async fn chunk(&mut self) -> Option<String> {
        let size = self.through(b"\r\n").await?;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("no chunk's size: {size:?}"));
        while self.received.len() < size + 2 {
            // It was cut off within a chunk.
            if !self.fill().await {
                return None;
            }
        }
        let mut chunk = self.received.split_to(size + 2);
        assert_eq!(chunk.split_off(size)[..], *b"\r\n");
        self.complete = size == 0;
        (size > 0).then(|| String::from_utf8(chunk.into()).unwrap())
    }

    /// All chunks up to the end; whether it was ended, or cut off.
    pub async fn rest(mut self) -> (String, bool) {
        let mut text = String::new();
        while let Some(chunk) = self.chunk().await {
            text.push_str(&chunk);
            assert!(text.len() < 64 << 20, "it goes on for ever: {}…", &text[..200]);
        }
        (text, self.complete)
    }

    /// The events of the next chunk that has any. Every chunk must be whole frames, or a heartbeat alone.
    pub async fn events(&mut self) -> Option<Vec<Event>> {
        loop {
            let chunk = self.chunk().await?;
            if chunk != ":\n" && !(chunk.starts_with("retry:") && chunk.lines().count() == 1) {
                let frames = chunk.strip_suffix("\n\n").unwrap_or_else(|| panic!("not whole frames: {chunk:?}"));
                return Some(frames.split("\n\n").map(Event::parse).collect());
            }
        }
    }

    /// Says that nothing more will be sent, as a client does that closes and has not gone yet.
    pub async fn close_half(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    /// Goes without a farewell.
    pub fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }

    async fn through(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.received.windows(end.len()).position(|window| window == end) {
                return Some(String::from_utf8(self.received.split_to(at + end.len()).into()).unwrap());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        self.received.reserve(64 << 10);
        // A connection that was reset is over too.
        within("bytes", self.socket.read_buf(&mut self.received)).await.unwrap_or(0) > 0
    }
}

/// A user's request for a path.
fn get(user: &User, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n", user.authorization)
}
