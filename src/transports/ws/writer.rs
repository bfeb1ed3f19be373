//! Whose turn it is to write.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::duplex::Duplex;

/// What became of some bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// All were taken, and more may be.
    All,
    /// So many were taken, and no more are before it is ready again. The rest must be written next, if any were taken.
    Part(usize),
    /// Nothing can be written ever again.
    Gone,
}

/// Which of the streams on a connection.
pub type Serial = u32;

/// What is to be written to a connection: own replies, control frames among them, which have a queue, and the writes of streams, which
/// have none. Nothing comes between the parts of a write. If both wait, they take turns.
///
/// A context is always that of the connection's task, which alone waits for the socket.
///
/// What a stream's write looks at when nothing else is to be sent stands first, as in [`Shared`](super::shared::Shared).
#[derive(Default)]
#[repr(C)]
pub struct Writer {
    /// The stream a write of which was taken in part.
    within: Option<Serial>,
    /// Whether the socket has not taken what it was last given.
    is_blocked: bool,
    /// Whether it has taken more since that was last asked.
    has_drained: bool,
    /// Whether a stream was refused since it last wrote.
    stream_waits: bool,
    /// Whether the last turn was a stream's.
    stream_was_last: bool,
    /// Whether there are no frames.
    is_bare: bool,
    /// Own replies that are not being sent yet.
    queued: Vec<u8>,
    /// Own replies that are being sent: a turn. In a box, since a client that reads takes them at once.
    sending: Option<Box<Sending>>,
}

/// A turn of own replies.
struct Sending {
    bytes: Vec<u8>,
    /// How many of them have been sent.
    sent: usize,
}

impl Sending {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }
}

impl Writer {
    /// With this much to be sent first.
    pub fn new(queued: Vec<u8>, has_frames: bool) -> Self {
        Self { queued, is_bare: !has_frames, ..Self::default() }
    }

    /// Whether what is written here has frames.
    pub fn has_frames(&self) -> bool {
        !self.is_bare
    }

    /// Where own replies are appended.
    pub fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.queued
    }

    /// How many bytes of own replies wait.
    pub fn waiting(&self) -> usize {
        self.queued.len() + self.sending.as_ref().map_or(0, |sending| sending.rest().len())
    }

    /// How much memory own replies take that the client does not take, in bytes; 0 while the socket takes more.
    pub fn stuck(&self) -> usize {
        let sending = self.sending.as_ref().map_or(0, |sending| sending.bytes.capacity());
        if self.is_blocked { self.queued.capacity() + sending } else { 0 }
    }

    /// Whether all own replies are on their way, and no stream has begun a write.
    pub fn is_done(&self) -> bool {
        self.waiting() == 0 && self.within.is_none() && !self.is_blocked
    }

    /// Whether the socket has not taken what it was last given.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Whether a client that was slow has taken more since this was last asked: it is there, even if it says nothing.
    pub fn has_drained(&mut self) -> bool {
        std::mem::take(&mut self.has_drained)
    }

    /// The stream that has begun a write.
    pub fn within(&self) -> Option<Serial> {
        self.within
    }

    /// Whether a stream may write now.
    pub fn is_ready(&self, serial: Serial) -> bool {
        !self.is_blocked && self.within.is_none_or(|within| within == serial)
    }

    /// Gives own replies the next turn, so that a new stream writes after what was queued before it.
    pub fn own_replies_first(&mut self) {
        self.stream_was_last = true;
    }

    /// A stream waits to write.
    pub fn wait(&mut self) {
        self.stream_waits = true;
    }

    /// Sends own replies, unless it is a stream's turn. Returns whether streams that wait may write now.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn advance(&mut self, socket: &mut dyn Duplex, context: &mut Context<'_>) -> Result<bool> {
        if self.is_blocked {
            match socket.poll_writable(context)? {
                Poll::Ready(()) => (self.is_blocked, self.has_drained) = (false, true),
                Poll::Pending => return Ok(false),
            }
        }
        while self.waiting() > 0 && self.within.is_none() && !self.is_blocked && !self.is_streams_turn() {
            self.write_own(socket, context)?;
        }
        let may_write = !self.is_blocked && self.stream_waits;
        if may_write {
            // It has its chance before this is called again. It may have nothing to write any more.
            self.stream_waits = false;
        }
        Ok(may_write)
    }

    fn is_streams_turn(&self) -> bool {
        self.stream_waits && !self.stream_was_last && self.sending.is_none()
    }

    /// Takes what fits of a stream's write.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn write_stream(
        &mut self,
        socket: &mut dyn Duplex,
        context: &mut Context<'_>,
        serial: Serial,
        bytes: &[u8],
    ) -> Result<Written> {
        if self.is_ready(serial) && self.within.is_none() {
            let is_own_turn = self.sending.is_some() || self.stream_was_last;
            if is_own_turn && self.waiting() > 0 {
                self.write_own(socket, context)?;
            }
        }
        if !self.is_ready(serial) {
            self.stream_waits = true;
            return Ok(Written::Part(0));
        }
        let taken = self.put(socket, context, bytes)?;
        if taken == bytes.len() {
            (self.within, self.stream_was_last) = (None, true);
            if !self.is_blocked {
                return Ok(Written::All);
            }
        } else if taken > 0 {
            self.within = Some(serial);
        }
        self.stream_waits = true;
        Ok(Written::Part(taken))
    }

    /// Takes a turn for own replies.
    fn write_own(&mut self, socket: &mut dyn Duplex, context: &mut Context<'_>) -> Result<()> {
        let mut sending = match self.sending.take() {
            Some(rest) => *rest,
            None => Sending { bytes: std::mem::take(&mut self.queued), sent: 0 },
        };
        sending.sent += self.put(socket, context, sending.rest())?;
        if !sending.rest().is_empty() {
            self.sending = Some(Box::new(sending));
        } else {
            self.stream_was_last = false;
        }
        Ok(())
    }

    /// Writes what the socket takes.
    fn put(&mut self, mut socket: &mut dyn Duplex, context: &mut Context<'_>, bytes: &[u8]) -> Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            match Pin::new(&mut socket).poll_write(context, &bytes[taken..])? {
                Poll::Ready(0) => return Err(Error::from(ErrorKind::WriteZero)),
                Poll::Ready(more) => taken += more,
                Poll::Pending => {
                    self.is_blocked = true;
                    return Ok(taken);
                }
            }
        }
        // With TLS, it may be encrypted and not sent.
        self.is_blocked = Pin::new(&mut socket).poll_flush(context)?.is_pending();
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
