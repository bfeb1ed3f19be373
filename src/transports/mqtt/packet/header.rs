//! The fixed header (MQTT 5.0, 2.1).

use super::fields::{check_minimal, read_length};
use super::publish;
use super::reason::Reason;
use super::version::Version;
use super::violation::Violation;

/// How long a fixed header may be, in bytes.
pub const MAX_HEADER: usize = 5;
/// The flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE.
const QOS_1: u8 = 0b0010;
/// That one of these is sent again, which only MQTT 3.1 says.
const DUP: u8 = 0b1000;

/// What a packet of a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Connect = 1,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    Unsubscribe = 10,
    PingReq = 12,
    Disconnect = 14,
    Auth = 15,
}

/// The fixed header of a packet of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub flags: u8,
    /// How long the header itself is, in bytes.
    pub length: usize,
    /// How much follows it.
    pub remaining_length: u32,
}

impl Header {
    /// Reads a header, if it has come whole, of a packet of at most so many bytes. The version is the one of the CONNECT before it; without
    /// one, it is a CONNECT.
    ///
    /// # Errors
    /// [`Violation`], as soon as its bytes have come.
    pub fn read(bytes: &[u8], version: Option<Version>, max_packet_bytes: usize) -> Result<Option<Self>, Violation> {
        let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
        let (kind, flags) = (Kind::of(first >> 4, version)?, first & 0xf);
        kind.check_flags(flags, version)?;
        let Some((remaining_length, length)) = read_length(rest)? else { return Ok(None) };
        if version.is_some_and(Version::has_properties) {
            check_minimal(remaining_length, length)?;
        }
        let header = Self { kind, flags, length: 1 + length, remaining_length };
        if header.packet_length() > max_packet_bytes {
            return Err(Violation { reason: Reason::PacketTooLarge, connack: None, what: "the packet is too large" });
        }
        Ok(Some(header))
    }

    /// How long the packet is, in bytes.
    pub fn packet_length(self) -> usize {
        self.length + self.remaining_length as usize
    }
}

impl Kind {
    fn of(bits: u8, version: Option<Version>) -> Result<Self, Violation> {
        let kind = match bits {
            1 => Self::Connect,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            10 => Self::Unsubscribe,
            12 => Self::PingReq,
            14 => Self::Disconnect,
            15 if version.is_some_and(Version::has_properties) => Self::Auth,
            2 | 9 | 11 | 13 => return Err(Violation::protocol("a packet that only servers send")),
            _ => return Err(Violation::malformed("a reserved type of packet")),
        };
        match (kind, version) {
            (Self::Connect, Some(_)) => Err(Violation::protocol("a second CONNECT")),
            (Self::Connect, None) | (_, Some(_)) => Ok(kind),
            (_, None) => Err(Violation::protocol("a packet before CONNECT")),
        }
    }

    fn check_flags(self, flags: u8, version: Option<Version>) -> Result<(), Violation> {
        let is_valid = match self {
            Self::Publish => return publish::check_flags(flags),
            Self::PubRel | Self::Subscribe | Self::Unsubscribe if version == Some(Version::V31) => {
                flags & !DUP == QOS_1
            }
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => flags == QOS_1,
            _ => flags == 0,
        };
        is_valid.then_some(()).ok_or(Violation::malformed("reserved flags of a fixed header"))
    }
}
