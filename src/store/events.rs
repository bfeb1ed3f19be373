//! What is written of events: inserts and removals, what expires, and what goes with a stream.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::codec::LatestRow;
use super::overlay::Write;
use super::transaction::Transaction;
use super::{chunks, codec, damaged, keys};
use crate::domain::{Event, EventName, Payload, Position, TenantName, Timestamp, Username};
use crate::error::Error;

/// Of how many tenants something is remembered; beyond, all of it is forgotten, and read again where it is asked for.
const TENANTS_REMEMBERED: usize = 16_384;

/// Where events were inserted since somebody last asked, and from when on something of what was written is due.
#[derive(Default)]
pub struct Activity {
    positions: Mutex<HashMap<TenantName, Vec<Position>>>,
    due: Mutex<Due>,
}

/// The earliest moments at which something is due.
#[derive(Clone, Copy)]
pub struct Due {
    /// An event that expires.
    pub expiry: Timestamp,
    /// An answer that may be forgotten.
    pub answer: Timestamp,
}

impl Default for Due {
    /// Nothing ever is.
    fn default() -> Self {
        Self { expiry: Timestamp::from_millis(u64::MAX), answer: Timestamp::from_millis(u64::MAX) }
    }
}

impl Activity {
    /// Notes events. Once they can be counted, and before anybody can see them: so who has heard of one counts it.
    pub(super) fn add(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut of_tenants = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            match of_tenants.get_mut(&event.tenant) {
                Some(positions) => positions.push(event.position),
                None => drop(of_tenants.insert(event.tenant.clone(), vec![event.position])),
            }
        }
    }

    /// The positions of what was inserted since this was last asked.
    pub fn take(&self) -> HashMap<TenantName, Vec<Position>> {
        std::mem::take(&mut *self.positions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes when something is due, once it can be found.
    pub(super) fn add_due(&self, due: Due) {
        let mut known = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        known.expiry = known.expiry.min(due.expiry);
        known.answer = known.answer.min(due.answer);
    }

    /// The earliest moments of what was written since this was last asked.
    pub fn take_due(&self) -> Due {
        std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Remembers something of a tenant, in memory that does not grow with their number.
fn remember<T>(of_tenants: &mut HashMap<TenantName, T>, tenant: &TenantName, value: T) {
    if of_tenants.len() >= TENANTS_REMEMBERED {
        of_tenants.clear();
    }
    of_tenants.insert(tenant.clone(), value);
}

impl Transaction<'_> {
    /// Gives an event the next position and makes it the latest of its name.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails; [`Error::Damaged`].
    pub fn insert_event(
        &mut self,
        tenant: TenantName,
        username: Username,
        name: EventName,
        data: Payload,
    ) -> Result<Event, Error> {
        self.add_event(tenant, username, name, data, false)
    }

    /// Says of a name, which is there, that it is no more: an event like others, with data `null`.
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
        let previous = self.latest_at(&name_key)?;
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
        // Below the floor only the latest is kept, and this one no longer is.
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

    /// The position of the latest event of a name, if that is no removal.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn latest(&self, tenant: &TenantName, name: &EventName) -> Result<Option<Position>, Error> {
        let latest = self.latest_at(&keys::name(tenant, name.as_str()))?;
        Ok(latest.filter(|latest| !latest.is_removal).map(|latest| latest.position))
    }

    pub(super) fn latest_at(&self, name_key: &[u8]) -> Result<Option<LatestRow>, Error> {
        let Some(value) = self.get(name_key)? else { return Ok(None) };
        codec::decode_latest(&value).map(Some).map_err(|why| damaged(name_key, why))
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
                username: parts.username()?,
                timestamp: parts.timestamp,
                data: Payload::from_stored(&data),
                is_removal: parts.is_removal,
            })
        };
        decode().map(Some).map_err(|why| damaged(&key, why))
    }

    /// How many names a tenant has. Where that was never written down, in a database of an older format, they are counted once; it
    /// is written down, and carried along, with the first name that comes or goes.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn names(&mut self, tenant: &TenantName) -> Result<u64, Error> {
        let key = keys::names(tenant);
        if let Some(value) = self.get(&key)? {
            return codec::decode_count(&value).map_err(|why| damaged(&key, why));
        }
        // No name has come or gone since.
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

    pub(super) fn floor(&mut self, tenant: &TenantName) -> Result<Position, Error> {
        if let Some(floor) = self.committer.floors.get(tenant) {
            return Ok(*floor);
        }
        // Not the store's: it may have been raised in this transaction, and forgotten since.
        let key = keys::floor(tenant);
        let floor = match self.get(&key)? {
            Some(value) => codec::decode_position(&value).map_err(|why| damaged(&key, why))?,
            None => Position::START,
        };
        remember(&mut self.committer.floors, tenant, floor);
        Ok(floor)
    }

    /// Has an event, which was inserted in this transaction, removed at a moment, if it is still the latest of its name then.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn expire(&mut self, event: &Event, at: Timestamp) -> Result<(), Error> {
        let key = keys::expiry(at, &event.tenant, event.position);
        // No other event has its position.
        self.write(key, Write::PutNew(codec::encode_expiry(&event.username, &event.name).into()));
        self.due.expiry = self.due.expiry.min(at);
        // So that whoever comes in its place can forget it.
        self.amend_latest(event, |latest| LatestRow { expires_at: Some(at), ..latest })
    }

    /// Has an event, which was inserted in this transaction, removed when a stream has gone, if it is still the latest of its
    /// name then.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn bind(&mut self, event: &Event, stream: u64) -> Result<(), Error> {
        let count = self.bound_of(&event.username)? + 1;
        self.put(keys::bound_of(&event.username), codec::encode_count(count));
        let key = keys::bound(stream, &event.tenant, &event.name);
        self.put(key, codec::encode_bound(event.position, &event.username));
        self.amend_latest(event, |latest| LatestRow { stream: Some(stream), ..latest })
    }

    fn amend_latest(&mut self, event: &Event, amend: impl FnOnce(LatestRow) -> LatestRow) -> Result<(), Error> {
        let key = keys::name(&event.tenant, event.name.as_str());
        if let Some(latest) = self.latest_at(&key)?.filter(|latest| latest.position == event.position) {
            self.put(key, codec::encode_latest(amend(latest)));
        }
        Ok(())
    }

    /// Forgets that the latest event of a name goes with a stream: another comes in its place.
    fn unbind(&mut self, tenant: &TenantName, name: &EventName, stream: u64) -> Result<(), Error> {
        let key = keys::bound(stream, tenant, name);
        if let Some((_, username)) = self.bound_at(&key)? {
            let count = keys::bound_of(&username);
            match self.bound_of(&username)?.saturating_sub(1) {
                0 => self.remove(count),
                left => self.put(count, codec::encode_count(left)),
            }
            self.remove(key);
        }
        Ok(())
    }

    /// How many events go with streams of a user's.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn bound_of(&self, username: &Username) -> Result<u64, Error> {
        let key = keys::bound_of(username);
        let Some(value) = self.get(&key)? else { return Ok(0) };
        codec::decode_count(&value).map_err(|why| damaged(&key, why))
    }

    /// Whose stream the latest event of a name goes with, where it goes with one.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn bound_by(&self, tenant: &TenantName, name: &EventName) -> Result<Option<Username>, Error> {
        let latest = self.latest_at(&keys::name(tenant, name.as_str()))?;
        let Some(stream) = latest.and_then(|latest| latest.stream) else { return Ok(None) };
        Ok(self.bound_at(&keys::bound(stream, tenant, name))?.map(|(_, username)| username))
    }

    /// What is kept under the key of what goes with a stream: the event's position, and whose stream it is.
    pub(super) fn bound_at(&self, key: &[u8]) -> Result<Option<(Position, Username)>, Error> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        codec::decode_bound(&value).map(Some).map_err(|why| damaged(key, why))
    }
}
