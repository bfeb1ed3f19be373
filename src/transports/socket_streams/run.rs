//! How a stream goes on after an upgrade.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::events::{CatchUp, HandOver};
use crate::transports::socket_io::{Socket, Types};

/// Runs a stream until it ends. One that was begun for long polling also ends when its session has upgraded and everything was given up
/// to some moment: what is returned then says where it goes on, on the WebSocket, without anything lost or given again.
pub async fn run<T: Types>(socket: &Socket<T>, is_polling: bool, mut stream: CatchUp) -> Option<HandOver> {
    poll_fn(|context| {
        if Pin::new(&mut stream).poll(context).is_ready() {
            return Poll::Ready(None);
        }
        if is_polling && socket.has_upgraded() {
            stream.hand_over().map_or(Poll::Pending, |stands| Poll::Ready(Some(stands)))
        } else {
            Poll::Pending
        }
    })
    .await
}
