//! The payloads of publishes. A receiver recognizes each of them without parsing.

use std::io::Write;

/// The text before the number. No server's own output contains it, and it survives in a string inside JSON inside
/// JSON.
pub const MARKER: &[u8] = b"seq=";
/// The number always has this many digits.
pub const DIGITS: usize = 10;
/// The length of marker and number together, which a reader needs in one piece.
pub const MARK: usize = MARKER.len() + DIGITS;

/// Padding that makes a frame of Broker's about 210 bytes long, with the chunk around it.
const PADDING: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Appends the JSON value with this number. The mark stands at its end, so a reader that has seen it has all of the
/// frame but the last bytes.
pub fn write_payload(number: u32, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = write!(out, r#"{{"pad":"{PADDING}","mark":"seq={number:010};"}}"#);
}

/// Appends the same in one member, for servers that must know the members in advance.
pub fn write_record(number: u32, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"pad":"{PADDING}seq={number:010};"}}"#);
}

/// An HTTP request without a body. Each of the headers ends with a line break.
pub fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").into_bytes()
}

/// Appends an HTTP request with a body.
pub fn write_post(path: &str, headers: &str, body: &[u8], out: &mut Vec<u8>) {
    let _ = write!(out, "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n", body.len());
    out.extend_from_slice(body);
}

/// Appends the body of an insert.
pub fn write_insert(event: &str, number: u32, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"event":"{event}","data":"#);
    write_payload(number, out);
    out.push(b'}');
}

/// Reads the number at the end of a mark, or `None` if it is not a number.
pub fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}
