//! Writing the parts that packets are made of (MQTT 5.0, 1.5 and 2.1).

/// The greatest remaining length, in bytes (MQTT 5.0, 2.1.4).
pub const MAX_REMAINING_LENGTH: usize = 0x0fff_ffff;
/// How long a text or binary data may be, in bytes.
const MAX_FIELD_BYTES: usize = 0xffff;

/// A length of at most [`MAX_REMAINING_LENGTH`] as an integer of variable length (MQTT 5.0, 1.5.5): the bytes, and how many of them it
/// has.
pub fn remaining_length(length: usize) -> ([u8; 4], usize) {
    debug_assert!(length <= MAX_REMAINING_LENGTH, "{length}");
    let (mut bytes, mut left, mut end) = ([0; 4], length.min(MAX_REMAINING_LENGTH), 0);
    loop {
        bytes[end] = (left & 0x7f) as u8;
        left >>= 7;
        end += 1;
        if left == 0 {
            return (bytes, end);
        }
        bytes[end - 1] |= 0x80;
    }
}

pub(super) fn put_length(buffer: &mut Vec<u8>, length: usize) {
    let (bytes, end) = remaining_length(length);
    buffer.extend_from_slice(&bytes[..end]);
}

/// Appends what `write` appends, after its length.
pub(super) fn put_after_length(buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = buffer.len();
    write(buffer);
    let (bytes, end) = remaining_length(buffer.len() - begin);
    buffer.splice(begin..begin, bytes[..end].iter().copied());
}

/// Appends a packet with this first byte, of which `write` appends all that follows the fixed header: at most [`MAX_REMAINING_LENGTH`].
pub fn put_packet(buffer: &mut Vec<u8>, first: u8, write: impl FnOnce(&mut Vec<u8>)) {
    buffer.push(first);
    put_after_length(buffer, write);
}

/// Appends the fixed header of a packet with this first byte, if it is known how many bytes follow: at most [`MAX_REMAINING_LENGTH`].
/// Unlike [`put_packet`] it moves nothing that follows.
pub fn put_header(buffer: &mut Vec<u8>, first: u8, length: usize) {
    buffer.push(first);
    put_length(buffer, length);
}

/// How many bytes [`put_text`] appends.
pub fn text_length(text: &str) -> usize {
    2 + text.floor_char_boundary(MAX_FIELD_BYTES)
}

/// Appends a text (MQTT 5.0, 1.5.4): the first 65,535 bytes of it, or less where a character would be cut.
pub fn put_text(buffer: &mut Vec<u8>, text: &str) {
    put_binary(buffer, &text.as_bytes()[..text.floor_char_boundary(MAX_FIELD_BYTES)]);
}

/// Appends binary data (MQTT 5.0, 1.5.6): the first 65,535 bytes of it.
pub fn put_binary(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_FIELD_BYTES)];
    buffer.extend((bytes.len() as u16).to_be_bytes());
    buffer.extend_from_slice(bytes);
}
