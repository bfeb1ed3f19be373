//! Frames (RFC 6455, section 5.2): those that the server sends, unmasked and each a whole message; and the headers of those that it gets.

use super::violation::Violation;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with a message.
    Continuation = 0x0,
    /// UTF-8.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// Closes the connection.
    Close = 0x8,
    /// Asks whether the peer is there.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xA,
}

/// FIN: the frame is the last of its message.
const FINAL: u8 = 0x80;
/// RSV1: the message is compressed (RFC 7692, section 6).
const COMPRESSED: u8 = 0x40;
/// RSV2 and RSV3, which nothing gives a meaning to.
const RESERVED: u8 = 0x30;
/// The payload is masked.
const MASKED: u8 = 0x80;
/// How long the payload of a control frame may be.
const MAX_CONTROL_BYTES: u8 = 125;
/// How long the header of a frame may be that the server sends.
pub const MAX_SENT_HEADER: usize = 10;
/// How long the header of a masked frame may be.
pub const MAX_HEADER: usize = 14;

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether frames of this kind may come between those of a message.
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The header of a frame for a whole message with a payload of so many bytes: the bytes, and how many of them it has.
fn header(opcode: Opcode, is_compressed: bool, length: usize) -> ([u8; MAX_SENT_HEADER], usize) {
    let mut header = [0; MAX_SENT_HEADER];
    header[0] = FINAL | if is_compressed { COMPRESSED } else { 0 } | opcode as u8;
    let end = match length {
        0..=125 => {
            header[1] = length as u8;
            2
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(length as u64).to_be_bytes());
            MAX_SENT_HEADER
        }
    };
    (header, end)
}

/// Appends a frame with this payload, which may be compressed already.
pub fn append(buffer: &mut Vec<u8>, opcode: Opcode, is_compressed: bool, payload: &[u8]) {
    let (header, end) = header(opcode, is_compressed, payload.len());
    buffer.reserve(end + payload.len());
    buffer.extend_from_slice(&header[..end]);
    buffer.extend_from_slice(payload);
}

/// A whole message as one frame, as it is.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    append(&mut buffer, opcode, false, payload);
    buffer
}

/// Appends a whole message as one frame, whose payload is what `write` appends. Returns how long the header is: the payload is moved by
/// as much behind the place where `write` put it.
pub fn put_frame(buffer: &mut Vec<u8>, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let begin = buffer.len();
    write(buffer);
    let (header, end) = header(opcode, false, buffer.len() - begin);
    buffer.splice(begin..begin, header[..end].iter().copied());
    end
}

/// The header of a frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub opcode: Opcode,
    /// Whether it is the last of its message.
    pub is_final: bool,
    /// Whether it begins a compressed message.
    pub is_compressed: bool,
    /// How long the payload is.
    pub length: u64,
    /// What the payload is masked with.
    pub mask: [u8; 4],
}

impl Header {
    /// Reads a header, and how many bytes it has; `None` if it has not come whole.
    ///
    /// # Errors
    /// [`Violation::Protocol`], as soon as its first two bytes have come.
    pub fn read(bytes: &[u8], may_be_compressed: bool) -> Result<Option<(Self, usize)>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::of(first & 0x0f).ok_or(Violation::Protocol("a reserved opcode"))?;
        let (is_final, is_compressed) = (first & FINAL != 0, first & COMPRESSED != 0);
        let code = second & !MASKED;
        let begins = matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & RESERVED != 0 || is_compressed && !(may_be_compressed && begins) {
            return Err(Violation::Protocol("a reserved bit"));
        }
        if second & MASKED == 0 {
            return Err(Violation::Protocol("a frame that is not masked"));
        }
        if opcode.is_control() && (!is_final || code > MAX_CONTROL_BYTES) {
            return Err(Violation::Protocol("a control frame in fragments, or of more than 125 bytes"));
        }
        let (length, rest) = match (code, rest) {
            (126, [a, b, rest @ ..]) => (u16::from_be_bytes([*a, *b]).into(), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest),
            (126 | 127, _) => return Ok(None),
            (code, rest) => (code.into(), rest),
        };
        if code == 126 && length < 126 || code == 127 && !(0x1_0000..1 << 63).contains(&length) {
            return Err(Violation::Protocol("a length that is not in its shortest form"));
        }
        let [a, b, c, d, rest @ ..] = rest else { return Ok(None) };
        let header = Self { opcode, is_final, is_compressed, length, mask: [*a, *b, *c, *d] };
        Ok(Some((header, bytes.len() - rest.len())))
    }
}

/// Removes the mask, which applies from its first byte on, and turns it so that it applies to what follows.
pub fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    mask.rotate_left(rest.len() % 4);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_short_as_it_can_be_and_is_read_as_it_was_written() {
        for (length, expected) in [(0, 2), (125, 2), (126, 4), (0xffff, 4), (0x1_0000, 10), (1 << 20, 10)] {
            for (opcode, is_compressed) in [(Opcode::Text, true), (Opcode::Binary, false)] {
                let (mut bytes, end) = header(opcode, is_compressed, length);
                assert_eq!(end, expected, "{length}");
                bytes[1] |= MASKED;
                let bytes = [&bytes[..end], b"mask"].concat();
                for cut in 0..bytes.len() {
                    assert_eq!(Header::read(&bytes[..cut], true), Ok(None), "{cut} of {length}");
                }
                let read = Header { opcode, is_final: true, is_compressed, length: length as u64, mask: *b"mask" };
                assert_eq!(Header::read(&bytes, true), Ok(Some((read, bytes.len()))));
            }
        }
    }

    #[test]
    fn what_a_header_must_not_say_is_refused_as_soon_as_it_is_said() {
        for (bytes, what) in [
            (&[0x83, 0x80][..], "reserved opcode"),
            (&[0x8f, 0x80], "reserved opcode"),
            (&[0xa1, 0x80], "reserved bit"),
            (&[0x91, 0x80], "reserved bit"),
            (&[0xc0, 0x80], "reserved bit"),
            (&[0xc9, 0x80], "reserved bit"),
            (&[0x81, 0x00], "not masked"),
            (&[0x09, 0x80], "control frame"),
            (&[0x89, 0xfe], "control frame"),
            (&[0x88, 0xff], "control frame"),
            (&[0x81, 0xfe, 0, 125], "shortest form"),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], "shortest form"),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], "shortest form"),
        ] {
            let Err(Violation::Protocol(said)) = Header::read(bytes, true) else { panic!("{bytes:x?}") };
            assert!(said.contains(what), "{bytes:x?}: {said}");
        }
        assert!(Header::read(&[0xc1, 0x80], true).is_ok() && Header::read(&[0xc1, 0x80], false).is_err());
    }

    #[test]
    fn a_payload_is_unmasked_the_same_in_pieces_of_any_length() {
        let masked: Vec<u8> = (0..=255).collect();
        let plain: Vec<u8> = masked.iter().zip(b"mask".iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        for piece in 1..=masked.len() {
            let (mut bytes, mut mask) = (masked.clone(), *b"mask");
            bytes.chunks_mut(piece).for_each(|piece| unmask(piece, &mut mask));
            assert_eq!(bytes, plain, "pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_that_is_written_in_place_is_the_same() {
        for length in [0, 125, 126, 0xffff, 0x1_0000] {
            let (mut buffer, payload) = (b"before".to_vec(), vec![b'x'; length]);
            let header = put_frame(&mut buffer, Opcode::Text, |buffer| buffer.extend_from_slice(&payload));
            assert_eq!(buffer, [b"before", &frame(Opcode::Text, &payload)[..]].concat());
            assert_eq!(&buffer[6 + header..], payload);
        }
    }
}
