//! Guards long polling, by the cases of both suites.

use reqwest::Method;
use serde_json::json;

use super::client::{Polling, opened, refused, said};
use super::server::EchoServer;
use crate::channel::FLAGS;
use crate::support::{Answer, Client, TestServer, within};

#[tokio::test]
async fn a_session_opens_by_a_poll() {
    let server = EchoServer::start();
    let client = Client::new(&server.url());
    let origin = [("origin", "https://a.example")];
    let answer = client.request(Method::GET, "/socket.io/?EIO=4&transport=polling", &origin, None).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let opened = opened(answer);
    let expected = json!({
        "sid": opened["sid"], "upgrades": ["websocket"], "pingInterval": 600_000, "pingTimeout": 20_000,
        "maxPayload": 1_000_000
    });
    assert_eq!(opened, expected);
}

#[tokio::test]
async fn a_request_that_is_wrong_is_refused_by_the_codes_of_the_protocol() {
    let server = EchoServer::start();
    let client = Client::new(&server.url());
    for (method, query, code, message) in [
        (Method::GET, "", 0, "Transport unknown"),
        (Method::GET, "EIO=4", 0, "Transport unknown"),
        (Method::GET, "EIO=4&transport=abc", 0, "Transport unknown"),
        (Method::GET, "transport=polling", 5, "Unsupported protocol version"),
        (Method::GET, "EIO=abc&transport=polling", 5, "Unsupported protocol version"),
        (Method::GET, "EIO=3&transport=polling", 5, "Unsupported protocol version"),
        (Method::POST, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::PUT, "EIO=4&transport=polling", 2, "Bad handshake method"),
        (Method::GET, "EIO=4&transport=polling&sid=abc", 1, "Session ID unknown"),
        (Method::POST, "EIO=4&transport=polling&sid=%00", 1, "Session ID unknown"),
        (Method::GET, "EIO=4&transport=websocket", 3, "Bad request"),
        (Method::GET, "transport=websocket", 5, "Unsupported protocol version"),
    ] {
        let answer = client.request(method, &format!("/socket.io/?{query}"), &[], None).await;
        refused(&answer, code, message);
    }
}

#[tokio::test]
async fn packets_come_and_go_as_payloads() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    for (sent, answered) in [
        (r#"42["message","hello"]"#, r#"42["message-back","hello"]"#),
        (
            "42[\"message\",1]\x1e42[\"message\",2]\x1e42[\"message\",3]",
            "42[\"message-back\",1]\x1e42[\"message-back\",2]\x1e42[\"message-back\",3]",
        ),
        (
            "42[\"message\",\"grün\"]\x1e451-[\"message\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==",
            "42[\"message-back\",\"grün\"]\x1e451-[\"message-back\",{\"_placeholder\":true,\"num\":0}]\x1ebAQIDBA==",
        ),
    ] {
        client.post(sent).await;
        assert_eq!(client.poll().await, answered);
    }
}

#[tokio::test]
async fn what_is_not_a_packet_ends_the_session() {
    let server = EchoServer::start();
    let binary = [("content-type", "application/octet-stream")];
    for (headers, body) in
        [(&[][..], &b"abc"[..]), (&[], b""), (&[], b"4abc"), (&[], b"42{}"), (&[], b"\xff"), (&binary, b"3")]
    {
        let client = Polling::join(&server).await;
        assert_eq!(client.post_any(headers, body).await.status, 400);
        client.is_unknown().await;
    }
}

#[tokio::test]
async fn of_two_polls_at_once_the_first_gets_the_end_and_the_second_is_refused() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    let (one, two) = tokio::join!(client.client.get(&client.path), client.client.get(&client.path));
    // Whichever comes first.
    let (first, second) = if one.status == 200 { (one, two) } else { (two, one) };
    assert_eq!(said(first), "1");
    refused(&second, 3, "Bad request");
    client.is_unknown().await;
}

#[tokio::test]
async fn of_two_posts_at_once_the_second_is_refused() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    // Its body does not end before the other one is answered.
    let (more, rest) = tokio::sync::mpsc::unbounded_channel::<std::io::Result<&'static str>>();
    more.send(Ok("3")).unwrap();
    let rest = futures_util::stream::unfold(rest, |mut rest| async { rest.recv().await.map(|part| (part, rest)) });
    let first = client.client.http.post(format!("{}{}", client.client.url, client.path));
    let first = tokio::spawn(first.body(reqwest::Body::wrap_stream(rest)).send());
    let second = crate::support::until("the first post to begin", async || {
        let answer = client.post_any(&[], b"3").await;
        (answer.status != 200).then_some(answer)
    });
    refused(&second.await, 3, "Bad request");
    drop(more);
    let first = within("the first post", first).await.unwrap().unwrap();
    refused(&Answer::of(first).await, 3, "Bad request");
    client.is_unknown().await;
}

#[tokio::test]
async fn a_body_of_more_than_a_million_bytes_is_refused_and_the_session_goes_on() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    let event = |length: usize| {
        let around = r#"42["message",""]"#.len();
        format!(r#"42["message","{}"]"#, "x".repeat(length - around))
    };
    client.post(&event(1_000_000)).await;
    assert_eq!(client.poll().await.len(), 1_000_000 + "-back".len());
    assert_eq!(client.post_any(&[], event(1_000_001).as_bytes()).await.status, 413);
    client.post(r#"42["message"]"#).await;
    assert_eq!(client.poll().await, r#"42["message-back"]"#);
}

#[tokio::test]
async fn a_client_is_pinged_and_answers() {
    let server = EchoServer::pinging();
    let client = Polling::open(&server).await;
    for _ in 0..3 {
        assert_eq!(client.poll().await, "2");
        client.post("3").await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_gone() {
    let server = EchoServer::impatient();
    let client = Polling::open(&server).await;
    crate::support::until("the end of the session", async || {
        let answer = client.client.get(&client.path).await;
        if answer.status == 200 {
            // A ping, and when it was not answered, the end.
            assert!(["2", "1"].contains(&answer.body.as_str()), "{}", answer.body);
            return None;
        }
        refused(&answer, 1, "Session ID unknown");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_closes_ends_its_poll() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    let (polled, ()) = tokio::join!(client.client.get(&client.path), client.post("1"));
    // It may have come after the end.
    if polled.status == 200 {
        assert_eq!(said(polled), "6");
    } else {
        refused(&polled, 1, "Session ID unknown");
    }
    client.is_unknown().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_in_a_poll_is_gone_at_once() {
    use std::io::{Read, Write};
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    let mut connection = std::net::TcpStream::connect(server.address).unwrap();
    write!(connection, "GET {} HTTP/1.1\r\nhost: x\r\n\r\n", client.path).unwrap();
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    client.is_unknown().await;
}

#[tokio::test]
async fn a_page_of_another_origin_may_post() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    let page = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    let preflight = client.client.request(Method::OPTIONS, &client.path, &page, None).await.ok();
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    let posted = client.post_any(&page[..1], b"3").await.ok();
    assert_eq!(posted.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_opens_no_session_and_uses_none() {
    const PAGE: &str = "https://page.example";
    let origin = format!("--origin={PAGE}");
    let server = TestServer::start_with(&[FLAGS[0], FLAGS[1], &origin]).await;
    let session = Polling::at(&server.url).await;
    let websocket = "/socket.io/?EIO=4&transport=websocket";
    for path in ["/socket.io/?EIO=4&transport=polling", &session.path, websocket, "/socket.io/"] {
        for origin in ["https://elsewhere.example", "null", ""] {
            let answer = session.client.request(Method::GET, path, &[("origin", origin)], None).await;
            assert_eq!((answer.status, answer.header("content-type")), (403, Some("application/json")), "{path}");
            assert_eq!(answer.body, r#"{"code":4,"message":"Forbidden"}"#);
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    // What changes something is refused before it is known what it is for.
    let posted = session.post_any(&[("origin", "https://elsewhere.example")], b"40").await;
    posted.refused(403, "origin_not_allowed");
    // Its session is as it was, for a page that may call and for a program.
    session.post_any(&[("origin", PAGE)], b"40").await.ok();
    assert!(session.poll().await.starts_with("40{"));
    let answer = session.client.request(Method::GET, "/socket.io/?EIO=4&transport=polling", &[("origin", PAGE)], None);
    opened(answer.await);
}

#[tokio::test]
async fn a_stream_comes_by_polls_whichever_thread_serves_them() {
    let server = EchoServer::start();
    let client = Polling::join(&server).await;
    client.post(r#"42["listen"]"#).await;
    let (mut numbers, mut answers) = (0, 0);
    while numbers < 5000 {
        // So that there are answers in every poll.
        client.post(r#"427["message-with-ack"]"#).await;
        server.feed.add(usize::from(numbers < 5000 - 100) * 100);
        for packet in client.poll().await.split('\x1e') {
            if packet == "437[]" {
                answers += 1;
            } else {
                assert_eq!(packet, format!(r#"42["number",{numbers},"{numbers}"]"#));
                numbers += 1;
            }
        }
    }
    assert!(answers > 0);
}
