//! Rows that tell when an event is removed: at a moment, or with a stream.

use super::numbers::{Decoded, encode_position};
use crate::domain::{EventName, Position, Username};

/// The user that inserted an event that expires, and its name: length of the username (2 bytes), username, name.
pub fn encode_expiry(username: &Username, name: &EventName) -> Vec<u8> {
    let (username, name) = (username.as_str().as_bytes(), name.as_str().as_bytes());
    [&(username.len() as u16).to_be_bytes(), username, name].concat()
}

pub fn decode_expiry(value: &[u8]) -> Decoded<(Username, EventName)> {
    const WRONG: &str = "an expiry is not what was written";
    let (length, rest) = value.split_first_chunk::<2>().ok_or(WRONG)?;
    let (username, name) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(WRONG)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| WRONG);
    let username = Username::from_stored(text(username)?).map_err(|_| WRONG)?;
    Ok((username, EventName::parse(text(name)?).map_err(|_| WRONG)?))
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
