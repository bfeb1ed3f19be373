//! Writing events: inserts, transient ones too, and removals, expiry, and how many names a tenant has.

use super::codec::{self, LatestRow, NameRow};
use super::committer::remember;
use super::damage::damaged;
use super::draft::Draft;
use super::overlay::Write;
use super::rows::{Rows, event_of};
use super::transaction::Transaction;
use super::{chunks, keys};
use crate::domain::{Event, EventKind, EventName, Position, TenantName};
use crate::error::Error;

impl Transaction<'_> {
    /// Gives an event the next position, and its name an entry: unless it is transient, it is the latest event of the name, or
    /// its removal. An event that expires is found at its moment ([`Transaction::remove_expired`]).
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn insert_event(&mut self, draft: Draft) -> Result<Event, Error> {
        let event = draft.at(self.head.next(), self.now());
        let (tenant, position) = (&event.tenant, event.position);
        let name_key = keys::name(tenant, event.name.as_str());
        let row = self.name_row(&name_key)?;
        let previous = row.map(|row| row.tip);
        if let Some(at) = event.expires_at {
            let expiry = match event.kind {
                EventKind::Transient => codec::encode_transient_expiry(&event, previous),
                EventKind::Value | EventKind::Removal => codec::encode_expiry(&event.username, &event.name),
            };
            // The key is new, since no other event has this position.
            self.write(keys::expiry(at, tenant, position), Write::PutNew(expiry.into()));
        }
        let row = match event.kind {
            EventKind::Transient => NameRow { tip: position, latest: row.and_then(|row| row.latest) },
            EventKind::Value | EventKind::Removal => NameRow::of(self.replace_latest(&event, row)?),
        };
        self.append(name_key, row, &event, previous);
        Ok(event)
    }

    /// Makes place for an event as the latest of its name, or for its removal.
    fn replace_latest(&mut self, event: &Event, row: Option<NameRow>) -> Result<LatestRow, Error> {
        let Event { position, tenant, name, .. } = event;
        let (before, is_removal) = (row.and_then(|row| row.latest), event.kind == EventKind::Removal);
        if row.and_then(NameRow::value).is_some() == is_removal {
            let names = self.names(tenant)?;
            let names = if is_removal { names.saturating_sub(1) } else { names + 1 };
            self.put(keys::names(tenant), codec::encode_count(names));
        }
        let floor = self.floor(tenant)?;
        if let Some(stream) = before.and_then(|before| before.stream) {
            self.unbind(tenant, name, stream)?;
        }
        if let Some((before, at)) = before.and_then(|before| Some((before.position, before.expires_at?))) {
            self.remove(keys::expiry(at, tenant, before));
        }
        // Up to the floor only the latest event of a name is kept, and the one before no longer is the latest.
        if let Some(before) = before.filter(|before| before.position <= floor) {
            self.take_event_away(tenant, before.position, before.chunks)?;
        }
        let (chunks, expires_at) = (chunks::count(event.content_bytes()), event.expires_at);
        Ok(LatestRow { is_removal, chunks, expires_at, ..LatestRow::at(*position) })
    }

    /// Writes an event at the next position, with the index entry of its name.
    fn append(&mut self, name_key: Vec<u8>, row: NameRow, event: &Event, previous: Option<Position>) {
        self.put(name_key, codec::encode_name(row));
        self.put_event(event, previous);
        self.head = event.position;
        self.events.push(event.clone());
    }

    /// The position of the latest event of a name; `None` if the name was removed, or has transient events alone.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn latest_position(&self, tenant: &TenantName, name: &EventName) -> Result<Option<Position>, Error> {
        let row = self.name_row(&keys::name(tenant, name.as_str()))?;
        Ok(row.and_then(NameRow::value).map(|latest| latest.position))
    }

    /// The event at a position.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn event(&mut self, tenant: &TenantName, position: Position) -> Result<Option<Event>, Error> {
        let Some((event, bytes)) = event_of(self, &keys::event(tenant, position))? else { return Ok(None) };
        self.shown += bytes;
        Ok(Some(event))
    }

    /// How many names a tenant has. A database of an older format has no such count: then the names are counted once,
    /// and the count is written with the first name that is added or removed.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn names(&mut self, tenant: &TenantName) -> Result<u64, Error> {
        if let Some(names) = self.decoded(&keys::names(tenant), codec::decode_count)? {
            return Ok(names);
        }
        // The cached count is right: a change of it would have been written.
        if let Some(names) = self.committer.counted.get(tenant) {
            return Ok(*names);
        }
        let mut names = 0;
        self.committer.store.scan_prefix(&keys::name(tenant, ""), &mut |key, value| {
            let row = codec::decode_name(value).map_err(|why| damaged(key, why))?;
            names += u64::from(row.value().is_some());
            Ok(true)
        })?;
        remember(&mut self.committer.counted, tenant, names);
        Ok(names)
    }

    /// The tenant's floor: up to this position, only the latest event of each name is kept.
    pub(super) fn floor(&mut self, tenant: &TenantName) -> Result<Position, Error> {
        // This transaction may have raised it.
        if let Some((_, floor)) = self.raised.iter().rfind(|(raised, _)| raised == tenant) {
            return Ok(*floor);
        }
        if let Some(floor) = self.committer.floors.get(tenant) {
            return Ok(*floor);
        }
        let floor = self.committer.store.floor(tenant)?;
        remember(&mut self.committer.floors, tenant, floor);
        Ok(floor)
    }
}
