//! Guards a client that closes its side of an HTTP/1 connection after its last request (RFC 9112, section 9.6).

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestServer, User, within};

fn insert_request(event: &str, bytes: usize, version: &str, user: &User) -> String {
    let body = json!({ "event": event, "data": "x".repeat(bytes) }).to_string();
    let (authorization, length) = (&user.authorization, body.len());
    format!(
        "POST /insert HTTP/{version}\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// All that comes on a connection once these parts are sent, one after the other, and its side is closed.
async fn answers(mut socket: impl AsyncRead + AsyncWrite + Unpin, parts: &[&[u8]]) -> String {
    for part in parts {
        socket.write_all(part).await.unwrap();
        socket.flush().await.unwrap();
    }
    socket.shutdown().await.unwrap();
    let mut came = String::new();
    within("the end", socket.read_to_string(&mut came)).await.unwrap();
    came
}

/// That whatever is asked on such a connection before its side is closed is done and answered.
pub async fn requests_are_answered<S: AsyncRead + AsyncWrite + Unpin>(connect: impl AsyncFn() -> S, alice: &User) {
    for number in 0..20 {
        let version = ["1.1", "1.0"][number % 2];
        let came =
            answers(connect().await, &[insert_request(&format!("n{number}"), 1, version, alice).as_bytes()]).await;
        assert!(came.contains(" 200 OK\r\n") && came.contains("{\"id\":"), "{came:?}");
    }
    let large = insert_request("large", 90_000, "1.1", alice);
    let (one, other) = large.as_bytes().split_at(large.len() / 2);
    for parts in [&[large.as_bytes()][..], &[one, other]] {
        let came = answers(connect().await, parts).await;
        assert!(came.starts_with("HTTP/1.1 200 ") && came.contains("{\"id\":"), "{came:?}");
    }
    let several: String = (0..8).map(|number| insert_request(&format!("m{number}"), 1, "1.1", alice)).collect();
    let came = answers(connect().await, &[several.as_bytes()]).await;
    assert_eq!(came.matches("{\"id\":").count(), 8, "{came:?}");
    assert_eq!(alice.everything().await.len(), 20 + 1 + 8);
    // Of what was not sent to its end nothing is done.
    let cut = insert_request("cut", 1000, "1.1", alice);
    let came = answers(connect().await, &[&cut.as_bytes()[..cut.len() - 1]]).await;
    assert!(came.starts_with("HTTP/1.1 400 ") && came.contains("body_invalid"), "{came:?}");
    assert!(!alice.everything().await.contains_key("cut"));
}

/// That a stream on such a connection ends at once when its side is closed.
pub async fn a_stream_ends<S: AsyncRead + AsyncWrite + Unpin>(connect: impl AsyncFn() -> S, alice: &User) {
    for version in ["1.1", "1.0"] {
        let request = format!("GET /sse HTTP/{version}\r\nhost: x\r\nauthorization: {}\r\n\r\n", alice.authorization);
        let mut socket = connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.flush().await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b":\n") && !came.ends_with(b":\n\r\n") {
            assert!(within("bytes", socket.read_buf(&mut came)).await.unwrap() > 0);
        }
        socket.shutdown().await.unwrap();
        let since = std::time::Instant::now();
        within("the end", socket.read_to_end(&mut came)).await.unwrap();
        // Sooner than the next heartbeat.
        assert!(since.elapsed().as_secs() < 10, "{:?}", since.elapsed());
        // Also if it was closed together with the request.
        answers(connect().await, &[request.as_bytes()]).await;
    }
}

fn connect(server: &TestServer) -> impl AsyncFn() -> TcpStream {
    let address = server.address().to_owned();
    async move || TcpStream::connect(&address).await.unwrap()
}

#[tokio::test]
async fn requests_before_a_client_closes_its_side_are_done_and_answered() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    requests_are_answered(connect(&server), &alice).await;
}

#[tokio::test]
async fn a_stream_ends_at_once_when_its_client_closes_their_side() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let before = server.connections();
    a_stream_ends(connect(&server), &alice).await;
    server.keeps_only(before).await;
}

#[tokio::test]
async fn a_stream_of_http_1_0_ends_at_once_when_its_client_is_gone() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let before = server.connections();
    for is_reset in [false, true] {
        let mut socket = connect(&server)().await;
        let request = format!("GET /sse HTTP/1.0\r\nauthorization: {}\r\n\r\n", alice.authorization);
        socket.write_all(request.as_bytes()).await.unwrap();
        assert!(within("bytes", socket.read(&mut [0; 2000])).await.unwrap() > 0);
        if is_reset {
            socket.set_zero_linger().unwrap();
        }
        drop(socket);
        server.keeps_only(before).await;
    }
}
