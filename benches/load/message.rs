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

/// The number of orders in a large payload, which makes it 2 KiB long.
const ORDERS: u32 = 20;

/// Appends a JSON value of 2 KiB with this number, of the kind that programs send: objects of the same members with various
/// values.
pub fn write_large(number: u32, out: &mut Vec<u8>) {
    const GOODS: [&str; 5] = ["espresso", "flat white", "croissant", "orange juice", "sandwich with cheese"];
    let mut random = number;
    let mut below = |limit: u32| {
        // The generator of the C standard's example.
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (random >> 16) % limit
    };
    out.extend_from_slice(br#"{"orders":["#);
    for order in 0..ORDERS {
        let comma = if order == 0 { "" } else { "," };
        let (id, table, goods) = (below(32_768), below(60), GOODS[below(5) as usize]);
        let (count, cents) = (below(4) + 1, below(2_000));
        let _ = write!(
            out,
            r#"{comma}{{"id":{id},"table":{table},"goods":"{goods}","count":{count},"cents":{cents},"state":"ordered"}}"#
        );
    }
    let _ = write!(out, r#"],"mark":"seq={number:010};"}}"#);
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
