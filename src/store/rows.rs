//! Reading one row: from the store as it is, or from a transaction, which sees its own changes.

use std::borrow::Cow;
use std::sync::Arc;

use super::chunks::CHUNK_BYTES;
use super::codec::{self, Decoded, EventParts, LatestRow, NameRow, StoredData};
use super::damage::damaged;
use super::keys;
use crate::domain::{Event, EventName, Payload, Position, Published, Username};
use crate::error::Error;

/// What an event consists of beside its row's fields.
pub struct Content<'a> {
    pub data: Cow<'a, str>,
    pub published: Option<Arc<Published>>,
}

/// A source of rows.
pub trait Rows {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Error>;

    /// The decoded value of a key.
    fn decoded<T>(&self, key: &[u8], decode: impl FnOnce(&[u8]) -> Decoded<T>) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        decode(&value).map(Some).map_err(|why| damaged(key, why))
    }

    /// The position that a key holds; the start if there is no such key.
    fn position_at(&self, key: &[u8]) -> Result<Position, Error> {
        Ok(self.decoded(key, codec::decode_position)?.unwrap_or(Position::START))
    }

    /// The index entry of an event name, which tells where its newest and its latest event are.
    fn name_row(&self, name_key: &[u8]) -> Result<Option<NameRow>, Error> {
        self.decoded(name_key, codec::decode_name)
    }

    /// The latest event of a name, or its removal, by its index entry.
    fn latest_row(&self, name_key: &[u8]) -> Result<Option<LatestRow>, Error> {
        Ok(self.name_row(name_key)?.and_then(|name| name.latest))
    }

    /// The data of an event and what was published beside it, from its row or its chunks. `None` if the event was removed after its
    /// row was read, or has expired: the caller goes on as if it had not found the row.
    fn content<'a>(
        &self,
        key: &[u8],
        position: Position,
        parts: &EventParts<'a>,
    ) -> Result<Option<Content<'a>>, Error> {
        let published = |envelope: &[u8]| {
            let Some(head) = parts.published else { return Ok(None) };
            head.decode(envelope).map(|published| Some(Arc::new(published))).map_err(|why| damaged(key, why))
        };
        let bytes = match parts.data {
            StoredData::Inline(data) => {
                return Ok(Some(Content { data: Cow::Borrowed(data), published: published(parts.envelope)? }));
            }
            StoredData::InChunks(bytes) => bytes,
            StoredData::Expired => return Ok(None),
        };
        let mut data = Vec::with_capacity(bytes);
        for number in 0..parts.chunks() {
            let Some(chunk) = self.get(&keys::chunk(position, number))? else {
                // The row is read again after the chunk: one commit removes both, so a removed event has no row either, and
                // one that has expired has another row.
                let is_whole = |row: Arc<[u8]>| codec::event_parts(&row).is_ok_and(|now| now.data == parts.data);
                let is_missing = self.get(key)?.is_some_and(is_whole);
                return if is_missing { Err(damaged(key, "a chunk of its data is missing")) } else { Ok(None) };
            };
            if chunk.len() != CHUNK_BYTES.min(bytes - data.len()) {
                return Err(damaged(key, "a chunk of its data has another length"));
            }
            data.extend_from_slice(&chunk);
        }
        let envelope = data.split_off(bytes - parts.published.map_or(0, |head| head.envelope_bytes()));
        let data = String::from_utf8(data).map_err(|_| damaged(key, "its data is not UTF-8"))?;
        Ok(Some(Content { data: Cow::Owned(data), published: published(&envelope)? }))
    }
}

/// The position and the parts of an event, from its row.
pub fn event_row<'a>(key: &[u8], value: &'a [u8]) -> Result<(Position, EventParts<'a>), Error> {
    let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
    let parts = codec::event_parts(value).map_err(|why| damaged(key, why))?;
    // Otherwise a reader that follows the chain would never reach its end.
    if parts.previous.is_some_and(|previous| previous >= position) {
        return Err(damaged(key, "the event before it comes after it"));
    }
    Ok((position, parts))
}

/// An event by its key, and how many bytes it has in the database. `None` if there is none, or its content has gone.
pub fn event_of(rows: &impl Rows, key: &[u8]) -> Result<Option<(Event, usize)>, Error> {
    let Some(value) = rows.get(key)? else { return Ok(None) };
    let (position, parts) = event_row(key, &value)?;
    let Some(Content { data, published }) = rows.content(key, position, &parts)? else { return Ok(None) };
    let decode = || {
        Ok(Event {
            position,
            tenant: keys::tenant_of_event(key).ok_or("an event's tenant is none")?,
            name: EventName::parse(parts.name).map_err(|_| "an event's name is not one")?,
            username: Username::from_stored(parts.username()?).map_err(|_| "an event's username is not one")?,
            timestamp: parts.timestamp,
            data: Payload::from_stored(&data),
            kind: parts.kind,
            expires_at: parts.expires_at,
            by_expiry: parts.by_expiry,
            published,
        })
    };
    decode().map(|event| Some((event, parts.bytes))).map_err(|why| damaged(key, why))
}
