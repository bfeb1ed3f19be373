//! Guards `x-request-id`: every answer has one, and the log has the same.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{RawSocket, TestServer, eventually, frame, handshake, within};

/// The lines of the log with this id.
fn lines(server: &TestServer, id: &str) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["request_id"] == id).collect()
}

/// A connection on which nothing was asked yet.
async fn dial(server: &TestServer) -> RawSocket {
    RawSocket::over(within("a connection", TcpStream::connect(server.address())).await.unwrap())
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own_and_the_lines_about_it_have_the_same() {
    let server = TestServer::start().await;
    let client = server.client();
    let created = json!({ "username": "alice", "password": "quiet Osprey 71", "tenant_name": "acme" });
    let answers = [
        ("request", client.get("/").await),
        ("request", client.get("/nowhere").await),
        ("request", client.request(Method::OPTIONS, "/login", &[("origin", "https://a.example")], None).await),
        ("broker::access", client.login("nobody", "pw-secret-wrong").await),
        ("broker::admin", client.admin("/create_user", created).await),
    ];
    let ids: Vec<_> = answers.iter().map(|(_, answer)| answer.header("x-request-id").unwrap().to_owned()).collect();
    for (id, (about, answer)) in ids.iter().zip(&answers) {
        assert_eq!(ids.iter().filter(|other| *other == id).count(), 1, "{ids:?}");
        let is_about = |line: &Value| line["message"] == *about || line["target"] == *about;
        eventually("its lines", || lines(&server, id).iter().any(is_about)).await;
        let statuses: Vec<_> = lines(&server, id).iter().filter_map(|line| line["status"].as_u64()).collect();
        assert!(statuses.iter().all(|status| *status == u64::from(answer.status)), "{statuses:?} {answer:?}");
    }
    // A request that no handler sees.
    let mut socket = dial(&server).await;
    socket.send(handshake("/", &format!("x-long: {}\r\n", "x".repeat(40_000))).as_bytes()).await;
    let head = socket.head().await.to_lowercase();
    assert!(head.starts_with("http/1.1 431") && head.contains("\r\nx-request-id: "), "{head}");
}

#[tokio::test]
async fn the_id_of_a_trusted_proxy_is_taken_if_it_is_valid_and_that_of_anybody_else_is_not() {
    let trusting = TestServer::start_with(&["--trusted_proxies=127.0.0.1"]).await;
    let of = async |server: &TestServer, id: &str| {
        let answer = server.client().request(Method::GET, "/", &[("x-request-id", id)], None).await;
        answer.header("x-request-id").unwrap().to_owned()
    };
    let id = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(of(&trusting, id).await, id);
    eventually("its line", || lines(&trusting, id).len() == 1).await;
    for bad in ["a b", "a\"b", "a,b", &"x".repeat(129), ""] {
        assert_ne!(of(&trusting, bad).await, bad);
    }
    let other = TestServer::start().await;
    assert_ne!(of(&other, id).await, id);
}

#[tokio::test]
async fn a_stream_has_an_id_and_the_lines_about_a_websocket_connection_have_that_of_its_request() {
    let server = TestServer::start_with(&["--mqtt"]).await;
    let alice = server.user("alice", "acme").await;
    let stream = alice.stream().await;
    assert!(stream.headers.contains_key("x-request-id"));
    let mut socket = dial(&server).await;
    socket.send(handshake("/mqtt", "sec-websocket-protocol: mqtt\r\n").as_bytes()).await;
    let head = socket.head().await.to_lowercase();
    let (_, after) = head.split_once("\r\nx-request-id: ").unwrap_or_else(|| panic!("{head}"));
    let id = after.lines().next().unwrap().to_owned();
    // A CONNECT that cannot be read.
    socket.send(&frame(0x82, &[0x10, 7, 0, 4, b'M', b'Q', b'T', b'T', 9])).await;
    let is_access = |line: &Value| line["target"] == "broker::access";
    eventually("the line about who is not let in", || lines(&server, &id).iter().any(is_access)).await;
}
