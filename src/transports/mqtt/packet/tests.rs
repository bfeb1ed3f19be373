//! Guards the packets of MQTT: what clients send and what they are sent, byte for byte.

mod memory;
mod replies;
mod round_trip;
mod samples;
mod violations;

use bytes::Bytes;

use super::invariants::{Decoded, decode};
use super::{Packet, Version};

/// More than any packet here has.
const LARGE: usize = 1 << 20;
const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// Bytes that are written in hexadecimal, with text in quotes.
fn hex(text: &str) -> Vec<u8> {
    let parts = text.split('\'').enumerate();
    let bytes = parts.flat_map(|(at, part)| match at % 2 {
        0 => part.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect(),
        _ => part.as_bytes().to_vec(),
    });
    bytes.collect()
}

/// Decodes what a client of this version sends after its CONNECT; without a version, what it sends first.
fn decode_all(version: impl Into<Option<Version>>, bytes: &[u8]) -> Decoded {
    decode(LARGE, version.into(), [bytes])
}

/// Decodes the one packet that a client of this version sends after its CONNECT.
fn decode_one(version: impl Into<Option<Version>>, bytes: &str) -> Packet {
    let (mut packets, violation) = decode_all(version, &hex(bytes));
    assert!(packets.len() == 1 && violation.is_none(), "{bytes}: {packets:?}, {violation:?}");
    packets.remove(0)
}

/// Text of a packet.
fn owned(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn data(bytes: &'static [u8]) -> Option<Bytes> {
    Some(Bytes::from_static(bytes))
}
