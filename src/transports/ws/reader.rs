//! What has come and has not been given out.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::decoder::{Decoder, Item};
use super::duplex::Duplex;
use super::message::Memory;
use super::settings::READ_BYTES;
use super::violation::Violation;

/// The bytes of a client. A connection that waits has no buffer: what is read is decoded where it was read to, and only what is left is
/// kept.
pub struct Reader {
    decoder: Decoder,
    /// What was read and has not been decoded. In a box, since it is seldom more than one item that comes at once.
    received: Option<Box<Bytes>>,
    /// When something was read last.
    heard: Instant,
    memory: Option<Box<dyn Memory>>,
    /// How many bytes are counted there.
    held: u32,
    /// How many bytes the application keeps of unfinished messages of its own.
    kept: u32,
}

/// What a client has sent.
pub enum Came {
    /// Something whole.
    Item(Item),
    /// Bytes that complete nothing.
    Part,
}

/// Why nothing more can be read.
pub enum Fault {
    /// The client has ended its side of the connection, or the connection is lost.
    Lost,
    /// The client broke a rule.
    Violation(Violation),
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

fn kept(received: Bytes) -> Option<Box<Bytes>> {
    (!received.is_empty()).then(|| Box::new(received))
}

impl Reader {
    /// With what has come already.
    pub fn new(decoder: Decoder, received: Bytes) -> Self {
        Self { decoder, received: kept(received), heard: Instant::now(), memory: None, held: 0, kept: 0 }
    }

    pub fn set_max_message_bytes(&mut self, bytes: usize) {
        self.decoder.set_max_message_bytes(bytes);
    }

    pub fn set_memory(&mut self, memory: Box<dyn Memory>) {
        (self.memory, self.held) = (Some(memory), 0);
    }

    /// Passes over messages from now on, an unfinished one included.
    pub fn skip_messages(&mut self) {
        self.decoder.skip_messages();
    }

    /// When something was read last.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Counts as having read something just now.
    pub fn excuse(&mut self) {
        self.heard = Instant::now();
    }

    /// Decodes what has been read, or reads once.
    pub fn poll(&mut self, socket: &mut dyn Duplex, context: &mut Context<'_>) -> Poll<Result<Came, Fault>> {
        if self.received.is_some()
            && let Some(item) = self.decode_received()?
        {
            return Poll::Ready(Ok(Came::Item(item)));
        }
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        match Pin::new(socket).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
            Poll::Ready(_) => return Poll::Ready(Err(Fault::Lost)),
            Poll::Pending => return Poll::Pending,
        }
        self.heard = Instant::now();
        let mut input = buffer.filled();
        let item = self.decoder.decode(&mut input)?;
        self.received = kept(Bytes::copy_from_slice(input));
        Poll::Ready(Ok(item.map_or(Came::Part, Came::Item)))
    }

    /// Drops what has come, and reads once.
    pub fn poll_discard(&mut self, socket: &mut dyn Duplex, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.received = None;
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        Pin::new(socket).poll_read(context, &mut buffer).map(|read| match read {
            Ok(()) if !buffer.filled().is_empty() => Ok(()),
            _ => Err(Fault::Lost),
        })
    }

    fn decode_received(&mut self) -> Result<Option<Item>, Violation> {
        let Some(received) = &mut self.received else { return Ok(None) };
        let mut input = &received[..];
        let item = self.decoder.decode(&mut input);
        let left = input.len();
        received.advance(received.len() - left);
        if left == 0 {
            // Gives its memory back.
            self.received = None;
        }
        item
    }

    /// The application keeps so many bytes of unfinished messages of its own.
    pub fn keep(&mut self, bytes: usize) {
        self.kept = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Counts the memory of a message that is unfinished, and so many bytes beside it.
    ///
    /// # Errors
    /// [`Violation::NoMemory`].
    pub fn count(&mut self, beside: usize, context: &mut Context<'_>) -> Result<(), Violation> {
        let Some(memory) = &mut self.memory else { return Ok(()) };
        let holds = self.decoder.held() + self.kept as usize + beside;
        let may = holds == self.held as usize || memory.hold(holds);
        let is_displaced = may && holds > 0 && memory.poll_displaced(context).is_ready();
        if may && !is_displaced {
            self.held = u32::try_from(holds).unwrap_or(u32::MAX);
            return Ok(());
        }
        self.release();
        Err(Violation::NoMemory)
    }

    /// Has what is held counted anew.
    pub fn release(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.hold(0);
        }
        self.held = 0;
    }
}
