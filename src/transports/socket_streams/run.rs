//! How a stream goes on after an upgrade.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::events::{CatchUp, HandOver};
use crate::transports::socket_io::{Socket, Types};

/// A stream, until it ends. One that was begun for long polling also ends when its session has upgraded and everything was given up to
/// some moment: `note` is then told where it goes on, on the WebSocket, without anything lost or given again. The output has what `note`
/// made of that.
///
/// It is noted while the hub still knows the stream: a command that does not find the stream there finds the note, and waits for the
/// stream to go on.
///
/// It is not an `async` block, which would have room for the stream twice.
#[must_use = "the stream ends if it is not run"]
pub struct Running<T: Types, N> {
    socket: Socket<T>,
    is_polling: bool,
    stream: CatchUp,
    note: N,
}

impl<T: Types, N> Running<T, N> {
    /// The stream of a socket.
    pub fn new(socket: Socket<T>, is_polling: bool, stream: CatchUp, note: N) -> Self {
        Self { socket, is_polling, stream, note }
    }
}

impl<T: Types, R, N: FnMut(Option<HandOver>) -> R + Unpin> Future for Running<T, N> {
    type Output = (Socket<T>, R);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { socket, is_polling, stream, note } = &mut *self;
        let stands = if Pin::new(&mut *stream).poll(context).is_ready() {
            None
        } else if *is_polling
            && socket.has_upgraded()
            && let Some(stands) = stream.hand_over()
        {
            Some(stands)
        } else {
            return Poll::Pending;
        };
        Poll::Ready((socket.clone(), note(stands)))
    }
}
