//! An event on its way to clients of MQTT: what all of them have in common. Each connection makes a packet of it that is its own. The
//! format in which events are written so is in `records.rs`.

use super::packet::Qos;
use crate::domain::{Position, Timestamp};

/// What a record begins with: its length (4 bytes), then flags (1), length of the topic (2), length of the properties (4), position
/// (8), moment of expiry (8; 0 is never), and publisher (8; 0 is none of MQTT).
pub const HEAD_BYTES: usize = 35;
/// Where the flags stand.
const FLAGS: usize = 4;
/// Flags: the two lowest bits are the QoS of the publisher.
const QOS: u8 = 0b11;
/// It was published with RETAIN 1.
pub const IS_RETAINED: u8 = 1 << 2;
/// It is the latest event of its name, and given because it is there, and not because it was published just now.
const IS_FROM_BEFORE: u8 = 1 << 3;

/// An event as the connections of MQTT get it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Its position in the order of all events.
    pub position: Position,
    /// The QoS that it was published with.
    pub qos: Qos,
    /// Whether it was published with RETAIN 1.
    pub is_retained: bool,
    /// Whether it is given as the latest event of its name, to a subscription that is new.
    pub is_from_before: bool,
    /// When it expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// The client of MQTT that published it, as [`Published`](crate::domain::Published) knows it.
    pub publisher: Option<u64>,
    /// Its name.
    pub topic: &'a str,
    /// The properties of MQTT 5 that it was published with, as they stand in a packet, without their length.
    pub properties: &'a [u8],
    /// What was published.
    pub payload: &'a [u8],
}

/// What stands before the topic.
pub struct Head {
    /// How many bytes the record has.
    pub length: usize,
    /// The QoS, and [`IS_RETAINED`].
    pub flags: u8,
    /// How many bytes the topic has.
    pub topic: usize,
    /// How many the properties have.
    pub properties: usize,
    /// The number of the position.
    pub position: u64,
    /// When it expires, in milliseconds since the Unix epoch; 0 is never.
    pub expires_at: u64,
    /// The client that published it; 0 is none.
    pub publisher: u64,
}

impl Head {
    /// As it stands in a record.
    pub fn bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let mut rest = &mut bytes[..];
        let mut put = |number: &[u8]| {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(number.len());
            here.copy_from_slice(number);
            rest = after;
        };
        // An event has 1 MiB at most, and a name 256 bytes.
        put(&(self.length as u32).to_be_bytes());
        put(&[self.flags]);
        put(&(self.topic as u16).to_be_bytes());
        put(&(self.properties as u32).to_be_bytes());
        put(&self.position.to_be_bytes());
        put(&self.expires_at.to_be_bytes());
        put(&self.publisher.to_be_bytes());
        bytes
    }
}

/// Marks records as the latest events of their names, which are given because they are there.
pub fn mark_from_before(mut records: &mut [u8]) {
    while let Some((record, after)) = split(records) {
        record[FLAGS] |= IS_FROM_BEFORE;
        records = after;
    }
}

/// The first record, and those after it.
fn split(records: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    let length = u32::from_be_bytes(*records.first_chunk()?);
    records.split_at_mut_checked(length as usize)
}

impl<'a> Record<'a> {
    /// The first record of some, and how many bytes it has; `None` if there is no more.
    pub fn first(records: &'a [u8]) -> Option<(Self, usize)> {
        let mut rest = records;
        let length = u32::from_be_bytes(number(&mut rest)?) as usize;
        let [flags] = number(&mut rest)?;
        let topic = u16::from_be_bytes(number(&mut rest)?);
        let properties = u32::from_be_bytes(number(&mut rest)?);
        let mut next = || number(&mut rest).map(u64::from_be_bytes);
        let (position, expires_at, publisher) = (next()?, next()?, next()?);
        let body = records.get(HEAD_BYTES..length)?;
        let (topic, body) = body.split_at_checked(topic.into())?;
        let (properties, payload) = body.split_at_checked(properties as usize)?;
        let record = Self {
            bytes: records.get(..length)?,
            position: Position::new(position),
            qos: Qos::of(flags & QOS)?,
            is_retained: flags & IS_RETAINED != 0,
            is_from_before: flags & IS_FROM_BEFORE != 0,
            expires_at: (expires_at > 0).then(|| Timestamp::from_millis(expires_at)),
            publisher: (publisher > 0).then_some(publisher),
            topic: std::str::from_utf8(topic).ok()?,
            properties,
            payload,
        };
        Some((record, length))
    }
}

fn number<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*number)
}
