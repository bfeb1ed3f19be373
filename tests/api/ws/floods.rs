//! Guards `/ws` against clients that write their frames themselves: each limit holds, its close has a code, and none costs memory.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{RawSocket, Socket, TestServer, User, bomb, eventually, frame, handshake, text_frame, within};

/// What a client of `broker.v1` asks for, compression too.
const PROTOCOL: &str = "sec-websocket-protocol: broker.v1\r\nsec-websocket-extensions: permessage-deflate\r\n";
/// How much may come before the sign-in, in bytes.
const BEFORE_SIGN_IN: usize = 32 << 10;
/// How much a frame may have, in bytes.
const FRAME: usize = 2 << 20;

/// A connection; of a user, if one is given.
async fn open(server: &TestServer, of: Option<&User>) -> RawSocket {
    let mut raw = RawSocket::open(server, "/ws", PROTOCOL).await;
    if let Some(user) = of {
        sign_in(&mut raw, user, "").await;
    }
    raw
}

async fn sign_in(raw: &mut RawSocket, user: &User, events: &str) {
    let frame = json!({ "do": "sign_in", "ref": 1, "token": user.jwt(), "events": events });
    raw.send(&text_frame(&frame.to_string())).await;
    let (_, answer) = raw.frame().await.expect("an answer");
    assert!(answer.starts_with(b"{\"ref\":1,\"ok\""), "{}", String::from_utf8_lossy(&answer));
}

/// The next frame that is no heartbeat.
async fn next(raw: &mut RawSocket) -> Option<(u8, Vec<u8>)> {
    loop {
        match raw.frame().await {
            Some((0x81, heartbeat)) if heartbeat == b"{}" => {}
            frame => return frame,
        }
    }
}

async fn is_served(user: &User) {
    let mut socket = user.socket(json!({ "events": "" })).await;
    socket.ok("insert", json!({ "event": "served", "data": 1 })).await;
    socket.close().await;
}

#[tokio::test]
async fn half_a_handshake_is_408_after_the_10_seconds_of_a_head() {
    let server = TestServer::start().await;
    let whole = handshake("/ws", PROTOCOL);
    let mut open = Vec::new();
    for _ in 0..50 {
        let socket = within("a connection", TcpStream::connect(server.address())).await.unwrap();
        let mut raw = RawSocket::over(socket);
        raw.send(&whole.as_bytes()[..whole.len() - 2]).await;
        open.push(raw);
    }
    for raw in &mut open {
        let (status, _, body) = raw.answer().await;
        assert!(status == 408 && body.contains("request_timeout"), "{status} {body}");
    }
    drop(open);
    server.keeps_only(0).await;
}

#[tokio::test]
async fn a_frame_without_a_mask_closes_with_1002() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for of in [None, Some(&alice)] {
        let mut raw = open(&server, of).await;
        raw.send(b"\x81\x02{}").await;
        assert_eq!(raw.closed().await, Some(1002));
    }
}

#[tokio::test]
async fn fragments_without_end_take_no_memory_and_with_more_than_a_frame_may_have_they_close_with_1009() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (of, most, empty) in [(None, BEFORE_SIGN_IN, 10_000), (Some(&alice), FRAME, 500_000)] {
        let mut raw = open(&server, of).await;
        server.forget_peak();
        let before = server.resident_mebibytes();
        raw.send(&frame(0x01, b"")).await;
        let thousand = frame(0x00, b"").repeat(1000);
        for _ in 0..empty / 1000 {
            raw.send(&thousand).await;
        }
        raw.send(&frame(0x89, b"still here")).await;
        assert_eq!(next(&mut raw).await, Some((0x8a, b"still here".to_vec())));
        let taken = server.peak_above(before);
        assert!(taken < 8, "{taken} MiB for nothing");
        for _ in 0..most / 256 {
            raw.send(&frame(0x00, &[b' '; 256])).await;
        }
        raw.send(&frame(0x00, b" ")).await;
        assert_eq!(raw.closed().await, Some(1009));
        let taken = server.peak_above(before);
        assert!(taken < 16, "{taken} MiB for a frame of 2 MiB");
    }
    is_served(&alice).await;
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_at_the_pace_of_its_reader_with_64_kib_of_pongs_waiting() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut raw = open(&server, Some(&alice)).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    let pings: Vec<_> = (0..1000).map(|number| frame(0x89, format!("{number:0125}").as_bytes())).collect();
    let pings = pings.concat();
    let mut sent = 0;
    // Until neither kernel takes any more.
    while tokio::time::timeout(Duration::from_secs(2), raw.socket.write_all(&pings)).await.is_ok() {
        sent += 1000;
        assert!(sent < 1_000_000, "everything is taken");
    }
    let taken = server.peak_above(before);
    assert!(taken < 8, "{taken} MiB");
    is_served(&alice).await;
    for number in 0..sent {
        let expected = format!("{:0125}", number % 1000);
        assert_eq!(next(&mut raw).await, Some((0x8a, expected.into_bytes())));
    }
}

#[tokio::test]
async fn readers_that_stop_have_nothing_in_memory_and_are_gone_after_30_seconds() {
    let server = TestServer::start_with(&["--max_event_bytes=1048576"]).await;
    let alice = server.user("alice", "acme").await;
    let others = server.connections();
    let mut stopped = Vec::new();
    for number in 0..20 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        let mut raw = RawSocket::over(socket.connect(server.address().parse().unwrap()).await.unwrap());
        raw.send(handshake("/ws", "sec-websocket-protocol: broker.v1\r\n").as_bytes()).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
        // Half of them get the same, and half something of their own.
        let own = if number % 2 == 0 { "big".to_owned() } else { format!("big,{number}") };
        sign_in(&mut raw, &alice, &own).await;
        stopped.push(raw);
    }
    server.forget_peak();
    let before = server.resident_mebibytes();
    let large = "x".repeat(500_000);
    for _ in 0..60 {
        alice.insert("big", json!(large)).await;
    }
    assert!(server.connections() >= others + 20, "they are still there");
    // One copy for each reader would be 600 MB.
    let taken = server.peak_above(before);
    assert!(taken < 200, "{taken} MiB");
    eventually("the readers to be cut", || server.connections() <= others).await;
    is_served(&alice).await;
}

#[tokio::test]
async fn of_10_000_filters_a_connection_has_1_000() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let mut socket = alice.socket(json!({ "events": "" })).await;
    server.forget_peak();
    let before = server.resident_mebibytes();
    let mut sent = Vec::new();
    for number in 0..10_000 {
        sent.push(socket.send("subscribe", json!({ "events": format!("name/{number}") })).await);
    }
    for (number, reference) in sent.into_iter().enumerate() {
        let answer = socket.answer(reference).await;
        let (has, code) = (answer.get("ok").is_some(), answer["code"].as_str());
        assert!(if number < 1000 { has } else { code == Some("filter_invalid") }, "{number}: {answer}");
    }
    let all: Vec<_> = (0..10_000).map(|number| format!("name/{number}")).collect();
    socket.refused("subscribe", json!({ "events": all.join(",") }), "filter_invalid").await;
    let taken = server.peak_above(before);
    assert!(taken < 32, "{taken} MiB");
    // Those that it has go on.
    alice.insert("name/1000", json!(0)).await;
    alice.insert("name/999", json!(1)).await;
    assert_eq!(socket.next().await.name, "name/999");
    // Nor does one begin with more.
    let mut socket = Socket::connect(&server.url).await;
    let frame = json!({ "token": alice.jwt(), "events": all[..1001].join(",") });
    socket.refused("sign_in", frame, "filter_invalid").await;
    assert_eq!(socket.closed().await, Some(4400));
}

#[tokio::test]
async fn compression_bombs_are_inflated_to_what_a_frame_may_have_and_close_with_1009() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    for (of, mebibytes) in [(None, 20), (Some(&alice), 200)] {
        let bomb = bomb(mebibytes);
        assert!(bomb.len() < if of.is_none() { BEFORE_SIGN_IN } else { FRAME }, "{}", bomb.len());
        let mut sockets = Vec::new();
        for _ in 0..20 {
            sockets.push(open(&server, of).await);
        }
        server.forget_peak();
        let before = server.resident_mebibytes();
        for raw in &mut sockets {
            raw.send(&bomb).await;
        }
        for raw in &mut sockets {
            assert_eq!(raw.closed().await, Some(1009));
        }
        let taken = server.peak_above(before);
        assert!(taken < 32, "{taken} MiB for 20 messages of {mebibytes}");
    }
    is_served(&alice).await;
}

#[tokio::test]
async fn what_many_clients_do_not_read_is_bounded_for_all_of_them_together() {
    let server = TestServer::start_with(&["--max_event_bytes=1048576", "--streams_per_user=1000"]).await;
    let alice = server.user("alice", "acme").await;
    alice.insert("large", json!("x".repeat(1_000_000))).await;
    let others = server.connections();
    server.forget_peak();
    let before = server.resident_mebibytes();
    let (mut sockets, frame) = (Vec::new(), |number: usize| {
        json!({ "do": "insert", "ref": number, "event": "large", "data": 1, "if_none_match": "*" }).to_string()
    });
    for _ in 0..250 {
        let mut socket = alice.socket(json!({ "events": "" })).await;
        // Each refusal has the event: more than the systems of both take.
        for number in 0..10 {
            socket.send_text(&frame(number)).await;
        }
        sockets.push(socket);
    }
    eventually("clients to be cut", || server.connections() < others + 250).await;
    let taken = server.peak_above(before);
    assert!(taken < 100, "{taken} MiB");
    // A client that reads is served, and what it reads costs the others nothing.
    let mut other = server.user("bob", "elsewhere").await.socket(json!({})).await;
    other.ok("insert", json!({ "event": "a", "data": 1 })).await;
}
