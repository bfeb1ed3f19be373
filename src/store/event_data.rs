//! Events as rows: reading one whole, writing one, taking one away.

use std::borrow::Cow;

use super::codec::EventParts;
use super::damage::damaged;
use super::database::Store;
use super::overlay::Write;
use super::rows::Rows;
use super::transaction::Transaction;
use super::{chunks, codec, keys};
use crate::domain::{Event, Position, TenantName, Timestamp};
use crate::error::Error;

/// An event as it is read, without a copy.
pub struct StoredEvent<'a> {
    /// Its position in the order of commits.
    pub position: Position,
    /// Its name.
    pub name: &'a str,
    /// Its whole data as JSON; `null` for a removal.
    pub data: Cow<'a, str>,
    /// Whether it says that the name was removed.
    pub is_removal: bool,
    /// When it was inserted.
    pub timestamp: Timestamp,
    /// The user that inserted it.
    pub username: &'a str,
}

/// The position and the parts of an event, from its row.
pub(super) fn event_row<'a>(key: &[u8], value: &'a [u8]) -> Result<(Position, EventParts<'a>), Error> {
    let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
    let parts = codec::event_parts(value).map_err(|why| damaged(key, why))?;
    // Otherwise a reader that follows the chain would never reach its end.
    if parts.previous.is_some_and(|previous| previous >= position) {
        return Err(damaged(key, "the event before it comes after it"));
    }
    Ok((position, parts))
}

impl Store {
    /// The whole event for a row that was read. `None` if the event was removed since.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub(super) fn whole<'a>(
        &self,
        key: &[u8],
        position: Position,
        parts: &EventParts<'a>,
    ) -> Result<Option<StoredEvent<'a>>, Error> {
        let EventParts { timestamp, name, is_removal, .. } = *parts;
        let username = parts.username().map_err(|why| damaged(key, why))?;
        let data = self.data(key, position, parts)?;
        Ok(data.map(|data| StoredEvent { position, name, data, is_removal, timestamp, username }))
    }
}

impl Transaction<'_> {
    /// Writes an event: its row, and chunks if its data is large.
    pub(super) fn put_event(&mut self, event: &Event, previous: Option<Position>) {
        let row = codec::encode_event(event, previous);
        // The key is new, since no other event has this position.
        self.write(keys::event(&event.tenant, event.position), Write::PutNew(row.into()));
        let data = event.data.as_str().as_bytes();
        if chunks::count(data.len()) > 0 {
            for (number, chunk) in (0..).zip(data.chunks(chunks::CHUNK_BYTES)) {
                self.write(keys::chunk(event.position, number), Write::PutNew(chunk.into()));
            }
        }
    }

    /// Takes an event away: its row, and all of its chunks. No other code does.
    pub(super) fn take_event_away(&mut self, tenant: &TenantName, position: Position, chunks: u8) {
        self.remove(keys::event(tenant, position));
        for number in 0..chunks {
            self.remove(keys::chunk(position, number));
        }
    }
}
