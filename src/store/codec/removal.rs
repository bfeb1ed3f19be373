//! Rows that tell when an event goes: at a moment, or with a stream.

use super::event::{StoredData, encode_expired, event_parts};
use super::numbers::{Decoded, encode_position};
use crate::domain::{Event, EventName, Position, Username};
use crate::store::chunks;

/// What is to be done when an event expires.
#[derive(Debug, PartialEq, Eq)]
pub enum Expiry<'a> {
    /// The name is removed, for the user that inserted the event.
    OfValue(Username, EventName),
    /// The event is taken away with its chunks, and this row takes the place of its own.
    OfTransient { chunks: u8, left: &'a [u8] },
}

/// Instead of the length of a username: the event is transient (format 4).
const OF_TRANSIENT: u16 = 1 << 15;

/// Of an event that is the latest of its name: length of the username (2 bytes), username, name.
pub fn encode_expiry(username: &Username, name: &EventName) -> Vec<u8> {
    let (username, name) = (username.as_str().as_bytes(), name.as_str().as_bytes());
    [&(username.len() as u16).to_be_bytes(), username, name].concat()
}

/// Of a transient event: the flag with the number of chunks (2 bytes), and the row that takes the place of the event's.
/// So nobody reads the event to let it expire.
pub fn encode_transient_expiry(event: &Event, previous: Option<Position>) -> Vec<u8> {
    let chunks = u16::from(chunks::count(event.content_bytes()));
    [&(OF_TRANSIENT | chunks).to_be_bytes()[..], &encode_expired(event.timestamp, event.name.as_str(), previous)]
        .concat()
}

pub fn decode_expiry(value: &[u8]) -> Decoded<Expiry<'_>> {
    const WRONG: &str = "an expiry is not what was written";
    let (length, rest) = value.split_first_chunk::<2>().ok_or(WRONG)?;
    let length = u16::from_be_bytes(*length);
    if length & OF_TRANSIENT != 0 {
        let chunks = u8::try_from(length & !OF_TRANSIENT).map_err(|_| WRONG)?;
        let is_expired = event_parts(rest)?.data == StoredData::Expired;
        return if is_expired { Ok(Expiry::OfTransient { chunks, left: rest }) } else { Err(WRONG) };
    }
    let (username, name) = rest.split_at_checked(length.into()).ok_or(WRONG)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| WRONG);
    let username = Username::from_stored(text(username)?).map_err(|_| WRONG)?;
    Ok(Expiry::OfValue(username, EventName::parse(text(name)?).map_err(|_| WRONG)?))
}

/// The position of a bound event (8 bytes), and the user that inserted it.
pub fn encode_bound(position: Position, username: &Username) -> Vec<u8> {
    [&encode_position(position)[..], username.as_str().as_bytes()].concat()
}

pub fn decode_bound(value: &[u8]) -> Decoded<(Position, Username)> {
    const WRONG: &str = "what goes with a stream is not what was written";
    let (position, username) = value.split_first_chunk::<8>().ok_or(WRONG)?;
    let username = std::str::from_utf8(username).map_err(|_| WRONG)?;
    Ok((Position::new(u64::from_be_bytes(*position)), Username::from_stored(username).map_err(|_| WRONG)?))
}
