//! The row of an event: a header of lengths, and then its text.

use super::numbers::{Decoded, encode_moment, encode_position};
use super::published::{HEAD_BYTES, PublishedHead, encode_envelope, encode_published};
use crate::domain::{Event, EventKind, MAX_EVENT_BYTES, MAX_NAME_BYTES, Position, Timestamp, Username};
use crate::store::chunks;

/// A flag in the length of the username: the position of the previous event of the name follows (format 3).
const HAS_PREVIOUS: u16 = 1 << 15;
/// A flag in the length of the name: the event is a removal.
const IS_REMOVAL: u16 = 1 << 15;
/// A flag in the length of the name: the data is stored in chunks (format 3).
const IN_CHUNKS: u16 = 1 << 14;
/// A flag in the length of the name: the event is transient (format 4).
const IS_TRANSIENT: u16 = 1 << 13;
/// A flag in the length of the name: the moment at which the event expires follows. Format 4 has it for transient events alone.
const EXPIRES: u16 = 1 << 12;
/// A flag in the length of the name: the transient event has expired, and has neither a username nor data (format 4).
const HAS_EXPIRED: u16 = 1 << 11;
/// A flag in the length of the name: the event was published over MQTT, and what is known of that follows (format 5).
const WAS_PUBLISHED: u16 = 1 << 10;
/// A flag in the length of the name: the removal is that of a value that had expired (format 5).
const BY_EXPIRY: u16 = 1 << 9;
/// All flags in the length of the name.
const NAME_FLAGS: u16 = IS_REMOVAL | IN_CHUNKS | IS_TRANSIENT | EXPIRES | HAS_EXPIRED | WAS_PUBLISHED | BY_EXPIRY;

// The largest row without chunks: the fields are lengths and moments, and the head of what was published.
const _: () = assert!(28 + HEAD_BYTES + 2 * MAX_NAME_BYTES + chunks::MAX_INLINE_BYTES <= chunks::MAX_ROW_BYTES);

/// Timestamp (8 bytes), length of the username (2), length of the name (2), position of the previous event of the name
/// if there is one (8), moment at which the event expires if it does (8), [head](encode_published) of what was published if it was
/// (13), username, name, content. Instead of content in chunks, its length (4).
pub fn encode_event(event: &Event, previous: Option<Position>) -> Vec<u8> {
    let (username, name) = (event.username.as_str(), event.name.as_str());
    let content_bytes = event.content_bytes();
    let in_chunks = if chunks::count(content_bytes) > 0 { IN_CHUNKS } else { 0 };
    let mut value = Vec::with_capacity({
        let numbers = 28 + if event.published.is_some() { HEAD_BYTES } else { 0 };
        numbers + username.len() + name.len() + if in_chunks > 0 { 4 } else { content_bytes }
    });
    let kind = match event.kind {
        EventKind::Value => 0,
        EventKind::Removal => IS_REMOVAL,
        EventKind::Transient => IS_TRANSIENT,
    };
    let expires = if event.expires_at.is_some() { EXPIRES } else { 0 };
    let by_expiry = if event.by_expiry { BY_EXPIRY } else { 0 };
    let published = if event.published.is_some() { WAS_PUBLISHED } else { 0 };
    put_head(
        &mut value,
        event.timestamp,
        username,
        (name, kind | expires | by_expiry | published | in_chunks),
        previous,
    );
    value.extend(event.expires_at.into_iter().flat_map(encode_moment));
    value.extend(event.published.iter().flat_map(|published| encode_published(published)));
    value.extend_from_slice(username.as_bytes());
    value.extend_from_slice(name.as_bytes());
    if in_chunks == 0 {
        put_content(&mut value, event);
    } else {
        value.extend_from_slice(&(content_bytes as u32).to_be_bytes());
    }
    value
}

/// Appends the content of an event: its data, and the [envelope](encode_envelope) of what was published.
fn put_content(value: &mut Vec<u8>, event: &Event) {
    value.extend_from_slice(event.data.as_str().as_bytes());
    if let Some(published) = &event.published {
        value.extend(encode_envelope(published));
    }
}

/// The content of an event that is written in chunks.
pub fn content(event: &Event) -> Vec<u8> {
    let mut content = Vec::with_capacity(event.content_bytes());
    put_content(&mut content, event);
    content
}

/// What is left of a transient event that has expired, or of an event that was erased: its place in the chain of its name, and the
/// timestamp by which retention goes.
pub fn encode_expired(timestamp: Timestamp, name: &str, previous: Option<Position>) -> Vec<u8> {
    let mut value = Vec::with_capacity(20 + name.len());
    put_head(&mut value, timestamp, "", (name, IS_TRANSIENT | HAS_EXPIRED), previous);
    value.extend_from_slice(name.as_bytes());
    value
}

/// The row of an event with another username in it, and everything else as it is. A removal, which stays when everything of its user
/// is erased, loses the properties that came with it.
pub fn rename_event(value: &[u8], username: &Username) -> Decoded<Vec<u8>> {
    const SHORT: &str = "an event is cut short";
    let parts = event_parts(value)?;
    let (timestamp, rest) = value.split_first_chunk::<8>().ok_or(SHORT)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
    let flag = u16::from_be_bytes(*length) & HAS_PREVIOUS;
    let numbers = 8 * (usize::from(flag != 0) + usize::from(parts.expires_at.is_some()));
    let (head, mut rest) = rest.split_at_checked(2 + numbers).ok_or(SHORT)?;
    let mut published = None;
    if let Some(head) = parts.published {
        rest = rest.get(HEAD_BYTES..).ok_or(SHORT)?;
        published = Some(*head.0);
        if parts.kind == EventKind::Removal {
            published = Some(head.without_envelope());
            // It stands in the row, as data `null` does.
            rest = rest.get(..rest.len().saturating_sub(head.envelope_bytes())).ok_or(SHORT)?;
        }
    }
    let published = published.as_ref().map_or(&[][..], |head| head);
    let rest = rest.get(parts.username.len()..).ok_or(SHORT)?;
    let name = username.as_str().as_bytes();
    Ok([&timestamp[..], &(name.len() as u16 | flag).to_be_bytes(), head, published, name, rest].concat())
}

/// Appends the fields that every event has. The name comes with its flags.
fn put_head(
    value: &mut Vec<u8>,
    timestamp: Timestamp,
    username: &str,
    (name, flags): (&str, u16),
    previous: Option<Position>,
) {
    value.extend_from_slice(&encode_moment(timestamp));
    // Both have at most 256 bytes, which leaves the first bits free.
    let has_previous = if previous.is_some() { HAS_PREVIOUS } else { 0 };
    value.extend_from_slice(&(username.len() as u16 | has_previous).to_be_bytes());
    value.extend_from_slice(&(name.len() as u16 | flags).to_be_bytes());
    value.extend(previous.into_iter().flat_map(encode_position));
}

/// The place of an event's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredData<'a> {
    /// In the row of the event.
    Inline(&'a str),
    /// In chunks, with this many bytes together. They are the whole content of the event.
    InChunks(usize),
    /// Nowhere any more: the event was transient and has expired.
    Expired,
}

/// The parts of a stored event, without a copy.
pub struct EventParts<'a> {
    pub timestamp: Timestamp,
    /// The position of the previous event of this name, of any kind.
    pub previous: Option<Position>,
    /// In UTF-8, which is checked only if it is used.
    pub username: &'a [u8],
    pub name: &'a str,
    /// `Rows::content` returns it whole.
    pub data: StoredData<'a>,
    pub kind: EventKind,
    /// When the event expires, if it is known: for values, rows of format 4 do not say. `None` of a transient event that has.
    pub expires_at: Option<Timestamp>,
    /// Whether it is the removal of a value that had expired.
    pub by_expiry: bool,
    /// What is known of an event that was published over MQTT.
    pub published: Option<PublishedHead<'a>>,
    /// The envelope with the rest of that. It is empty if the content is in chunks.
    pub envelope: &'a [u8],
    /// The size of the stored event, with its chunks.
    pub bytes: usize,
}

impl<'a> EventParts<'a> {
    /// In how many chunks the data is stored.
    pub fn chunks(&self) -> u8 {
        match self.data {
            StoredData::Inline(_) | StoredData::Expired => 0,
            StoredData::InChunks(bytes) => chunks::count(bytes),
        }
    }

    /// When a transient event leaves the history, for which it has a row of its own. A value has its own while it is the latest.
    pub fn leaves_at(&self) -> Option<Timestamp> {
        self.expires_at.filter(|_| self.kind == EventKind::Transient)
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
    let has = |flag: u16| name_len & flag != 0;
    let mut number = |is_there: bool| {
        let Some((number, after)) = rest.split_first_chunk::<8>().filter(|_| is_there) else {
            return if is_there { Err(SHORT) } else { Ok(None) };
        };
        rest = after;
        Ok(Some(u64::from_be_bytes(*number)))
    };
    let previous = number(username_len & HAS_PREVIOUS != 0)?.map(Position::new);
    let expires_at = number(has(EXPIRES))?.map(Timestamp::from_millis);
    let mut published = None;
    if has(WAS_PUBLISHED) {
        let (head, after) = rest.split_first_chunk::<HEAD_BYTES>().ok_or(SHORT)?;
        (published, rest) = (Some(PublishedHead(head)), after);
    }
    let (username, rest) = rest.split_at_checked((username_len & !HAS_PREVIOUS).into()).ok_or(SHORT)?;
    let (name, content) = rest.split_at_checked((name_len & !NAME_FLAGS).into()).ok_or(SHORT)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| "an event is not UTF-8");
    let envelope_bytes = published.map_or(0, PublishedHead::envelope_bytes);
    let (mut bytes, mut envelope) = (value.len(), &[][..]);
    let data = if has(HAS_EXPIRED) {
        StoredData::Expired
    } else if !has(IN_CHUNKS) {
        let data_bytes = content.len().checked_sub(envelope_bytes).ok_or(SHORT)?;
        let (data, after) = content.split_at(data_bytes);
        envelope = after;
        StoredData::Inline(text(data)?)
    } else {
        let content_bytes = content.try_into().map(u32::from_be_bytes).map_err(|_| SHORT)? as usize;
        if chunks::count(content_bytes) == 0 || content_bytes > MAX_EVENT_BYTES || envelope_bytes > content_bytes {
            return Err("an event's data has no such length");
        }
        bytes += content_bytes;
        StoredData::InChunks(content_bytes)
    };
    let kind = if has(IS_TRANSIENT) {
        EventKind::Transient
    } else if has(IS_REMOVAL) {
        EventKind::Removal
    } else {
        EventKind::Value
    };
    Ok(EventParts {
        timestamp: Timestamp::from_millis(u64::from_be_bytes(*timestamp)),
        previous,
        username,
        name: text(name)?,
        data,
        kind,
        expires_at,
        by_expiry: has(BY_EXPIRY),
        published,
        envelope,
        bytes,
    })
}

#[cfg(test)]
mod tests;
