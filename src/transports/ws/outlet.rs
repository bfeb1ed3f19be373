//! What an application, and a stream on the connection, write to.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::shared::Shared;

/// What a [`StreamOutlet`] did with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Took them all, and may take more.
    All,
    /// Took so many, and takes no more before it is ready again. The rest must be written next, unless nothing was taken.
    Part(usize),
    /// Nothing can be written ever again.
    Gone,
}

/// Own replies on a connection: a cheap clone, which stays on its thread. After the end of the connection everything does nothing.
#[derive(Clone)]
pub struct Outlet {
    shared: Rc<Shared>,
}

impl Outlet {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { shared }
    }

    /// Queues a text. On a connection that [compresses](Outlet::compresses), a large one is compressed.
    pub fn send_text(&self, text: &str) {
        let _ = text;
    }

    /// Queues bytes as a binary message.
    pub fn send_binary(&self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// Queues whole frames that were encoded elsewhere.
    ///
    /// What is queued is sent together, when the task of the connection is polled next. Whoever sends without being asked to must wait
    /// for [room](Outlet::has_room): a connection for which more than 1 MiB is queued is cut. Replies need not, since nothing more is
    /// read without room, if what each takes is bounded.
    pub fn send(&self, frames: &[u8]) {
        let _ = frames;
    }

    /// Whether less than 64 KiB are queued.
    pub fn has_room(&self) -> bool {
        true
    }

    /// Becomes ready when there is room, or when the connection has ended. One task can wait at a time. Wakes as a future does.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let _ = context;
        Poll::Ready(())
    }

    /// Whether the client takes compressed frames, so that [`compressed_frame`](super::compressed_frame) may be used.
    pub fn compresses(&self) -> bool {
        self.shared.compresses()
    }

    /// Closes with this code and reason, of which the first 123 bytes are sent, after everything queued and after the rest of what the
    /// stream has begun. A second call changes nothing.
    pub fn close(&self, code: u16, reason: &str) {
        let _ = (code, reason);
    }

    /// Where a stream writes. There is one at a time: an earlier one can only finish what it has begun.
    pub fn stream(&self) -> StreamOutlet {
        StreamOutlet { shared: Rc::clone(&self.shared) }
    }
}

/// Where a stream on a connection writes whole frames, without a queue: what does not fit now is refused. Between two whole writes, own
/// replies and control frames have their turn. Dropping it in the middle of a write cuts the connection.
pub struct StreamOutlet {
    shared: Rc<Shared>,
}

impl StreamOutlet {
    /// Takes what fits now, without waiting.
    pub fn write(&self, frames: &Bytes) -> Written {
        let _ = (frames, &self.shared);
        Written::Gone
    }

    /// Becomes ready when more may fit, or when nothing ever will. Wakes as a future does.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let _ = context;
        Poll::Ready(())
    }

    /// Becomes ready when nothing more can be written: the client has gone, or the connection closes. Wakes as a future does.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let _ = context;
        Poll::Ready(())
    }

    /// Says that nothing more comes. The connection goes on.
    pub fn finish(&self) {}
}
