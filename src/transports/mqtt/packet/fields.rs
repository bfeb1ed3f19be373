//! The parts that packets are made of (MQTT 5.0, 1.5).

use std::num::NonZeroU16;

use super::reason::Reason;
use super::violation::Violation;

const CUT: Violation = Violation::malformed("a packet that ends within a field");
const NOT_MINIMAL: Violation = Violation::malformed("a length that is not in its shortest form");

/// What is left of a packet, or of its properties.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

/// Reads an integer of variable length (MQTT 5.0, 1.5.5), and how many bytes it has; `None` if it has not come whole.
///
/// # Errors
/// [`Violation`] if it has more than four bytes.
pub fn read_length(bytes: &[u8]) -> Result<Option<(u32, usize)>, Violation> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(4) {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Violation::malformed("a length of more than four bytes")) }
}

/// Checks an integer of variable length that was read from so many bytes.
///
/// # Errors
/// [`Violation`] if fewer would do.
pub fn check_minimal(value: u32, bytes: usize) -> Result<(), Violation> {
    let is_minimal = bytes == 1 || value >> (7 * (bytes - 1)) != 0;
    is_minimal.then_some(()).ok_or(NOT_MINIMAL)
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    pub fn left(self) -> usize {
        self.0.len()
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), Violation> {
        self.0.is_empty().then_some(()).ok_or(Violation::malformed("bytes after the end of a packet"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Violation> {
        self.array().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_be_bytes)
    }

    /// An integer of variable length. Only MQTT 5 has such within a packet.
    pub fn length(&mut self) -> Result<u32, Violation> {
        let (value, bytes) = read_length(self.0)?.ok_or(CUT)?;
        check_minimal(value, bytes)?;
        self.0 = &self.0[bytes..];
        Ok(value)
    }

    /// So many bytes as fields of their own, after their length.
    pub fn section(&mut self) -> Result<Self, Violation> {
        let length = self.length()?;
        self.take(length as usize).map(Self)
    }

    pub fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// UTF-8 without U+0000 (MQTT 5.0, 1.5.4).
    pub fn text(&mut self) -> Result<&'a str, Violation> {
        let bytes = self.binary()?;
        let text = std::str::from_utf8(bytes).map_err(|_| Violation::malformed("a text that is not UTF-8"))?;
        if bytes.contains(&0) {
            return Err(Violation::malformed("a text with U+0000"));
        }
        Ok(text)
    }

    /// A text that is published to, or would be (MQTT 5.0, 4.7.1). It may be empty.
    pub fn topic(&mut self) -> Result<&'a str, Violation> {
        let topic = self.text()?;
        check_topic(topic)?;
        Ok(topic)
    }

    pub fn packet_id(&mut self) -> Result<NonZeroU16, Violation> {
        NonZeroU16::new(self.u16()?).ok_or(Violation::protocol("the packet identifier 0"))
    }

    /// One of the reasons that may stand here.
    pub fn reason(&mut self, reasons: &[Reason]) -> Result<Reason, Violation> {
        let code = self.u8()?;
        let reason = reasons.iter().find(|reason| reason.code() == code);
        reason.copied().ok_or(Violation::protocol("a reason code that must not be sent"))
    }
}

/// No topic has wildcards.
pub fn check_topic(topic: &str) -> Result<(), Violation> {
    let has_wildcard = topic.bytes().any(|byte| matches!(byte, b'+' | b'#'));
    (!has_wildcard).then_some(()).ok_or(Violation::malformed("a topic with a wildcard"))
}
