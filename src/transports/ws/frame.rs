//! Frames that the server sends (RFC 6455, section 5.2): unmasked, and each a whole message.

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

/// FIN.
const WHOLE: u8 = 0x80;

/// Appends the header of a frame that is a whole message, with a payload of so many bytes.
fn put_header(buffer: &mut Vec<u8>, opcode: Opcode, length: usize) {
    buffer.push(WHOLE | opcode as u8);
    match length {
        0..=125 => buffer.push(length as u8),
        126..=0xffff => {
            buffer.push(126);
            buffer.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            buffer.push(127);
            buffer.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// A frame that is a whole message.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(payload.len() + 10);
    put_header(&mut buffer, opcode, payload.len());
    buffer.extend_from_slice(payload);
    buffer
}

/// Appends a frame whose payload is what `write` appends. Returns how many bytes stand before the payload: what `write` knows of
/// places in the buffer is to be moved by as many.
pub fn put_frame(buffer: &mut Vec<u8>, opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let begin = buffer.len();
    write(buffer);
    let mut header = Vec::with_capacity(10);
    put_header(&mut header, opcode, buffer.len() - begin);
    let length = header.len();
    buffer.splice(begin..begin, header);
    length
}
