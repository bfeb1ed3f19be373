//! Guards the server against connections that stay, stop or take memory.

use super::EchoServer;
use crate::support::{RawSocket, frame, text_frame, within};

#[tokio::test]
async fn a_server_that_stops_closes_its_connections_with_1012() {
    let server = EchoServer::start();
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut raw = RawSocket::open_echo(&server).await;
        raw.send(&text_frame("x")).await;
        assert_eq!(raw.frame().await, Some((0x81, b"x".to_vec())));
        open.push(raw);
    }
    let stopping = tokio::spawn(server.stop());
    for raw in &mut open {
        let (first, payload) = raw.frame().await.expect("a close frame");
        assert_eq!((first, &payload[..2]), (0x88, &1012_u16.to_be_bytes()[..]));
        raw.send(&frame(0x88, &payload[..2])).await;
        assert_eq!(raw.frame().await, None);
    }
    within("the server to end", stopping).await.unwrap();
}

#[tokio::test]
async fn unfinished_messages_of_many_connections_take_a_bounded_amount_of_memory() {
    let server = EchoServer::start();
    // 24 MiB is what clients that have not signed in may take together.
    let connections = 40;
    let large = frame(0x82, &vec![0; 1 << 20]);
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut raw = RawSocket::open_echo(&server).await;
        // All but the last byte.
        raw.send(&large[..large.len() - 1]).await;
        open.push(raw);
    }
    let (mut whole, mut refused) = (0, 0);
    for mut raw in open {
        // The connection may have ended already.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.socket, &large[large.len() - 1..]).await;
        match raw.frame().await {
            Some((0x82, payload)) if payload.len() == 1 << 20 => whole += 1,
            Some((0x88, payload)) => {
                assert_eq!(payload[..2], 1013_u16.to_be_bytes());
                refused += 1;
            }
            other => panic!("{:?}", other.map(|(first, _)| first)),
        }
    }
    assert_eq!(whole + refused, connections);
    assert!((10..=30).contains(&whole), "{whole} were whole, {refused} refused");
}
