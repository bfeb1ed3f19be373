//! The row of an event: a header of lengths, and then its text.

use super::numbers::{Decoded, encode_position};
use crate::domain::{Event, MAX_EVENT_BYTES, Position, Timestamp};
use crate::store::chunks;

/// A flag in the length of the username: the position of the previous event of the name follows (format 3).
const HAS_PREVIOUS: u16 = 1 << 15;
/// A flag in the length of the name: the event is a removal.
const IS_REMOVAL: u16 = 1 << 15;
/// A flag in the length of the name: the data is stored in chunks (format 3).
const IN_CHUNKS: u16 = 1 << 14;

/// Timestamp (8 bytes), length of the username (2), length of the name (2), position of the previous event of the name
/// if there is one (8), username, name, data. Instead of data in chunks, its length (4).
pub fn encode_event(event: &Event, previous: Option<Position>) -> Vec<u8> {
    let (username, name, data) = (event.username.as_str(), event.name.as_str(), event.data.as_str());
    let data_bytes = if chunks::count(data.len()) > 0 { 4 } else { data.len() };
    let mut value = Vec::with_capacity(20 + username.len() + name.len() + data_bytes);
    value.extend_from_slice(&event.timestamp.as_millis().to_be_bytes());
    // Both have at most 256 bytes, which leaves the first bits free.
    let has_previous = if previous.is_some() { HAS_PREVIOUS } else { 0 };
    let is_removal = if event.is_removal { IS_REMOVAL } else { 0 };
    let in_chunks = if chunks::count(data.len()) > 0 { IN_CHUNKS } else { 0 };
    value.extend_from_slice(&(username.len() as u16 | has_previous).to_be_bytes());
    value.extend_from_slice(&(name.len() as u16 | is_removal | in_chunks).to_be_bytes());
    value.extend(previous.into_iter().flat_map(encode_position));
    value.extend_from_slice(username.as_bytes());
    value.extend_from_slice(name.as_bytes());
    if in_chunks == 0 {
        value.extend_from_slice(data.as_bytes());
    } else {
        value.extend_from_slice(&(data.len() as u32).to_be_bytes());
    }
    value
}

/// The place of an event's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredData<'a> {
    /// In the row of the event.
    Inline(&'a str),
    /// In chunks, with this many bytes together.
    InChunks(usize),
}

/// The parts of a stored event, without a copy.
pub struct EventParts<'a> {
    pub timestamp: Timestamp,
    /// The position of the previous event of this name.
    pub previous: Option<Position>,
    /// In UTF-8, which is checked only if it is used.
    pub username: &'a [u8],
    pub name: &'a str,
    /// `Rows::data` returns it whole.
    pub data: StoredData<'a>,
    pub is_removal: bool,
    /// The size of the stored event, with its chunks.
    pub bytes: usize,
}

impl<'a> EventParts<'a> {
    /// In how many chunks the data is stored.
    pub fn chunks(&self) -> u8 {
        match self.data {
            StoredData::Inline(_) => 0,
            StoredData::InChunks(bytes) => chunks::count(bytes),
        }
    }

    /// The user or guest that inserted it.
    pub fn username(&self) -> Decoded<&'a str> {
        std::str::from_utf8(self.username).map_err(|_| "an event is not UTF-8")
    }
}

pub fn event_parts(value: &[u8]) -> Decoded<EventParts<'_>> {
    const SHORT: &str = "an event is cut short";
    let (timestamp, rest) = value.split_first_chunk::<8>().ok_or(SHORT)?;
    let (username_len, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    let (name_len, mut rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    let (username_len, name_len) = (u16::from_be_bytes(*username_len), u16::from_be_bytes(*name_len));
    let mut previous = None;
    if username_len & HAS_PREVIOUS != 0 {
        let (position, after) = rest.split_first_chunk::<8>().ok_or(SHORT)?;
        previous = Some(Position::new(u64::from_be_bytes(*position)));
        rest = after;
    }
    let (username, rest) = rest.split_at_checked((username_len & !HAS_PREVIOUS).into()).ok_or(SHORT)?;
    let (name, data) = rest.split_at_checked((name_len & !(IS_REMOVAL | IN_CHUNKS)).into()).ok_or(SHORT)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| "an event is not UTF-8");
    let (data, bytes) = if name_len & IN_CHUNKS == 0 {
        (StoredData::Inline(text(data)?), value.len())
    } else {
        let bytes = data.try_into().map(u32::from_be_bytes).map_err(|_| SHORT)? as usize;
        if chunks::count(bytes) == 0 || bytes > MAX_EVENT_BYTES {
            return Err("an event's data has no such length");
        }
        (StoredData::InChunks(bytes), value.len() + bytes)
    };
    Ok(EventParts {
        timestamp: Timestamp::from_millis(u64::from_be_bytes(*timestamp)),
        previous,
        username,
        name: text(name)?,
        data,
        is_removal: name_len & IS_REMOVAL != 0,
        bytes,
    })
}
