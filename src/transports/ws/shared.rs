//! What the halves of a connection, and its task, have in common.

use std::cell::RefCell;
use std::io::Result;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::decoder::Decoder;
use super::message::{End, Memory, Message};

/// A connection's bytes.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {
    /// Becomes ready when more can be written and everything that was written is on its way. Wakes as a future does.
    ///
    /// # Errors
    /// The connection is lost.
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<Result<()>>;
}

/// What holds for a connection.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How large a message may be, in bytes, inflated.
    pub max_message_bytes: usize,
    /// Whether compressed messages are agreed upon.
    pub compression: bool,
    /// Its times.
    pub times: Times,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Between two pings.
    pub ping_every: Duration,
    /// A client from which nothing comes for so long has gone.
    pub silent_for: Duration,
    /// A close frame must have been taken by then, and what the stream has begun.
    pub close_sent_within: Duration,
    /// The client's close frame must have come by then.
    pub close_answered_within: Duration,
    /// How long a connection that was closed on this side may linger for its client to close it.
    pub linger: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(12),
            silent_for: Duration::from_secs(30),
            close_sent_within: Duration::from_secs(30),
            close_answered_within: Duration::from_secs(5),
            linger: Duration::from_secs(1),
        }
    }
}

pub struct Shared {
    decoder: RefCell<Decoder>,
    settings: Settings,
    memory: RefCell<Option<Box<dyn Memory>>>,
}

impl Shared {
    pub fn new(settings: Settings) -> Self {
        let decoder = Decoder::new(settings.max_message_bytes).into();
        Self { decoder, settings, memory: RefCell::default() }
    }

    pub fn poll_message(&self, _context: &mut Context<'_>) -> Poll<Option<Message>> {
        let _ = self.decoder.borrow_mut().decode(&mut &[][..]);
        Poll::Ready(None)
    }

    pub fn end(&self) -> Option<End> {
        Some(End::Lost)
    }

    pub fn set_max_message_bytes(&self, bytes: usize) {
        *self.decoder.borrow_mut() = Decoder::new(bytes);
    }

    pub fn set_memory(&self, memory: Box<dyn Memory>) {
        *self.memory.borrow_mut() = Some(memory);
    }

    pub fn compresses(&self) -> bool {
        self.settings.compression
    }
}
