//! What is written of events: inserts and removals, what expires, what is kept, and the answers to be given again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::codec::{Answered, Latest};
use super::overlay::Write;
use super::transaction::Transaction;
use super::{codec, damaged, keys};
use crate::domain::{Event, EventName, Payload, Position, TenantName, Timestamp, Username};
use crate::error::Error;

/// For how long an insert may be tried again with the same idempotency key, in milliseconds: a day.
const ANSWERS_KEPT_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// Where events were inserted since somebody last asked.
#[derive(Default)]
pub struct Activity(Mutex<HashMap<TenantName, Vec<Position>>>);

impl Activity {
    /// Notes events. Before anybody can see them, so that who asks for the head afterwards misses none up to there.
    pub(super) fn add(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut of_tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            match of_tenants.get_mut(&event.tenant) {
                Some(positions) => positions.push(event.position),
                None => drop(of_tenants.insert(event.tenant.clone(), vec![event.position])),
            }
        }
    }

    /// The positions of what was inserted since this was last asked.
    pub fn take(&self) -> HashMap<TenantName, Vec<Position>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A key and its value.
type Row = (Vec<u8>, Vec<u8>);

/// What became of a tail that was to be shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// By how many events.
    pub by: usize,
    /// Whether nothing more is to be done for now.
    pub is_done: bool,
}

impl Transaction<'_> {
    /// Gives an event the next position and makes it the latest of its name.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails.
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
        if let Some((previous, at)) = previous.and_then(|previous| Some((previous.position, previous.expires_at?))) {
            self.remove(keys::expiry(at, &tenant, previous));
        }
        // Below the floor only the latest is kept, and this one no longer is.
        if let Some(previous) = previous.filter(|previous| previous.position <= floor) {
            self.remove(keys::event(&tenant, previous.position));
        }

        let position = self.head.next();
        let timestamp = self.now();
        let event = Event { position, tenant, name, username, timestamp, data, is_removal };
        let value = codec::encode_event(&event, previous.map(|previous| previous.position));
        self.put(name_key, codec::encode_latest(Latest { position, is_removal, expires_at: None }));
        self.write(keys::event(&event.tenant, position), Write::PutNew(value.into()));
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

    fn latest_at(&self, name_key: &[u8]) -> Result<Option<Latest>, Error> {
        let Some(value) = self.get(name_key)? else { return Ok(None) };
        codec::decode_latest(&value).map(Some).map_err(|why| damaged(name_key, why))
    }

    /// The event at a position.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn event(&self, tenant: &TenantName, position: Position) -> Result<Option<Event>, Error> {
        let key = keys::event(tenant, position);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        let decode = || {
            let parts = codec::event_parts(&value)?;
            Ok(Event {
                position,
                tenant: tenant.clone(),
                name: EventName::parse(parts.name).map_err(|_| "an event's name is not one")?,
                username: parts.username()?,
                timestamp: parts.timestamp,
                data: Payload::from_stored(parts.data),
                is_removal: parts.is_removal,
            })
        };
        decode().map(Some).map_err(|why| damaged(&key, why))
    }

    /// How many names a tenant has. Counted where it never was, in a database of an older format; carried along from then
    /// on.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn names(&self, tenant: &TenantName) -> Result<u64, Error> {
        let key = keys::names(tenant);
        if let Some(value) = self.get(&key)? {
            return codec::decode_count(&value).map_err(|why| damaged(&key, why));
        }
        let mut names = 0;
        self.committer.store.scan_prefix(&keys::name(tenant, ""), &mut |key, value| {
            let latest = codec::decode_latest(value).map_err(|why| damaged(key, why))?;
            names += u64::from(!latest.is_removal);
            Ok(true)
        })?;
        Ok(names)
    }

    fn floor(&mut self, tenant: &TenantName) -> Result<Position, Error> {
        if let Some(floor) = self.committer.floors.get(tenant) {
            return Ok(*floor);
        }
        let floor = self.committer.store.floor(tenant)?;
        self.committer.floors.insert(tenant.clone(), floor);
        Ok(floor)
    }

    /// Raises the floor of a tenant over its oldest events: over so many, over those from before a moment, and in all over no
    /// more than a number. Superseded ones go, and removals; what is the latest of its name stays.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn shorten(
        &mut self,
        tenant: &TenantName,
        surplus: usize,
        before: Timestamp,
        at_most: usize,
    ) -> Result<Shortened, Error> {
        let mut floor = self.floor(tenant)?;
        let from = keys::event(tenant, floor.next());
        // Only what is on disk is looked at: what comes in the same batch is not old.
        let until = keys::event(tenant, self.committer.store.head().next());
        let store = self.committer.store.clone();
        let (mut by, mut is_done, mut forgotten) = (0, true, None);
        store.scan(&from, &until, &mut |key, value| {
            let parts = codec::event_parts(value).map_err(|why| damaged(key, why))?;
            if by >= surplus && parts.timestamp >= before {
                return Ok(false);
            }
            if by >= at_most {
                is_done = false;
                return Ok(false);
            }
            let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
            let name_key = keys::name(tenant, parts.name);
            let is_latest = self.latest_at(&name_key)?.is_some_and(|latest| latest.position == position);
            if !is_latest || parts.is_removal {
                self.remove(key.to_vec());
            }
            if parts.is_removal {
                if is_latest {
                    self.remove(name_key);
                }
                forgotten = Some(position);
            }
            floor = position;
            by += 1;
            Ok(true)
        })?;
        if by > 0 {
            self.put(keys::floor(tenant), codec::encode_position(floor).to_vec());
            self.raise_floor(tenant, floor);
        }
        if let Some(forgotten) = forgotten {
            self.put(keys::forgotten(tenant), codec::encode_position(forgotten).to_vec());
        }
        Ok(Shortened { by, is_done })
    }

    /// Has an event removed at a moment, if it is still the latest of its name then.
    pub fn expire(&mut self, event: &Event, at: Timestamp) {
        let key = keys::expiry(at, &event.tenant, event.position);
        self.put(key, codec::encode_expiry(&event.username, &event.name));
        // So that whoever comes in its place can forget it.
        let latest = Latest { position: event.position, is_removal: false, expires_at: Some(at) };
        self.put(keys::name(&event.tenant, event.name.as_str()), codec::encode_latest(latest));
    }

    /// Removes what has expired by now, but no more than a number; whether there is more.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn remove_expired(&mut self, at_most: usize) -> Result<bool, Error> {
        let (from, until) = keys::expiries_until(self.now());
        let (expired, is_more) = self.rows(&from, &until, at_most)?;
        for (key, value) in expired {
            let (tenant, position) = keys::of_expiry(&key).ok_or_else(|| damaged(&key, "an expiry's key is none"))?;
            let (username, name) = codec::decode_expiry(&value).map_err(|why| damaged(&key, why))?;
            if self.latest(&tenant, &name)? == Some(position) {
                self.remove_event(tenant, username, name)?;
            }
            self.remove(key);
        }
        Ok(is_more)
    }

    /// Has an event removed when a stream has gone, if it is still the latest of its name then.
    pub fn bind(&mut self, event: &Event, stream: u64) {
        let key = keys::bound(stream, &event.tenant, &event.name);
        self.put(key, codec::encode_bound(event.position, &event.username));
    }

    /// Removes what was to go with a stream, in one tenant where one is given.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn remove_bound(&mut self, stream: u64, of: Option<&TenantName>) -> Result<(), Error> {
        let prefix = keys::bound_to(stream);
        let (bound, _) = self.rows(&prefix, &keys::end_of(&prefix), usize::MAX)?;
        for (key, value) in bound {
            let (_, tenant, name) = keys::of_bound(&key).ok_or_else(|| damaged(&key, "a stream's key is none"))?;
            if of.is_some_and(|of| *of != tenant) {
                continue;
            }
            let (position, username) = codec::decode_bound(&value).map_err(|why| damaged(&key, why))?;
            if self.latest(&tenant, &name)? == Some(position) {
                self.remove_event(tenant, username, name)?;
            }
            self.remove(key);
        }
        Ok(())
    }

    /// The first rows of a range, as they are on disk, and whether there are more.
    fn rows(&self, from: &[u8], until: &[u8], at_most: usize) -> Result<(Vec<Row>, bool), Error> {
        let (mut rows, mut is_more) = (Vec::new(), false);
        self.committer.store.scan(from, until, &mut |key, value| {
            is_more = rows.len() == at_most;
            if !is_more {
                rows.push((key.to_vec(), value.to_vec()));
            }
            Ok(!is_more)
        })?;
        Ok((rows, is_more))
    }

    /// What an insert of this user with this idempotency key came to, within a day.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn answered(&self, username: &Username, idempotency_key: &str) -> Result<Option<Answered>, Error> {
        let key = keys::answer(username, idempotency_key);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        let answered = codec::decode_answered(&value).map_err(|why| damaged(&key, why))?;
        Ok(Some(answered).filter(|answered| answered.until > self.now()))
    }

    /// Remembers for a day what an insert came to.
    pub fn remember_answer(
        &mut self,
        username: &Username,
        idempotency_key: &str,
        fingerprint: [u8; 32],
        first: Position,
        count: u64,
    ) {
        let timestamp = self.now();
        let until = Timestamp::from_millis(timestamp.as_millis() + ANSWERS_KEPT_MILLIS);
        let key = keys::answer(username, idempotency_key);
        self.put(keys::answer_due(until, &key), Vec::new());
        self.put(key, codec::encode_answered(&Answered { until, fingerprint, first, count, timestamp }));
    }

    /// Forgets answers that are too old, but no more than a number; whether there are more.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn forget_answers(&mut self, at_most: usize) -> Result<bool, Error> {
        let (from, until) = keys::answers_until(self.now());
        let (due, is_more) = self.rows(&from, &until, at_most)?;
        for (key, _) in due {
            let (at, answer) = keys::of_answer_due(&key).ok_or_else(|| damaged(&key, "an answer's moment is none"))?;
            // The same key may have been used again since.
            if let Some(value) = self.get(&answer)?
                && codec::decode_answered(&value).map_err(|why| damaged(&answer, why))?.until <= at
            {
                self.remove(answer);
            }
            self.remove(key);
        }
        Ok(is_more)
    }
}
