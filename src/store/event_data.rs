//! Events as rows: reading one whole, writing one, taking one away.

use std::borrow::Cow;
use std::sync::Arc;

use super::codec::EventParts;
use super::damage::damaged;
use super::database::Store;
use super::overlay::Write;
use super::rows::{Content, Rows, event_row};
use super::transaction::Transaction;
use super::{chunks, codec, keys};
use crate::domain::{Event, EventKind, Position, Published, TenantName, Timestamp};
use crate::error::Error;

/// An event as it is read, without a copy.
pub struct StoredEvent<'a> {
    /// Its position in the order of commits.
    pub position: Position,
    /// Its name.
    pub name: &'a str,
    /// Its whole data as JSON; `null` for a removal.
    pub data: Cow<'a, str>,
    /// What it does to its name.
    pub kind: EventKind,
    /// When it was inserted.
    pub timestamp: Timestamp,
    /// The user that inserted it.
    pub username: &'a str,
    /// When it expires, if it does. Not known of values in a database of format 4.
    pub expires_at: Option<Timestamp>,
    /// Whether it is the removal of a value that had expired.
    pub by_expiry: bool,
    /// What it has beside its data if it was published over MQTT.
    pub published: Option<Arc<Published>>,
}

/// Whether a step through events goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Goes,
    IsEnough,
}

/// How many rows of events one step looks at, so that a step is short.
pub(super) const ROWS_A_STEP: usize = 8192;
/// How many bytes of events one step reads.
pub(super) const BYTES_A_STEP: usize = 4 << 20;

/// An event that a step comes to.
pub(super) struct EventRow<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub tenant: TenantName,
    pub position: Position,
    pub parts: EventParts<'a>,
}

impl Store {
    /// Gives the events between two keys to `each`, until that says that it is enough, but no more than one step reads. Returns where
    /// the next step begins, if there may be more. Events that cannot be read are left out, and the log names them. Blocks on the disk.
    pub(super) fn step_through_events(
        &self,
        from: &[u8],
        until: &[u8],
        mut each: impl FnMut(EventRow<'_>) -> Result<Step, Error>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let (mut rows, mut bytes, mut step, mut next) = (0, 0, Step::Goes, None);
        self.scan(from, until, &mut |key, value| {
            if rows >= ROWS_A_STEP || bytes >= BYTES_A_STEP || step == Step::IsEnough {
                next = Some(key.to_vec());
                return Ok(false);
            }
            rows += 1;
            bytes += value.len();
            let event = event_row(key, value).and_then(|(position, parts)| {
                let tenant = keys::tenant_of_event(key).ok_or_else(|| damaged(key, "an event's tenant is none"))?;
                each(EventRow { key, value, tenant, position, parts })
            });
            step = self.unless_damaged(event)?.unwrap_or(step);
            Ok(true)
        })?;
        Ok(next)
    }

    /// Gives one event, if it is still there and has not expired, or is kept for a session of MQTT. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn event_at(
        &self,
        tenant: &TenantName,
        position: Position,
        give: impl FnOnce(&StoredEvent<'_>),
    ) -> Result<(), Error> {
        for key in [keys::event(tenant, position), keys::kept_event(tenant, position)] {
            let Some(value) = self.get(&key)? else { continue };
            let (position, parts) = event_row(&key, &value)?;
            self.whole(&key, position, &parts)?.as_ref().map(give);
            return Ok(());
        }
        Ok(())
    }

    /// The whole event for a row that was read. `None` if the event was removed since, or has expired.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub(super) fn whole<'a>(
        &self,
        key: &[u8],
        position: Position,
        parts: &EventParts<'a>,
    ) -> Result<Option<StoredEvent<'a>>, Error> {
        let EventParts { timestamp, name, kind, expires_at, by_expiry, .. } = *parts;
        let username = parts.username().map_err(|why| damaged(key, why))?;
        let Some(Content { data, published }) = self.content(key, position, parts)? else { return Ok(None) };
        Ok(Some(StoredEvent { position, name, data, kind, timestamp, username, expires_at, by_expiry, published }))
    }
}

impl Transaction<'_> {
    /// Writes an event: its row, and chunks if its content is large.
    pub(super) fn put_event(&mut self, event: &Event, previous: Option<Position>) {
        let row = codec::encode_event(event, previous);
        // The key is new, since no other event has this position.
        self.write(keys::event(&event.tenant, event.position), Write::PutNew(row.into()));
        if chunks::count(event.content_bytes()) > 0 {
            for (number, chunk) in (0..).zip(codec::content(event).chunks(chunks::CHUNK_BYTES)) {
                self.write(keys::chunk(event.position, number), Write::PutNew(chunk.into()));
            }
        }
    }

    /// Takes an event away: its row, and all of its chunks, unless sessions of MQTT still need it. No other code does, but for what is
    /// kept for those.
    pub(super) fn take_event_away(&mut self, tenant: &TenantName, position: Position, chunks: u8) -> Result<(), Error> {
        self.remove(keys::event(tenant, position));
        if chunks > 0 && self.get(&keys::kept_event(tenant, position))?.is_none() {
            for number in 0..chunks {
                self.remove(keys::chunk(position, number));
            }
        }
        Ok(())
    }

    /// Takes the content of a transient event away, and leaves a row in its place: the chain of its name goes through
    /// it as long as the events around it are kept.
    pub(super) fn empty_event(
        &mut self,
        tenant: &TenantName,
        position: Position,
        chunks: u8,
        left: &[u8],
    ) -> Result<(), Error> {
        self.take_event_away(tenant, position, chunks)?;
        // Up to the floor only latest events are kept. A damaged event may have stayed there.
        if position > self.floor(tenant)? {
            self.put(keys::event(tenant, position), left.to_vec());
        }
        Ok(())
    }
}
