//! Connections that say nothing.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use super::within;

/// A connection from an address of this machine, that says nothing.
pub async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

/// Awaits that so many of those of a network end, and before them not the one from elsewhere, which came first and whose time is over
/// first.
pub async fn too_many_end(elsewhere: &mut TcpStream, idle: &mut [TcpStream], too_many: usize) {
    // Which of them came first is as the workers take them.
    let ends = async {
        let mut ends: FuturesUnordered<_> = idle.iter_mut().map(|connection| connection.read_u8()).collect();
        for _ in 0..too_many {
            assert!(ends.next().await.unwrap().is_err());
        }
    };
    within("the end of those that are too many", async {
        tokio::select! {
            // Where both are so by the time that they are looked at, nothing can be said.
            biased;
            () = ends => {}
            _ = elsewhere.read_u8() => panic!("it ended by its time, and those that are too many did not before"),
        }
    })
    .await;
}
