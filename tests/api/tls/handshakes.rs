//! Guards against connections that begin no handshake.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{FLAGS, Secure};
use crate::support::{
    command, connect_from, eventually, in_time, raise_descriptor_limit, send_all, too_many_end, with_descriptors,
    within,
};

/// How many descriptors the server has: one network may have a quarter of the connections that these are enough for under way.
const DESCRIPTORS: usize = 256;
/// How many begin no handshake, and of those, how many are too many at the least.
const IDLE: usize = 100;
const TOO_MANY: usize = IDLE - DESCRIPTORS / 4;

/// Whether the server has closed it.
fn is_closed(connection: &TcpStream) -> bool {
    !matches!(connection.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn more_idle_connections_than_a_worker_of_the_library_would_take_keep_nobody_waiting() {
    // One network may have 1024 under way.
    const MANY: usize = 1000;
    raise_descriptor_limit();
    // A slow machine may need the five seconds of an idle one for so many: then it is tried again.
    for _ in 0..5 {
        let secure = Secure::start_as(|directory| {
            with_descriptors(8 * MANY, &command(&FLAGS.map(str::to_owned), directory), directory)
        })
        .await;
        let address: SocketAddr = secure.server.address().parse().unwrap();
        let client = secure.client();
        let mut idle = Vec::new();
        for _ in 0..MANY {
            idle.push(connect_from(1, address).await);
        }
        eventually("all to be taken", || secure.server.connections() >= MANY || idle.iter().any(is_closed)).await;
        let mut ends: FuturesUnordered<_> = idle.iter_mut().map(|connection| connection.read_u8()).collect();
        // None of them has to go first.
        tokio::select! {
            biased;
            answer = client.get("/") => {
                answer.ok();
                return;
            }
            _ = ends.next() => {}
        }
    }
    panic!("each time a newcomer waited until the idle ones had to go");
}

#[tokio::test]
async fn connections_that_begin_no_handshake_keep_nobody_out_and_the_oldest_of_too_many_go() {
    let secure = Secure::start_as(|directory| {
        with_descriptors(DESCRIPTORS, &command(&FLAGS.map(str::to_owned), directory), directory)
    })
    .await;
    let address: SocketAddr = secure.server.address().parse().unwrap();
    // It comes first, so its time is over first: whoever ends before it does so for another reason.
    let mut elsewhere = connect_from(2, address).await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(connect_from(1, address).await);
    }
    too_many_end(&mut elsewhere, &mut idle, TOO_MANY).await;
    // The others stay for as long as they may.
    let open = idle.iter().filter(|connection| !is_closed(connection)).count();
    assert!(open >= 10 || is_closed(&elsewhere), "{open}");
    // Newcomers get in from anywhere.
    let client = secure.client();
    client.create_user("alice", "acme").await;
    client.sign_in("alice").await.verify().await.ok();
    // And nobody stays for longer than they may.
    within("the end of the others", async {
        elsewhere.read_u8().await.unwrap_err();
        for connection in &mut idle {
            connection.read_u8().await.unwrap_err();
        }
    })
    .await;
}

#[tokio::test]
async fn a_handshake_has_a_shorter_time_than_the_head_of_a_request() {
    let secure = Secure::start().await;
    let address: SocketAddr = secure.server.address().parse().unwrap();
    let attempt = async || {
        let began = Instant::now();
        // It has ten seconds.
        let mut head = secure.connect("http/1.1").await;
        send_all(&mut head, b"GET / HTTP/1.1\r\n").await.unwrap();
        // So much more that it ends first, if a handshake has as long.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let since = Instant::now();
        let (mut silent, mut cut) = (connect_from(1, address).await, connect_from(1, address).await);
        // A record of a handshake that is longer than what comes of it.
        cut.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        if began.elapsed() > Duration::from_secs(3) {
            return None;
        }
        let handshakes = async {
            let ended = async |connection: &mut TcpStream| {
                within("the end of a handshake", connection.read_to_end(&mut Vec::new())).await.ok();
                since.elapsed()
            };
            tokio::join!(ended(&mut silent), ended(&mut cut))
        };
        tokio::select! {
            biased;
            (silent, cut) = handshakes => {
                let is_right = |took: Duration| (4..30).contains(&took.as_secs());
                assert!(is_right(silent) && is_right(cut), "{silent:?}, {cut:?}");
                Some(())
            }
            _ = head.read_u8() => panic!("a handshake that began later has longer than the head of a request"),
        }
    };
    in_time("connections", attempt).await;
}
