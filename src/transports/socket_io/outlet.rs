//! Where an event stream writes.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::line::{Line, Written};
use super::members::Member;
use super::session::Session;
use super::types::Types;
use crate::transports::ws::StreamOutlet;

/// Where the event stream of a socket writes.
pub enum Outlet<T: Types> {
    /// A session of long polling.
    Polling(PollingOutlet<T>),
    /// A session with a WebSocket, on which each packet is a text frame.
    WebSocket {
        /// Takes whole frames.
        outlet: StreamOutlet,
        /// Whether compressed frames are taken.
        compresses: bool,
    },
}

/// The place for one chunk of an event stream that the next poll takes, or the WebSocket of a session that has upgraded. A client that
/// does not poll costs no more than its position. It may be used by one task at a time.
pub struct PollingOutlet<T: Types> {
    session: Arc<Session<T>>,
    /// Whose stream it is. A session may have had others, and may have others after it.
    member: Arc<Member<T>>,
}

impl<T: Types> PollingOutlet<T> {
    pub(super) fn new(session: Arc<Session<T>>, member: Arc<Member<T>>) -> Self {
        Self { session, member }
    }

    fn line<R>(&self, act: impl FnOnce(&mut Line) -> R) -> Option<R> {
        self.session.stream_line(&self.member, act)
    }

    /// Gives packets to the poll that waits, or to the WebSocket. Between two packets stands a [`SEPARATOR`](super::SEPARATOR).
    pub fn write(&self, packets: &Bytes) -> Written {
        self.line(|line| line.write_chunk(packets)).unwrap_or(Written::Gone)
    }

    /// Becomes ready when a chunk would be taken, or when nothing can be written ever again. Wakes as a future does.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.line(|line| line.poll_chunk_room(context)).unwrap_or(Poll::Ready(()))
    }

    /// Becomes ready when nothing can be written ever again: the socket has left, or the session has ended. Wakes as a future does, and
    /// also when the session has upgraded.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.line(|line| line.poll_chunks_gone(context)).unwrap_or(Poll::Ready(()))
    }
}
