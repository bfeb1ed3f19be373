//! WebSocket for clients (RFC 6455): the handshake, and frames in both directions. Every message of the measured servers is one frame.

use memchr::memmem;

use crate::{Result, http, message};

/// The opcode of a text message.
pub const TEXT: u8 = 1;
/// The opcode of a binary message.
pub const BINARY: u8 = 2;
/// The opcode that closes.
const CLOSE: u8 = 8;
/// The opcode that shows that the sender lives.
const PONG: u8 = 10;

/// The key and the answer to it of the RFC's own example (section 1.3): no client here has to be told from another.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// What a client's payload is combined with. A browser takes another one for each frame, which costs the server the same.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// The bit of a masked payload.
const MASKED: u8 = 0x80;
/// The bit of a message's last frame, which is its only one here.
const LAST: u8 = 0x80;
/// The bit of a compressed message (RFC 7692).
const COMPRESSED: u8 = 0x40;

/// A frame of the server.
pub struct Frame<'a> {
    /// Its payload, as it came.
    pub payload: &'a [u8],
    /// Whether the payload is compressed.
    pub is_compressed: bool,
    /// The length of the frame, header included.
    pub length: usize,
}

/// Appends the request to switch to WebSocket. Each of the headers ends with a line break.
pub fn write_handshake(path: &str, headers: &str, out: &mut Vec<u8>) {
    let switch = format!(
        "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{headers}"
    );
    out.extend_from_slice(&message::get(path, &switch));
}

/// The length of the answer's head, or `None` if it is incomplete.
///
/// # Errors
/// If the server did not switch.
pub fn switched(received: &[u8]) -> Result<Option<usize>> {
    let Some(length) = http::head_length(received)? else { return Ok(None) };
    if received.starts_with(b"HTTP/1.1 101") && memmem::find(&received[..length], ACCEPT.as_bytes()).is_some() {
        return Ok(Some(length));
    }
    Err(format!("the server did not switch: {}", String::from_utf8_lossy(&received[..length])))
}

/// The frame at the beginning, or `None` if it is incomplete.
///
/// # Errors
/// If it is one that no server under measurement has a reason to send.
pub fn frame(received: &[u8]) -> Result<Option<Frame<'_>>> {
    let [first, second, rest @ ..] = received else { return Ok(None) };
    if first & LAST == 0 || second & MASKED != 0 {
        return Err(format!("a frame of the server begins with {first:02x} {second:02x}"));
    }
    let extended = match second {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(digits) = rest.get(..extended) else { return Ok(None) };
    let length = match extended {
        0 => usize::from(*second),
        _ => digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit)),
    };
    let Some(payload) = rest[extended..].get(..length) else { return Ok(None) };
    if first & 0x0f == CLOSE {
        return Err(format!("the server closed: {}", String::from_utf8_lossy(payload)));
    }
    Ok(Some(Frame { payload, is_compressed: first & COMPRESSED != 0, length: 2 + extended + length }))
}

/// Appends a frame of a client.
pub fn write_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    write_header(opcode, MASKED, payload.len(), out);
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Appends the header of a frame of a server.
pub fn write_server_header(opcode: u8, length: usize, out: &mut Vec<u8>) {
    write_header(opcode, 0, length, out);
}

/// A frame that keeps a connection alive, which a client may send without being asked (section 5.5.3).
pub fn pong() -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(PONG, b"", &mut out);
    out
}

fn write_header(opcode: u8, masked: u8, length: usize, out: &mut Vec<u8>) {
    out.push(LAST | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => out.push(masked | short),
        (_, Ok(medium)) => {
            out.push(masked | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}
