//! What is to go by itself: what has expired, what goes with a stream that has gone, and answers that are too old.
//!
//! It is searched here, by whoever reads, and removed by the writer, which is given the keys and looks at nothing else: so what is
//! searched costs the writer nothing, however much was removed before and is passed over.

use super::damage::damaged;
use super::database::Store;
use super::rows::Rows;
use super::sizes::STEP_BYTES;
use super::transaction::Transaction;
use super::{codec, keys};
use crate::domain::{Position, TenantName, Timestamp, Username};
use crate::error::Error;

/// A search, and how far it has come: what it has passed is not looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    of: Sought,
    /// The first key that it has not passed; none at its beginning.
    from: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sought {
    /// What is due by a moment, by the first byte of its keys.
    Due(u8),
    /// What goes with a stream, in one tenant where one is given.
    Bound(u64, Option<TenantName>),
}

impl Search {
    /// For events that have expired.
    pub fn for_expired() -> Self {
        Self { of: Sought::Due(keys::EXPIRY), from: None }
    }

    /// For answers that may be forgotten.
    pub fn for_old_answers() -> Self {
        Self { of: Sought::Due(keys::ANSWER_DUE), from: None }
    }

    /// For events that go with a stream, in one tenant where one is given.
    pub fn for_bound(stream: u64, tenant: Option<TenantName>) -> Self {
        Self { of: Sought::Bound(stream, tenant), from: None }
    }

    /// Goes back to a moment, where it is beyond it: something has been written since that is due then.
    pub fn go_back(&mut self, moment: Timestamp) {
        if let Sought::Due(kind) = self.of
            && let Some(from) = &mut self.from
        {
            let at = keys::due(kind, moment);
            if at < *from {
                *from = at;
            }
        }
    }

    /// The range that is left of it.
    pub(super) fn range(&self, now: Timestamp) -> (Vec<u8>, Vec<u8>) {
        let (first, end) = match &self.of {
            Sought::Due(kind) => (vec![*kind], keys::due(*kind, Timestamp::from_millis(now.as_millis() + 1))),
            Sought::Bound(stream, tenant) => {
                let prefix = keys::bound_to(*stream, tenant.as_ref());
                let end = keys::end_of(&prefix);
                (prefix, end)
            }
        };
        (self.from.clone().unwrap_or(first), end)
    }
}

/// What a search has found.
#[derive(Debug)]
pub struct Found {
    /// For the writer, in order.
    pub keys: Vec<Vec<u8>>,
    /// Whether there may be more.
    pub is_more: bool,
    /// What is left to be searched, once the writer has removed these.
    pub rest: Search,
}

impl Store {
    /// Goes on with a search, up to so many keys, or so many that their removal is one step. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails.
    pub fn find(&self, search: &Search, now: Timestamp, at_most: usize) -> Result<Found, Error> {
        let (from, until) = search.range(now);
        let mut found = Found { keys: Vec::new(), is_more: false, rest: search.clone() };
        if from >= until {
            return Ok(found);
        }
        let mut bytes = 0;
        self.scan(&from, &until, &mut |key, value| {
            found.is_more = found.keys.len() >= at_most || bytes >= STEP_BYTES;
            if found.is_more {
                // Whatever lies before it and has been removed is passed.
                found.rest.from = Some(key.to_vec());
                return Ok(false);
            }
            // A removal is an event: up to seven rows with the tenant in their keys, and three with the name. What this falls short of
            // has room, since a step is half of what a change may be.
            bytes += 100 + 6 * (key.len() + value.len());
            found.keys.push(key.to_vec());
            Ok(true)
        })?;
        if !found.is_more {
            found.rest.from = Some(until);
        }
        Ok(found)
    }

    /// The streams that something goes with, whose they are, and in which tenant; without those of [`Store::ended_streams`].
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn bound_streams(&self) -> Result<Vec<(u64, TenantName, Username)>, Error> {
        let ended = self.ended_streams()?;
        let has_ended = |stream: u64, of: &TenantName| {
            ended.iter().any(|(ended, tenant)| *ended == stream && tenant.as_ref().is_none_or(|tenant| tenant == of))
        };
        let mut streams = Vec::new();
        let mut from = keys::BOUND.to_vec();
        let end = keys::end_of(keys::BOUND);
        loop {
            let mut next = None;
            self.scan(&from, &end, &mut |key, value| {
                next = self.unless_damaged(bound_stream(key, value))?;
                Ok(next.is_none())
            })?;
            let Some((stream, tenant, username)) = next else { return Ok(streams) };
            // What goes with one may be of two tenants, where its user went from one to the other.
            from = keys::end_of(&keys::bound_to(stream, Some(&tenant)));
            if !has_ended(stream, &tenant) {
                streams.push((stream, tenant, username));
            }
        }
    }

    /// Whether the events of a stream are being removed, in one tenant where one is given.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn has_ended(&self, stream: u64, tenant: Option<&TenantName>) -> Result<bool, Error> {
        Ok(self.get(&keys::ended(stream, tenant))?.is_some())
    }

    /// The streams whose events are being removed, and in which tenant alone, where it is one.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn ended_streams(&self) -> Result<Vec<(u64, Option<TenantName>)>, Error> {
        let mut streams = Vec::new();
        self.scan_prefix(keys::ENDED, &mut |key, _| {
            let ended = keys::of_ended(key).ok_or_else(|| damaged(key, "a stream's key is none"));
            streams.extend(self.unless_damaged(ended)?);
            Ok(true)
        })?;
        Ok(streams)
    }
}

/// The stream that something goes with, its tenant, and whose it is.
fn bound_stream(key: &[u8], value: &[u8]) -> Result<(u64, TenantName, Username), Error> {
    let (stream, tenant, _) = keys::of_bound(key).ok_or_else(|| damaged(key, "a stream's key is none"))?;
    let (_, username) = codec::decode_bound(value).map_err(|why| damaged(key, why))?;
    Ok((stream, tenant, username))
}

impl Transaction<'_> {
    /// Removes what has expired, by what [`Store::find`] found; how many events that makes.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn remove_expired(&mut self, expired: Vec<Vec<u8>>) -> Result<usize, Error> {
        let mut events = 0;
        for key in expired {
            // Another event may have come in its place since.
            let Some(value) = self.get(&key)? else { continue };
            let (tenant, position) = keys::of_expiry(&key).ok_or_else(|| damaged(&key, "an expiry's key is none"))?;
            let (username, name) = codec::decode_expiry(&value).map_err(|why| damaged(&key, why))?;
            if self.latest_position(&tenant, &name)? == Some(position) {
                self.remove_event(tenant, username, name)?;
                events += 1;
            }
            self.remove(key);
        }
        Ok(events)
    }

    /// Removes what goes with a stream that has gone, in one tenant and up to a position where these are given, by what [`Store::find`] found; how many
    /// events that makes. Until the last of it is gone it is written down that the stream has: nobody takes it over after a restart.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn remove_bound(
        &mut self,
        stream: u64,
        only: Option<(&TenantName, Position)>,
        bound: Vec<Vec<u8>>,
        is_last: bool,
    ) -> Result<usize, Error> {
        let mut events = 0;
        for key in bound {
            // Another event may have come in its place since.
            let Some((position, username)) = self.bound_at(&key)? else { continue };
            let (_, tenant, name) = keys::of_bound(&key).ok_or_else(|| damaged(&key, "a stream's key is none"))?;
            if only.is_some_and(|(_, until)| position > until) {
                continue;
            }
            if self.latest_position(&tenant, &name)? == Some(position) {
                self.remove_event(tenant, username, name)?;
                events += 1;
            }
            self.remove(key);
        }
        let ended = keys::ended(stream, only.map(|(tenant, _)| tenant));
        match (self.get(&ended)?.is_some(), is_last) {
            (true, true) => self.remove(ended),
            (false, false) => self.put(ended, Vec::new()),
            _ => {}
        }
        Ok(events)
    }
}
