//! Guards `/socket.io/` of the real server against hostile clients: each limit holds, what is refused is told, and none costs memory.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::{Polling, opened, refused};
use crate::channel::{FLAGS, token};
use crate::support::{RawSocket, TestServer, bomb, frame, in_time, text_frame, within};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
/// How many sessions of long polling one client may have.
const SESSIONS: usize = 65_536;
/// How much a post, a message and a packet with its attachments may have, in bytes.
const MAX_PAYLOAD: usize = 1_000_000;

/// A client by WebSocket in the main namespace.
async fn join(server: &TestServer) -> RawSocket {
    let mut raw = RawSocket::open(server, WEBSOCKET, "sec-websocket-extensions: permessage-deflate\r\n").await;
    raw.send(&text_frame("40")).await;
    for begin in ["0{\"sid\":", "40{\"sid\":", "42[\"clientevent\","] {
        expect(&mut raw, begin).await;
    }
    raw
}

async fn expect(raw: &mut RawSocket, begin: &str) {
    let (first, text) = raw.frame().await.expect("a packet");
    assert!(first == 0x81 && text.starts_with(begin.as_bytes()), "{}", String::from_utf8_lossy(&text));
}

/// A client of long polling in the main namespace, which has taken what it was told.
async fn join_by_polling(server: &TestServer) -> Polling {
    let polling = Polling::at(&server.url).await;
    polling.post("40").await;
    let mut said = polling.poll().await;
    while !said.contains("clientevent") {
        said.push_str(&polling.poll().await);
    }
    polling
}

/// A well-behaved client is served.
async fn is_served(server: &TestServer) {
    let token = token(server, "room").await;
    let mut raw = join(server).await;
    raw.send(&text_frame(&format!(r#"42["join_channel",{{"token":"{token}"}}]"#))).await;
    expect(&mut raw, r#"42["clientevent",{"data":"Connected to room"}]"#).await;
}

#[tokio::test]
async fn of_sessions_that_are_opened_and_left_one_client_has_65_536() {
    // Of those that join nothing the first ones end after 45 s.
    in_time("as many sessions as there may be", async || {
        let since = Instant::now();
        let counts = open_and_leave().await;
        (since.elapsed() < Duration::from_secs(45)).then(|| assert_eq!(counts, (SESSIONS, 67_000 - SESSIONS)))
    })
    .await;
}

/// How many of 67,000 sessions were opened, and how many refused.
async fn open_and_leave() -> (usize, usize) {
    let server = TestServer::start_with(&FLAGS).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    // Many requests at once on each connection: it is the server that is to be busy.
    let request = format!("GET {POLLING} HTTP/1.1\r\nhost: x\r\n\r\n");
    let open = async |count: usize| {
        let socket = within("a connection", TcpStream::connect(server.address())).await.unwrap();
        let mut raw = RawSocket::over(socket);
        let (mut opened, mut refused) = (0, 0);
        for _ in 0..count / 20 {
            raw.send(request.repeat(20).as_bytes()).await;
            for _ in 0..20 {
                match raw.answer().await {
                    (200, _, body) if body.starts_with("0{\"sid\":") => opened += 1,
                    (503, _, body) if body == r#"{"code":3,"message":"Too many sessions"}"# => refused += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        (opened, refused)
    };
    let came = futures_util::future::join_all((0..10).map(|_| open(6_700))).await;
    let counts = came.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let taken = server.peak_above(before);
    assert!(taken < 256, "{taken} MiB: more than 4 KiB for each session");
    // A connection of its own needs no such place.
    is_served(&server).await;
    counts
}

#[tokio::test]
async fn of_two_polls_at_once_the_first_is_told_the_end_and_the_second_is_refused() {
    let server = TestServer::start_with(&FLAGS).await;
    let polling = join_by_polling(&server).await;
    let mut first = RawSocket::over(TcpStream::connect(server.address()).await.unwrap());
    first.send(format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", polling.path).as_bytes()).await;
    // Whichever comes first waits, and the other ends the session.
    let mut second = RawSocket::over(TcpStream::connect(server.address()).await.unwrap());
    second.send(format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", polling.path).as_bytes()).await;
    let ((one, _, first), (two, _, second)) = tokio::join!(first.answer(), second.answer());
    let mut answers = [(one, first.as_str()), (two, second.as_str())];
    answers.sort_unstable();
    assert_eq!(answers, [(200, "1"), (400, r#"{"code":3,"message":"Bad request"}"#)]);
    polling.is_unknown().await;
    is_served(&server).await;
}

#[tokio::test]
async fn an_upgrade_that_never_ends_is_given_up_after_10_seconds_and_the_session_goes_on() {
    let server = TestServer::start_with(&FLAGS).await;
    let mut waiting = Vec::new();
    for is_tried in [false, true].repeat(10) {
        let polling = join_by_polling(&server).await;
        let path = polling.path.replace("polling", "websocket");
        let mut socket = RawSocket::open(&server, &path, "").await;
        if is_tried {
            socket.send(&text_frame("2probe")).await;
            expect(&mut socket, "3probe").await;
        }
        // A second one beside it is closed at once.
        assert!(RawSocket::open(&server, &path, "").await.closed().await.is_some());
        waiting.push((polling, socket));
    }
    for (polling, mut socket) in waiting {
        assert!(socket.closed().await.is_some(), "it is cut");
        polling.post(r#"42["message",1]"#).await;
        // A ping may be due beside it.
        let said = async || {
            let said = polling.poll().await;
            said.split('\u{1e}').filter(|packet| !matches!(*packet, "2" | "6")).collect::<Vec<_>>().join("\u{1e}")
        };
        let mut message = said().await;
        while message.is_empty() {
            message = said().await;
        }
        assert_eq!(message, r#"42["message",1]"#);
    }
}

#[tokio::test]
async fn a_frame_without_a_mask_closes_with_1002_and_a_packet_that_is_none_closes() {
    let server = TestServer::start_with(&FLAGS).await;
    let mut raw = join(&server).await;
    raw.send(b"\x81\x01x").await;
    assert_eq!(raw.closed().await, Some(1002));
    for wrong in ["", "x", "2", "4", "42", "42[]", "42[[]]", "452-[\"a\"", "40{\"a\":", "42[\"connect\"]", "40{}"] {
        let mut raw = join(&server).await;
        raw.send(&text_frame(wrong)).await;
        assert!(raw.closed().await.is_some(), "{wrong}");
    }
    is_served(&server).await;
}

#[tokio::test]
async fn what_a_client_says_of_itself_has_at_most_16_kib_in_a_message_of_32_kib() {
    let server = TestServer::start_with(&FLAGS).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    let says = |bytes: usize| format!(r#"40{{"a":[{}0]}}"#, r#"{"":0},"#.repeat(bytes / 7));
    let polling = Polling::at(&server.url).await;
    for _ in 0..10 {
        assert_eq!(polling.post_any(&[], says(MAX_PAYLOAD - 100).as_bytes()).await.status, 413);
        let mut raw = RawSocket::open(&server, WEBSOCKET, "").await;
        raw.send(&text_frame(&says(MAX_PAYLOAD - 100))).await;
        expect(&mut raw, "0{\"sid\":").await;
        assert_eq!(raw.closed().await, Some(1009));
    }
    let mut raw = RawSocket::open(&server, WEBSOCKET, "").await;
    raw.send(&text_frame(&says(20 << 10))).await;
    expect(&mut raw, "0{\"sid\":").await;
    expect(&mut raw, r#"44{"message":"The option auth has more than 16384 bytes"}"#).await;
    // As values, so many objects would take 93 MB.
    let taken = server.peak_above(before);
    assert!(taken < 12, "{taken} MiB");
    is_served(&server).await;
}

#[tokio::test]
async fn bombs_and_fragments_are_taken_up_to_a_million_bytes_and_close_with_1009() {
    let server = TestServer::start_with(&FLAGS).await;
    let bomb = bomb(200);
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(join(&server).await);
    }
    server.forget_peak();
    let before = server.resident_mebibytes();
    for raw in &mut sockets {
        raw.send(&bomb).await;
    }
    for raw in &mut sockets {
        assert_eq!(raw.closed().await, Some(1009));
    }
    let mut raw = join(&server).await;
    raw.send(&frame(0x01, b"")).await;
    for _ in 0..300 {
        raw.send(&frame(0x00, b"").repeat(1000)).await;
    }
    for _ in 0..MAX_PAYLOAD / 250 {
        raw.send(&frame(0x00, &[b'x'; 250])).await;
    }
    raw.send(&frame(0x00, b"x")).await;
    assert_eq!(raw.closed().await, Some(1009));
    let taken = server.peak_above(before);
    assert!(taken < 24, "{taken} MiB");
    let polling = join_by_polling(&server).await;
    let large = vec![b'x'; MAX_PAYLOAD + 1];
    assert_eq!(polling.post_any(&[], &large).await.status, 413);
    is_served(&server).await;
}

#[tokio::test]
async fn a_flood_of_pings_or_of_packets_that_say_nothing_is_taken_at_the_pace_of_its_reader() {
    let server = TestServer::start_with(&FLAGS).await;
    let pings = frame(0x89, &[b'p'; 125]).repeat(1000);
    let pongs = text_frame("3").repeat(1000);
    let echoes = text_frame(&format!(r#"42["message","{}"]"#, "x".repeat(1000))).repeat(100);
    for (flood, is_answered) in [(pings, true), (echoes, true), (pongs, false)] {
        let mut raw = join(&server).await;
        server.forget_peak();
        let before = server.resident_mebibytes();
        let mut times = 0;
        while times < 500 && tokio::time::timeout(Duration::from_secs(2), raw.socket.write_all(&flood)).await.is_ok() {
            times += 1;
        }
        assert_eq!(times < 500, is_answered, "a client that does not read is read from");
        let taken = server.peak_above(before);
        assert!(taken < 8, "{taken} MiB");
        is_served(&server).await;
        if !is_answered {
            raw.send(&frame(0x89, b"still here")).await;
            let mut answer = raw.frame().await;
            // Engine.IO's ping, on a slow machine.
            while answer == Some((0x81, b"2".to_vec())) {
                answer = raw.frame().await;
            }
            assert_eq!(answer, Some((0x8a, b"still here".to_vec())));
        }
    }
    // Pings are the server's: a client that sends one is closed.
    let mut raw = join(&server).await;
    raw.send(&text_frame("2").repeat(1000)).await;
    assert!(raw.closed().await.is_some());
}

#[tokio::test]
async fn a_client_that_posts_and_does_not_poll_is_read_no_further_than_64_kib_of_answers() {
    let server = TestServer::start_with(&FLAGS).await;
    let body = vec![format!(r#"42["message","{}"]"#, "x".repeat(10_000)); 90].join("\x1e");
    let polling = join_by_polling(&server).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    let mut posting = Vec::new();
    for _ in 0..10 {
        let client = join_by_polling(&server).await;
        let body = body.clone();
        posting.push(tokio::spawn(async move { client.post_any(&[], body.as_bytes()).await }));
    }
    is_served(&server).await;
    polling.post(r#"42["message",1]"#).await;
    assert_eq!(polling.poll().await, r#"42["message",1]"#);
    assert!(posting.iter().all(|post| !post.is_finished()), "a post is answered whose echoes nobody has taken");
    let taken = server.peak_above(before);
    // The ten bodies themselves have 9 MB.
    assert!(taken < 32, "{taken} MiB");
    posting.iter().for_each(|post| post.abort());
}

#[tokio::test]
async fn attachments_that_never_come_whole_take_256_mib_and_the_largest_sessions_end() {
    let server = TestServer::start_with(&FLAGS).await;
    let half = [frame(0x81, br#"452-["message"]"#), frame(0x82, &vec![0; MAX_PAYLOAD - 100])].concat();
    server.forget_peak();
    let before = server.resident_mebibytes();
    let mut sockets = Vec::new();
    for _ in 0..300 {
        let mut raw = join(&server).await;
        raw.send(&half).await;
        // What follows is looked at when the half has been taken.
        raw.send(&frame(0x89, b"taken?")).await;
        assert_eq!(raw.frame().await.map(|(first, _)| first), Some(0x8a));
        sockets.push(raw);
    }
    let taken = server.peak_above(before);
    assert!(taken < 300, "{taken} MiB");
    // Of the same size, those that came first have ended.
    assert_eq!(sockets[0].closed().await, Some(1013));
    is_served(&server).await;
}

#[tokio::test]
async fn a_post_whose_body_does_not_come_ends_its_session() {
    let server = TestServer::start_with(&FLAGS).await;
    let polling = join_by_polling(&server).await;
    let mut raw = RawSocket::over(TcpStream::connect(server.address()).await.unwrap());
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n42[", polling.path);
    raw.send(head.as_bytes()).await;
    // Meanwhile there is no other one.
    let second = within("a second post", async {
        loop {
            let answer = polling.client.request(Method::POST, &polling.path, &[], Some(b"3".to_vec())).await;
            if answer.status != 200 {
                return answer;
            }
        }
    });
    refused(&second.await, 3, "Bad request");
    polling.is_unknown().await;
    let opened = opened(polling.client.get(POLLING).await);
    assert_eq!(opened["upgrades"], json!(["websocket"]));
}
