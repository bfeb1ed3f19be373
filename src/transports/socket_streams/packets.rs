//! How packets stand one after another.

use bytes::Bytes;

use crate::events::Content;
use crate::transports::socket_io::SEPARATOR;
use crate::transports::ws::{Opcode, compressed_frame, put_frame};

/// The ways in which a session takes packets of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// For a poll: packets with a separator between them.
    Polled,
    /// Each in a text frame of WebSocket.
    Framed,
    /// Each in a compressed frame, for clients that take that.
    Compressed,
}

impl Packets {
    /// Those on a WebSocket whose client takes compressed frames, or does not.
    pub fn on(compresses: bool) -> Self {
        if compresses { Self::Compressed } else { Self::Framed }
    }

    /// Appends a packet that `write` writes. Returns how many bytes more stand before it than when it was written, if it is there as it
    /// was.
    pub fn put(self, buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        match self {
            Self::Polled => {
                write(buffer);
                // Each has one. The one after the last is taken away when they are joined.
                buffer.extend_from_slice(SEPARATOR.encode_utf8(&mut [0; 4]).as_bytes());
                Some(0)
            }
            Self::Framed => Some(put_frame(buffer, Opcode::Text, write)),
            Self::Compressed => {
                let mut packet = Vec::new();
                write(&mut packet);
                // What is written is JSON, and so UTF-8.
                buffer.extend_from_slice(&compressed_frame(&String::from_utf8_lossy(&packet)));
                None
            }
        }
    }

    /// Packets that were put one after another.
    pub fn join(self, content: Content) -> Bytes {
        let joined = content.wrap(b"", b"");
        self.alone(&joined)
    }

    /// A packet that was put.
    pub fn alone(self, packet: &Bytes) -> Bytes {
        match self {
            Self::Polled => packet.slice(..packet.len().saturating_sub(SEPARATOR.len_utf8())),
            Self::Framed | Self::Compressed => packet.clone(),
        }
    }
}
