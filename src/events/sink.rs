use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};

/// Where the bytes of a subscription go: all that transports differ in. It stays on its worker's thread.
pub trait Sink {
    /// How the frames must be wrapped.
    fn framing(&self) -> Framing;

    /// Takes what fits now, without waiting.
    fn write(&self, bytes: &Bytes) -> Written;

    /// Becomes ready when more may fit, or when nothing ever will. Wakes as a future does.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Becomes ready when the other side has gone. Wakes as a future does.
    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Says that nothing more comes, where the last write was taken whole. Dropping the outlet then closes it.
    fn finish(&self);
}

/// What an [`Sink`] did with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Took them all, and may take more.
    All,
    /// Took so many, and takes no more before it is ready again. The rest must be written next.
    Part(usize),
    /// Nothing can be written ever again.
    Gone,
}

/// How frames are wrapped before they are written. What has the same framing shares the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// As they are: the transport has a framing of its own.
    Bare,
    /// As a chunk of HTTP/1.1 (RFC 9112, section 7.1).
    Chunked,
}

impl Framing {
    /// Joins what is written at once.
    pub fn join(self, frames: &[Bytes]) -> Bytes {
        if let (Self::Bare, [one]) = (self, frames) {
            return one.clone();
        }
        let length: usize = frames.iter().map(Bytes::len).sum();
        let mut joined = BytesMut::with_capacity(length + 20);
        if self == Self::Chunked {
            put_hexadecimal(&mut joined, length);
            joined.put_slice(b"\r\n");
        }
        frames.iter().for_each(|frame| joined.put_slice(frame));
        if self == Self::Chunked {
            joined.put_slice(b"\r\n");
        }
        joined.freeze()
    }
}

fn put_hexadecimal(buffer: &mut BytesMut, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let nibble = (number >> (4 * digit)) & 0xf;
        buffer.put_u8(b"0123456789abcdef"[nibble]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_its_length_in_hexadecimal_and_its_content() {
        for length in [1, 15, 16, 255, 256, 4095, 4096, 70_000] {
            let content = vec![b'x'; length];
            let frames =
                [Bytes::copy_from_slice(&content[..length / 2]), Bytes::copy_from_slice(&content[length / 2..])];
            let expected = [format!("{length:x}\r\n").as_bytes(), &content, b"\r\n"].concat();
            assert_eq!(Framing::Chunked.join(&frames), expected);
            assert_eq!(Framing::Bare.join(&frames), content);
        }
    }
}
