//! Rows that are due, and what maintenance does with them: expired events, events of streams that have ended, answers,
//! tokens of channels and sessions that are too old, invites that have ended, and names that may be given again.
//!
//! A reader searches for them, and gives their keys to the writer, which looks at nothing else. So the search costs the
//! writer nothing, however many removed rows it skips.

use super::codec::{self, Expiry};
use super::damage::damaged;
use super::database::Store;
use super::draft::Draft;
use super::keys;
use super::rows::Rows;
use super::sizes::STEP_BYTES;
use super::transaction::Transaction;
use crate::domain::{Position, TenantName, Timestamp, Username};
use crate::error::Error;

/// Within how many milliseconds a row can be read after the moment at which its commit was decided.
const READABLE_WITHIN: u64 = 60_000;

/// A search, and how far it has come. It does not look again at rows that it has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    of: Sought,
    /// The first key that it has not passed; none at the beginning.
    from: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sought {
    /// Rows that are due by a moment, by the first byte of their keys.
    Due(u8),
    /// Events that are bound to a stream; only in one tenant, if there is one.
    Bound(u64, Option<TenantName>),
}

impl Search {
    /// A search for events that have expired.
    pub fn for_expired() -> Self {
        Self { of: Sought::Due(keys::EXPIRY), from: None }
    }

    /// A search for answers that may be forgotten.
    pub fn for_old_answers() -> Self {
        Self { of: Sought::Due(keys::ANSWER_DUE), from: None }
    }

    /// A search for tokens of channels that may be forgotten.
    pub fn for_old_channel_tokens() -> Self {
        Self { of: Sought::Due(keys::CHANNEL_TOKEN_DUE), from: None }
    }

    /// A search for invites that have ended.
    pub fn for_ended_invites() -> Self {
        Self { of: Sought::Due(keys::INVITE_DUE), from: None }
    }

    /// A search for names of deleted users that may be given again.
    pub fn for_free_names() -> Self {
        Self { of: Sought::Due(keys::QUARANTINE_DUE), from: None }
    }

    /// A search for sessions that may have expired.
    pub fn for_old_sessions() -> Self {
        Self { of: Sought::Due(keys::SESSION_DUE), from: None }
    }

    /// A search for sessions of MQTT of which the will or the end may be due.
    pub fn for_mqtt_due() -> Self {
        Self { of: Sought::Due(keys::MQTT_DUE), from: None }
    }

    /// A search for forgotten sessions of MQTT of which rows are left.
    pub fn for_mqtt_left() -> Self {
        Self { of: Sought::Due(keys::MQTT_LEFT), from: None }
    }

    /// A search for events that are bound to a stream; only in one tenant, if there is one.
    pub fn for_bound(stream: u64, tenant: Option<TenantName>) -> Self {
        Self { of: Sought::Bound(stream, tenant), from: None }
    }

    /// Goes back to a moment if the search is beyond it, because a new row is due then.
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

    /// Up to which key a search has come that has found everything below `until`.
    fn passed(&self, now: Timestamp, until: Vec<u8>) -> Vec<u8> {
        match self.of {
            // The search is taken back for each of these rows that comes later.
            Sought::Due(keys::EXPIRY | keys::ANSWER_DUE) | Sought::Bound(..) => until,
            // For others it is not. A row may be due at once, and be read only after its commit.
            Sought::Due(kind) => {
                let readable = keys::due(kind, Timestamp::from_millis(now.as_millis().saturating_sub(READABLE_WITHIN)));
                self.from.clone().map_or(readable.clone(), |from| from.max(readable))
            }
        }
    }

    /// The range of keys that is left to search.
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

/// The result of one step of a search.
#[derive(Debug)]
pub struct Found {
    /// The keys for the writer, in order.
    pub keys: Vec<Vec<u8>>,
    /// Whether there may be more.
    pub is_more: bool,
    /// The rest of the search, after the writer has removed these.
    pub rest: Search,
}

impl Store {
    /// Continues a search, up to this many keys, or as many as one step may remove. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
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
                // All removed rows before it are passed.
                found.rest.from = Some(key.to_vec());
                return Ok(false);
            }
            // A removal is an event: up to seven rows with the tenant in their keys, and three with the name. The end
            // of a transient event writes fewer, with those of its chunks. Any error of this estimate has room, since a
            // step is half of what a change may write. It is too small for sessions, whose rows are not as long as this
            // one: of those, `at_most` is to be so small that they have room.
            bytes += 100 + 6 * (key.len() + value.len());
            found.keys.push(key.to_vec());
            Ok(true)
        })?;
        if !found.is_more {
            found.rest.from = Some(search.passed(now, until));
        }
        Ok(found)
    }

    /// The streams that have bound events, with their users and tenants, but without the streams of
    /// [`Store::ended_streams`].
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
            // A stream may have bound events in two tenants, if its user moved.
            from = keys::end_of(&keys::bound_to(stream, Some(&tenant)));
            if !has_ended(stream, &tenant) {
                streams.push((stream, tenant, username));
            }
        }
    }

    /// Whether the bound events of a stream are being removed; only in one tenant, if there is one.
    ///
    /// # Errors
    /// As [`Store::find`].
    pub fn has_ended(&self, stream: u64, tenant: Option<&TenantName>) -> Result<bool, Error> {
        Ok(self.get(&keys::ended(stream, tenant))?.is_some())
    }

    /// The streams whose bound events are being removed, each with a tenant if it ended in that tenant only.
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

/// The stream of a bound event, its tenant, and its user.
fn bound_stream(key: &[u8], value: &[u8]) -> Result<(u64, TenantName, Username), Error> {
    let (stream, tenant, _) = keys::of_bound(key).ok_or_else(|| damaged(key, "a stream's key is none"))?;
    let (_, username) = codec::decode_bound(value).map_err(|why| damaged(key, why))?;
    Ok((stream, tenant, username))
}

impl Transaction<'_> {
    /// Removes expired events by the keys that [`Store::find`] found. Returns how many events that makes: the end of a
    /// transient event makes none.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn remove_expired(&mut self, expired: Vec<Vec<u8>>) -> Result<usize, Error> {
        let mut events = 0;
        for key in expired {
            // Another event may have taken its place since.
            let Some(value) = self.get(&key)? else { continue };
            let (tenant, position) = keys::of_expiry(&key).ok_or_else(|| damaged(&key, "an expiry's key is none"))?;
            match codec::decode_expiry(&value).map_err(|why| damaged(&key, why))? {
                Expiry::OfValue(username, name) if self.latest_position(&tenant, &name)? == Some(position) => {
                    let username = self.name_for_removal(username)?;
                    self.insert_event(Draft { by_expiry: true, ..Draft::removal(tenant, username, name) })?;
                    events += 1;
                }
                Expiry::OfValue(..) => {}
                Expiry::OfTransient { chunks, left } => self.empty_event(&tenant, position, chunks, left)?,
            }
            self.remove(key);
        }
        Ok(events)
    }

    /// Removes events of a stream that has ended, by the keys that [`Store::find`] found; only those of one tenant up
    /// to a position, if these are given. Returns how many events that makes. Until the last step, a row says that the
    /// stream has ended, so that nobody takes it over after a restart.
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
            // Another event may have taken its place since.
            let Some((position, username)) = self.bound_at(&key)? else { continue };
            let (_, tenant, name) = keys::of_bound(&key).ok_or_else(|| damaged(&key, "a stream's key is none"))?;
            if only.is_some_and(|(_, until)| position > until) {
                continue;
            }
            if self.latest_position(&tenant, &name)? == Some(position) {
                let username = self.name_for_removal(username)?;
                self.insert_event(Draft::removal(tenant, username, name))?;
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
