//! Connections that begin no handshake.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use super::Secure;
use crate::support::{raise_descriptor_limit, within};

/// More than one network may have under way.
const IDLE: usize = 1200;
const SHARE: usize = 1024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// Whether the server has closed it.
fn is_closed(connection: &TcpStream) -> bool {
    !matches!(connection.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn connections_that_begin_no_handshake_keep_nobody_out_and_the_oldest_of_too_many_go() {
    raise_descriptor_limit();
    let secure = Secure::start().await;
    let address: SocketAddr = secure.server.url.strip_prefix("https://").unwrap().parse().unwrap();
    let began = Instant::now();
    let mut elsewhere = connect_from(2, address).await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(connect_from(1, address).await);
    }
    // Newcomers get in at once, from anywhere; with places to wait for it would take several rounds of time-outs.
    let client = secure.client();
    client.create_user("alice", "acme").await;
    client.sign_in("alice").await.verify().await.ok();
    assert!(began.elapsed() < 3 * HANDSHAKE, "{:?}", began.elapsed());
    // The oldest went when there were too many, before their time was over, and the others did not.
    within("the end of the oldest", async {
        for connection in &mut idle[..IDLE - SHARE] {
            assert_eq!(connection.read(&mut [0]).await.unwrap_or(0), 0);
        }
    })
    .await;
    if began.elapsed() < HANDSHAKE {
        assert!(!is_closed(&elsewhere) && !is_closed(&idle[IDLE - 1]));
    }
    // And nobody stays for longer than they may.
    within("the end of the others", async {
        assert_eq!(elsewhere.read(&mut [0]).await.unwrap_or(0), 0);
        assert_eq!(idle[IDLE - 1].read(&mut [0]).await.unwrap_or(0), 0);
    })
    .await;
}
