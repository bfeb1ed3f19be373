//! How a stream goes on after an upgrade.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::events::{CatchUp, HandOver};
use crate::transports::socket_io::{Socket, Types};

/// A stream, until it ends. One that was begun for long polling also ends when its session has upgraded and everything was given up to
/// some moment: the other output then says where it goes on, on the WebSocket, without anything lost or given again.
///
/// It is not an `async` block, which would have room for the stream twice.
#[must_use = "the stream ends if it is not run"]
pub struct Running<T: Types> {
    socket: Socket<T>,
    is_polling: bool,
    stream: CatchUp,
}

impl<T: Types> Running<T> {
    /// The stream of a socket.
    pub fn new(socket: Socket<T>, is_polling: bool, stream: CatchUp) -> Self {
        Self { socket, is_polling, stream }
    }
}

impl<T: Types> Future for Running<T> {
    type Output = (Socket<T>, Option<HandOver>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { socket, is_polling, stream } = &mut *self;
        if Pin::new(&mut *stream).poll(context).is_ready() {
            return Poll::Ready((socket.clone(), None));
        }
        if *is_polling && socket.has_upgraded() {
            stream.hand_over().map_or(Poll::Pending, |stands| Poll::Ready((socket.clone(), Some(stands))))
        } else {
            Poll::Pending
        }
    }
}
