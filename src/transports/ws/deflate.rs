//! Compressed messages (RFC 7692), each on its own: neither side keeps what was compressed before, so compression costs a connection
//! no memory, and one compressed frame serves all that get the same.

use std::cell::RefCell;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::{Opcode, append, frame};
use super::violation::Violation;

/// Messages of fewer bytes are sent as they are.
pub const COMPRESSED_FROM: usize = 512;
/// How far back the server's compressed data refers, as a power of two. JSON of up to 100 KiB is no larger by it than with the full
/// window of 15, which costs up to twice the time, and clients that have little memory may ask for as much.
pub const WINDOW_BITS: u8 = 12;

const LEVEL: flate2::Compression = flate2::Compression::new(3);
/// What a flush ends with, and what is left out of a message (RFC 7692, section 7.2.1).
const FLUSHED: &[u8] = &[0, 0, 0xff, 0xff];
/// How many blocks of a message may say that they are the last, each of which has the state of the inflater made anew. Nobody has a
/// reason to send more than one.
const MAX_LAST_BLOCKS: usize = 16;
/// How much an inflated message gets memory for at first, in bytes.
const FIRST_BYTES: usize = 1 << 10;

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::new(Compressor {
        compress: Compress::new_with_window_bits(LEVEL, false, WINDOW_BITS),
        compressed: Vec::new(),
    });
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// What messages of one thread are compressed with, and the memory for the last of them.
struct Compressor {
    compress: Compress,
    compressed: Vec<u8>,
}

impl Compressor {
    /// The message, compressed, if that makes it smaller.
    fn compress(&mut self, message: &[u8]) -> Option<&[u8]> {
        let Self { compress, compressed } = self;
        compress.reset();
        compressed.clear();
        // Always enough, so that one call does it: what cannot be compressed grows by five bytes in each block of some KiB.
        compressed.reserve(message.len() + message.len() / 512 + 64);
        compress.compress_vec(message, compressed, FlushCompress::Sync).ok()?;
        let is_whole = compress.total_in() == message.len() as u64;
        let payload = compressed.strip_suffix(FLUSHED).filter(|_| is_whole)?;
        (payload.len() < message.len()).then_some(payload)
    }
}

/// Appends a frame with this message, compressed if that makes it smaller and it has at least [`COMPRESSED_FROM`] bytes.
pub fn append_compressed(buffer: &mut Vec<u8>, opcode: Opcode, message: &[u8]) {
    if message.len() < COMPRESSED_FROM {
        return append(buffer, opcode, false, message);
    }
    COMPRESSOR.with_borrow_mut(|compressor| match compressor.compress(message) {
        Some(payload) => append(buffer, opcode, true, payload),
        None => append(buffer, opcode, false, message),
    });
}

/// A text as one frame, for connections on which [`Outlet::compresses`](super::Outlet::compresses). It is compressed if that makes it
/// smaller and it has at least [`COMPRESSED_FROM`] bytes.
pub fn compressed_frame(text: &str) -> Vec<u8> {
    if text.len() < COMPRESSED_FROM {
        return frame(Opcode::Text, text.as_bytes());
    }
    let mut buffer = Vec::new();
    append_compressed(&mut buffer, Opcode::Text, text.as_bytes());
    buffer
}

/// Inflates a message, whose compressed bytes have all come.
///
/// # Errors
/// [`Violation::TooLarge`] as soon as it has more than `most` bytes, whatever would follow; [`Violation::NotDeflate`].
pub fn inflate(mut compressed: Vec<u8>, most: usize) -> Result<Vec<u8>, Violation> {
    compressed.extend_from_slice(FLUSHED);
    let (mut rest, mut message) = (&compressed[..], Vec::new());
    let mut last_blocks = 0;
    DECOMPRESS.with_borrow_mut(|inflate| {
        inflate.reset(false);
        loop {
            if message.len() == message.capacity() {
                // Up to one byte more than it may have.
                message.reserve_exact(message.len().max(FIRST_BYTES).min(most.saturating_add(1) - message.len()));
            }
            let (taken, made) = (inflate.total_in(), message.len());
            let status = inflate.decompress_vec(rest, &mut message, FlushDecompress::Sync);
            let status = status.map_err(|_| Violation::NotDeflate)?;
            rest = &rest[(inflate.total_in() - taken) as usize..];
            if message.len() > most {
                return Err(Violation::TooLarge);
            }
            match status {
                Status::StreamEnd if rest.is_empty() => return Ok(message),
                Status::StreamEnd if last_blocks < MAX_LAST_BLOCKS => {
                    last_blocks += 1;
                    inflate.reset(false);
                }
                Status::Ok | Status::BufError if rest.is_empty() && message.len() < message.capacity() => {
                    return Ok(message);
                }
                Status::Ok if inflate.total_in() > taken || message.len() > made => {}
                _ if message.len() == message.capacity() => {}
                _ => return Err(Violation::NotDeflate),
            }
        }
    })
}
