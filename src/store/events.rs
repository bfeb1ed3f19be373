//! Writing events: inserts and removals, expiry, and how many names a tenant has.

use std::collections::HashMap;

use super::codec::{self, LatestRow};
use super::damage::damaged;
use super::overlay::Write;
use super::rows::Rows;
use super::transaction::Transaction;
use super::{chunks, keys};
use crate::domain::{Event, EventName, Payload, Position, TenantName, Timestamp, Username};
use crate::error::Error;

/// For how many tenants a value is cached. Beyond that the cache is emptied, and values are read again when they are
/// needed.
const TENANTS_REMEMBERED: usize = 16_384;

/// Caches a value of a tenant, in memory that does not grow with the number of tenants.
fn remember<T>(of_tenants: &mut HashMap<TenantName, T>, tenant: &TenantName, value: T) {
    if of_tenants.len() >= TENANTS_REMEMBERED {
        of_tenants.clear();
    }
    of_tenants.insert(tenant.clone(), value);
}

impl Transaction<'_> {
    /// Gives an event the next position, and makes it the latest of its name.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn insert_event(
        &mut self,
        tenant: TenantName,
        username: Username,
        name: EventName,
        data: Payload,
    ) -> Result<Event, Error> {
        self.add_event(tenant, username, name, data, false)
    }

    /// Removes a name that exists. A removal is an event like others, with data `null`.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn remove_event(&mut self, tenant: TenantName, username: Username, name: EventName) -> Result<Event, Error> {
        self.add_event(tenant, username, name, Payload::null(), true)
    }

    fn add_event(
        &mut self,
        tenant: TenantName,
        username: Username,
        name: EventName,
        data: Payload,
        is_removal: bool,
    ) -> Result<Event, Error> {
        let name_key = keys::name(&tenant, name.as_str());
        let previous = self.latest_row(&name_key)?;
        let was_there = previous.is_some_and(|previous| !previous.is_removal);
        if was_there == is_removal {
            let names = self.names(&tenant)?;
            let names = if is_removal { names.saturating_sub(1) } else { names + 1 };
            self.put(keys::names(&tenant), codec::encode_count(names));
        }
        let floor = self.floor(&tenant)?;
        if let Some(stream) = previous.and_then(|previous| previous.stream) {
            self.unbind(&tenant, &name, stream)?;
        }
        if let Some((previous, at)) = previous.and_then(|previous| Some((previous.position, previous.expires_at?))) {
            self.remove(keys::expiry(at, &tenant, previous));
        }
        // Up to the floor only the latest event of a name is kept, and the previous one no longer is the latest.
        if let Some(previous) = previous.filter(|previous| previous.position <= floor) {
            self.take_event_away(&tenant, previous.position, previous.chunks);
        }

        let position = self.head.next();
        let timestamp = self.now();
        let event = Event { position, tenant, name, username, timestamp, data, is_removal };
        let chunks = chunks::count(event.data.as_str().len());
        self.put(name_key, codec::encode_latest(LatestRow { is_removal, chunks, ..LatestRow::at(position) }));
        self.put_event(&event, previous.map(|previous| previous.position));
        self.head = position;
        self.events.push(event.clone());
        Ok(event)
    }

    /// The position of the latest event of a name, unless the name was removed.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn latest_position(&self, tenant: &TenantName, name: &EventName) -> Result<Option<Position>, Error> {
        let latest = self.latest_row(&keys::name(tenant, name.as_str()))?;
        Ok(latest.filter(|latest| !latest.is_removal).map(|latest| latest.position))
    }

    /// The event at a position.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn event(&mut self, tenant: &TenantName, position: Position) -> Result<Option<Event>, Error> {
        let key = keys::event(tenant, position);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        let parts = codec::event_parts(&value).map_err(|why| damaged(&key, why))?;
        let Some(data) = self.data(&key, position, &parts)? else { return Ok(None) };
        self.shown += parts.bytes;
        let decode = || {
            Ok(Event {
                position,
                tenant: tenant.clone(),
                name: EventName::parse(parts.name).map_err(|_| "an event's name is not one")?,
                username: Username::from_stored(parts.username()?).map_err(|_| "an event's username is not one")?,
                timestamp: parts.timestamp,
                data: Payload::from_stored(&data),
                is_removal: parts.is_removal,
            })
        };
        decode().map(Some).map_err(|why| damaged(&key, why))
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
            let latest = codec::decode_latest(value).map_err(|why| damaged(key, why))?;
            names += u64::from(!latest.is_removal);
            Ok(true)
        })?;
        remember(&mut self.committer.counted, tenant, names);
        Ok(names)
    }

    /// The tenant's floor: up to this position, only the latest event of each name is kept.
    pub(super) fn floor(&mut self, tenant: &TenantName) -> Result<Position, Error> {
        if let Some(floor) = self.committer.floors.get(tenant) {
            return Ok(*floor);
        }
        // Not the store's floor: this transaction may have raised it, and the cache may have been emptied since.
        let floor = self.position_at(&keys::floor(tenant))?;
        remember(&mut self.committer.floors, tenant, floor);
        Ok(floor)
    }

    /// Makes an event of this transaction expire at a moment: it is removed then, if it is still the latest of its
    /// name.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn expire(&mut self, event: &Event, at: Timestamp) -> Result<(), Error> {
        let key = keys::expiry(at, &event.tenant, event.position);
        // The key is new, since no other event has this position.
        self.write(key, Write::PutNew(codec::encode_expiry(&event.username, &event.name).into()));
        self.due.expiry = self.due.expiry.min(at);
        // The event that takes its place finds the expiry by this, and removes it.
        self.amend_latest(event, |latest| LatestRow { expires_at: Some(at), ..latest })
    }
}
