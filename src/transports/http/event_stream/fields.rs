//! The fields of an event of `text/event-stream`, escaped so that every client reads the same.

use crate::domain::is_blank;

/// Appends a name. Earlier versions allowed blanks at the ends of event names and usernames. A client that drops them would take an
/// event of one name for one of another, such as a control event of the server. So each of these blanks is written as a character
/// that stands for one that cannot be shown.
pub fn write_name(buffer: &mut Vec<u8>, name: &str) {
    const INSTEAD: &str = "\u{fffd}";
    let from_start = name.trim_start_matches(is_blank);
    let trimmed = from_start.trim_end_matches(is_blank);
    let (before, after) = (&name[..name.len() - from_start.len()], &from_start[trimmed.len()..]);
    before.chars().for_each(|_| buffer.extend_from_slice(INSTEAD.as_bytes()));
    buffer.extend_from_slice(trimmed.as_bytes());
    after.chars().for_each(|_| buffer.extend_from_slice(INSTEAD.as_bytes()));
}

/// What `broker-client` 0.0.8 takes for the start of a field wherever it stands. The other three fields begin before the data, so it
/// has found them by then. This one it would find inside the data and cut the data there.
const RETRY: &str = "retry:";
const ESCAPED_RETRY: &str = "retry\\u003a";

/// Appends JSON in ASCII alone: `broker-client` 0.0.8 takes each byte for a character.
pub fn write_data(buffer: &mut Vec<u8>, json: &str) {
    for (index, part) in json.split(RETRY).enumerate() {
        if index > 0 {
            // In valid JSON this can only stand inside a string, where its colon may be written as an escape.
            buffer.extend_from_slice(ESCAPED_RETRY.as_bytes());
        }
        write_ascii(buffer, part);
    }
}

fn write_ascii(buffer: &mut Vec<u8>, mut text: &str) {
    while let Some(at) = text.bytes().position(|byte| !byte.is_ascii()) {
        let (ascii, rest) = text.split_at(at);
        buffer.extend_from_slice(ascii.as_bytes());
        let mut chars = rest.chars();
        if let Some(char) = chars.next() {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // By hand: a large event may have hundreds of thousands of them.
                let digit = |shift: u32| b"0123456789abcdef"[usize::from(*unit >> shift & 0xf)];
                buffer.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
        }
        text = chars.as_str();
    }
    buffer.extend_from_slice(text.as_bytes());
}
