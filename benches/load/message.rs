//! What is published, so that whoever receives it can tell which it was without parsing anything.

use std::io::Write;

/// What stands before the number. No server's own words contain it, and it survives being a string inside JSON inside
/// JSON.
pub const MARKER: &[u8] = b"seq=";
/// How many digits the number has, always.
pub const DIGITS: usize = 10;
/// How long marker and number are together: what a reader must have in one piece.
pub const MARK: usize = MARKER.len() + DIGITS;

/// How much padding makes a frame of Broker's about 210 bytes long, with the chunk around it.
const PADDING: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Appends the JSON value with this number. The mark stands at its end, so that whoever has seen it has all of the frame
/// but its last bytes.
pub fn write_payload(number: u32, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = write!(out, r#"{{"pad":"{PADDING}","mark":"seq={number:010};"}}"#);
}

/// Appends the same in one member, for servers that want to know beforehand which members there are.
pub fn write_record(number: u32, out: &mut Vec<u8>) {
    let _ = write!(out, r#"{{"pad":"{PADDING}seq={number:010};"}}"#);
}

/// An HTTP request without a body; each of the headers ends with a line break.
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

/// Reads the number that a mark ends with; `None` where that is no number.
pub fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}
