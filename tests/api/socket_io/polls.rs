//! Guards connections on which polls come one after another: they leave the framework, and come back for anything else.

use std::collections::HashMap;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::client::Polling;
use super::server::EchoServer;
use crate::support::within;

/// A connection that sends what it is told to.
struct Connection(BufReader<TcpStream>);

struct Answer {
    status: String,
    headers: HashMap<String, String>,
    body: String,
}

impl Connection {
    async fn open(server: &EchoServer) -> Self {
        Self(BufReader::new(TcpStream::connect(server.address).await.unwrap()))
    }

    async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        within("a line", self.0.read_line(&mut line)).await.unwrap();
        line.trim_end().to_owned()
    }

    async fn answer(&mut self) -> Answer {
        let (status, mut headers) = (self.line().await, HashMap::new());
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { break };
            assert!(headers.insert(name.to_owned(), value.to_owned()).is_none(), "{name} comes twice");
        }
        let length = headers.get("content-length").unwrap_or_else(|| panic!("{status} {headers:?}"));
        let mut body = vec![0; length.parse().unwrap()];
        within("a body", self.0.read_exact(&mut body)).await.unwrap();
        Answer { status, headers, body: String::from_utf8(body).unwrap() }
    }

    /// What is said to a request.
    async fn said(&mut self, request: &str) -> String {
        self.send(request).await;
        self.body().await
    }

    async fn body(&mut self) -> String {
        let answer = self.answer().await;
        assert_eq!(answer.status, "HTTP/1.1 200 OK", "{}", answer.body);
        answer.body
    }

    async fn is_closed(&mut self) {
        assert_eq!(within("the end", self.0.read(&mut [0; 1])).await.unwrap(), 0);
    }
}

fn poll(client: &Polling, stamp: usize) -> String {
    format!("GET {}&t=P{stamp} HTTP/1.1\r\nhost: x\r\n\r\n", client.path)
}

/// What a post of this number is answered by, in the next poll.
fn back(number: usize) -> String {
    format!(r#"42["message-back",{number}]"#)
}

async fn post(client: &Polling, number: usize) {
    client.post(&format!(r#"42["message",{number}]"#)).await;
}

/// A connection on which a session has polled so often that only the client's first bytes tell one poll from another.
async fn polled(server: &EchoServer, client: &Polling) -> Connection {
    let mut connection = Connection::open(server).await;
    for number in 0..4 {
        post(client, number).await;
        assert_eq!(connection.said(&poll(client, number)).await, back(number));
    }
    connection
}

#[tokio::test]
async fn every_poll_on_a_connection_is_answered_as_the_first_one() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    let mut connection = Connection::open(&server).await;
    let mut first = None;
    for number in 0..20 {
        // Some wait, and others do not.
        let waits = number % 2 == 1;
        if waits {
            connection.send(&poll(&client, number)).await;
        }
        post(&client, number).await;
        if !waits {
            connection.send(&poll(&client, number)).await;
        }
        let mut answer = connection.answer().await;
        assert_eq!(answer.body, back(number));
        assert_eq!(answer.headers["content-length"], answer.body.len().to_string());
        let length = answer.headers.remove("content-length");
        assert!(answer.headers.remove("date").is_some() && length.is_some());
        assert!(answer.headers.remove("x-request-id").is_some());
        let first = first.get_or_insert_with(|| answer.headers.clone());
        assert_eq!(&answer.headers, first);
        assert_eq!(first["content-type"], "text/plain; charset=UTF-8");
    }
}

#[tokio::test]
async fn anything_else_may_come_between_two_polls() {
    let server = EchoServer::start();
    let (client, other) = (Polling::join(&server).await, Polling::join(&server).await);
    let mut connection = polled(&server, &client).await;
    for number in 0..3 {
        let event = r#"42["message",7]"#;
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{event}",
            client.path,
            event.len()
        );
        assert_eq!(connection.said(&request).await, "ok");
        assert_eq!(connection.said(&poll(&client, number)).await, back(7));
        // A proxy may send the requests of several clients on one connection.
        post(&other, number).await;
        assert_eq!(connection.said(&poll(&other, number)).await, back(number));
        // Another header may mean another answer.
        post(&client, number).await;
        let from_page = poll(&client, number).replace("host: x", "host: x\r\norigin: https://a.example");
        connection.send(&from_page).await;
        let answer = connection.answer().await;
        assert_eq!((answer.body, answer.headers["access-control-allow-origin"].as_str()), (back(number), "*"));
        post(&client, number).await;
        connection.send(&poll(&client, number)).await;
        let answer = connection.answer().await;
        assert_eq!(answer.body, back(number));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        connection.send("GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(connection.answer().await.status, "HTTP/1.1 404 Not Found");
    }
    // The same request opens another session each time.
    let open = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\n\r\n";
    let opened = [connection.said(open).await, connection.said(open).await, connection.said(open).await];
    assert!(opened.iter().all(|one| one.starts_with("0{")) && opened[0] != opened[1] && opened[1] != opened[2]);
}

#[tokio::test]
async fn polls_may_come_in_pieces_and_several_at_once() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    let mut connection = polled(&server, &client).await;
    for at in [1, 10, 40, poll(&client, 0).len() - 1] {
        let request = poll(&client, at);
        let (one, two) = request.split_at(at);
        connection.send(one).await;
        // It has been read by the time that this is answered, or has not.
        post(&client, at).await;
        assert_eq!(connection.said(two).await, back(at));
        post(&client, at).await;
        assert_eq!(connection.said(&poll(&client, at)).await, back(at));
    }
    // Empty lines are passed over.
    for blank in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n", "\r\n"] {
        connection.send(blank).await;
        // They are read before this is answered, or with what comes next.
        post(&client, 1).await;
        assert_eq!(connection.said(&poll(&client, 1)).await, back(1));
        post(&client, 2).await;
        connection.send(blank).await;
        post(&client, 3).await;
        connection.send("GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(connection.answer().await.status, "HTTP/1.1 404 Not Found", "{blank:?}");
        assert_eq!(connection.said(&poll(&client, 3)).await, [back(2), back(3)].join("\x1e"));
    }
    // What it is in one piece for its client may be several for the server.
    let cookie = format!("host: x\r\ncookie: {}", "c".repeat(5000));
    for number in 0..4 {
        post(&client, number).await;
        assert_eq!(connection.said(&poll(&client, number).replace("host: x", &cookie)).await, back(number));
    }
    // The second waits until the first is answered, and so does what comes behind it.
    let three = [poll(&client, 1), poll(&client, 1), "GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()].concat();
    connection.send(&three).await;
    for number in [1, 2] {
        post(&client, number).await;
        assert_eq!(connection.body().await, back(number));
    }
    assert_eq!(connection.answer().await.status, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn the_body_of_a_poll_is_no_request() {
    let server = EchoServer::start();
    let inner = "GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n";
    let framed = [
        format!("content-length: {}\r\n\r\n{inner}", inner.len()),
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
    ];
    for body in framed {
        let client = Polling::join(&server).await;
        let mut connection = polled(&server, &client).await;
        for number in 0..4 {
            post(&client, number).await;
            let request = poll(&client, number).replace("\r\n\r\n", &format!("\r\n{body}"));
            connection.send(&request).await;
            // A connection may be closed when nobody has read a body.
            let is_open = !within("an answer", connection.0.fill_buf()).await.unwrap().is_empty();
            if !is_open {
                break;
            }
            assert_eq!(connection.body().await, back(number));
        }
    }
}

#[tokio::test]
async fn a_session_may_poll_on_several_connections_and_each_goes_on_when_it_polls_elsewhere_or_ends() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    let mut connections = [polled(&server, &client).await, polled(&server, &client).await];
    for number in 0..6 {
        post(&client, number).await;
        assert_eq!(connections[number % 2].said(&poll(&client, number)).await, back(number));
    }
    client.post("1").await;
    for connection in &mut connections {
        connection.send(&poll(&client, 0)).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, "HTTP/1.1 400 Bad Request");
        assert_eq!(answer.body, r#"{"code":1,"message":"Session ID unknown"}"#);
    }
    let next = Polling::join(&server).await;
    post(&next, 1).await;
    assert_eq!(connections[0].said(&poll(&next, 0)).await, back(1));
}

#[tokio::test]
async fn of_two_polls_at_once_the_session_ends_however_often_it_has_polled() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    let [mut one, mut two] = [polled(&server, &client).await, polled(&server, &client).await];
    one.send(&poll(&client, 0)).await;
    two.send(&poll(&client, 0)).await;
    let mut bodies = [one.answer().await.body, two.answer().await.body];
    bodies.sort();
    assert_eq!(bodies, ["1", r#"{"code":3,"message":"Bad request"}"#]);
    client.is_unknown().await;
}

#[tokio::test]
async fn a_client_that_goes_in_a_poll_or_wants_no_other_is_gone() {
    let server = EchoServer::start();
    for is_reset in [false, true] {
        let client = Polling::join(&server).await;
        let mut connection = polled(&server, &client).await;
        connection.send(&poll(&client, 0)).await;
        if is_reset {
            drop(connection);
        } else {
            connection.0.shutdown().await.unwrap();
            connection.is_closed().await;
        }
        crate::support::until("the end of the session", async || {
            let answer = client.client.get(&client.path).await;
            (answer.status == 400).then_some(())
        })
        .await;
    }
    let client = Polling::join(&server).await;
    let mut connection = polled(&server, &client).await;
    post(&client, 1).await;
    let last = poll(&client, 0).replace("host: x", "host: x\r\nconnection: close");
    assert_eq!(connection.said(&last).await, back(1));
    connection.is_closed().await;
    // The session goes on.
    post(&client, 2).await;
    assert_eq!(client.poll().await, back(2));
}

#[tokio::test]
async fn a_server_that_stops_answers_a_poll_and_closes_connections_that_wait_for_the_next() {
    let server = EchoServer::start();
    let (client, other) = (Polling::join(&server).await, Polling::join(&server).await);
    let [mut idle, mut waiting] = [polled(&server, &client).await, polled(&server, &other).await];
    waiting.send(&poll(&other, 0)).await;
    server.sessions.stop();
    let told = waiting.answer().await.body;
    assert!(["1", r#"{"code":1,"message":"Session ID unknown"}"#].contains(&told.as_str()), "{told}");
    // It waits for the connections that are open.
    within("the end of the server", server.stop()).await;
    idle.is_closed().await;
    waiting.is_closed().await;
}
