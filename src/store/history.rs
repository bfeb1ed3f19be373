//! Reading what is kept of one name, and which tenants there are.

use std::sync::Arc;

use super::{Store, StoredEvent, codec, damaged, keys, replay};
use crate::domain::{EventName, Position, TenantName, Timestamp, Username};
use crate::error::Error;

/// How many bytes of events are given at once, but for one event more; then there is more, whatever the limit.
const MAX_BYTES: usize = 4 << 20;
/// How many events are looked at for one answer, and how many bytes of them: who asks for what is rare gets it in parts.
const MAX_LOOKED_AT: usize = 20_000;
const MAX_LOOKED_AT_BYTES: usize = 64 << 20;

/// Which of the kept events of a name are wanted.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// Whose.
    pub tenant: TenantName,
    /// Of which name.
    pub name: EventName,
    /// Only those after this position.
    pub after: Position,
    /// Only those before this position.
    pub before: Position,
    /// How many at most.
    pub limit: usize,
    /// Whether the oldest come first.
    pub oldest_first: bool,
}

/// Where an event stands, and its value.
type Found = (Position, Arc<[u8]>);

/// How much is left to be given and to be looked at for one answer.
struct Budget {
    events: usize,
    bytes: usize,
    looks: usize,
    looked_at_bytes: usize,
}

impl Budget {
    fn new(events: usize) -> Self {
        Self { events, bytes: MAX_BYTES, looks: MAX_LOOKED_AT, looked_at_bytes: MAX_LOOKED_AT_BYTES }
    }

    /// Whether nothing is left for one more.
    fn is_spent(&self, is_wanted: bool) -> bool {
        let is_full = is_wanted && (self.events == 0 || self.bytes == 0);
        is_full || self.looks == 0 || self.looked_at_bytes == 0
    }

    fn spend(&mut self, is_wanted: bool, bytes: usize) {
        self.looks -= 1;
        self.looked_at_bytes = self.looked_at_bytes.saturating_sub(bytes);
        if is_wanted {
            self.events -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

impl Store {
    /// Gives the kept events of a name, in the order that is asked for; from which position on there may be more. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails or an event is damaged.
    pub fn history(&self, query: &HistoryQuery, each: impl FnMut(StoredEvent<'_>)) -> Result<Option<Position>, Error> {
        if query.oldest_first { self.oldest_first(query, each) } else { self.newest_first(query, each) }
    }

    /// Each event knows where the one before it stood.
    fn newest_first(
        &self,
        query: &HistoryQuery,
        mut each: impl FnMut(StoredEvent<'_>),
    ) -> Result<Option<Position>, Error> {
        let head = self.head();
        let mut budget = Budget::new(query.limit);
        let mut last = None;
        let Some((mut position, mut value)) = self.latest_event(&query.tenant, query.name.as_str())? else {
            return Ok(None);
        };
        while position > query.after {
            let key = keys::event(&query.tenant, position);
            let parts = codec::event_parts(&value).map_err(|why| damaged(&key, why))?;
            let is_wanted = position < query.before && position <= head;
            if budget.is_spent(is_wanted) {
                return Ok(last);
            }
            if is_wanted {
                each(replay::stored(position, &parts));
            }
            budget.spend(is_wanted, value.len());
            last = Some(position);
            let Some(previous) = parts.previous else { return Ok(None) };
            // No longer kept, and so is nothing before it.
            let Some(before) = self.get(&keys::event(&query.tenant, previous))? else { return Ok(None) };
            (position, value) = (previous, before);
        }
        Ok(None)
    }

    /// The latest event of a name, be it a removal. One that is gone when it is read had been superseded: then there is
    /// another.
    fn latest_event(&self, tenant: &TenantName, name: &str) -> Result<Option<Found>, Error> {
        while let Some(latest) = self.latest(tenant, name)? {
            if let Some(value) = self.get(&keys::event(tenant, latest.position))? {
                return Ok(Some((latest.position, value)));
            }
        }
        Ok(None)
    }

    /// Whether a name had been used by a position; `None` where that is no longer known. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub fn was_used(&self, tenant: &TenantName, name: &str, by: Position) -> Result<Option<bool>, Error> {
        let mut position = self.latest(tenant, name)?.map(|latest| latest.position);
        while let Some(later) = position.filter(|position| *position > by) {
            let key = keys::event(tenant, later);
            let Some(value) = self.get(&key)? else { return Ok(None) };
            position = codec::event_parts(&value).map_err(|why| damaged(&key, why))?.previous;
        }
        Ok(Some(position.is_some()))
    }

    /// Looks through everything that is kept of the tenant from there on: of one name there is no list.
    fn oldest_first(
        &self,
        query: &HistoryQuery,
        mut each: impl FnMut(StoredEvent<'_>),
    ) -> Result<Option<Position>, Error> {
        let first = keys::event(&query.tenant, query.after.next());
        let end = keys::event(&query.tenant, query.before.min(self.head().next()));
        let mut budget = Budget::new(query.limit);
        let (mut last, mut is_more) = (None, false);
        if first >= end {
            return Ok(None);
        }
        self.scan(&first, &end, &mut |key, value| {
            let parts = codec::event_parts(value).map_err(|why| damaged(key, why))?;
            let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
            let is_wanted = parts.name == query.name.as_str();
            if budget.is_spent(is_wanted) {
                is_more = true;
                return Ok(false);
            }
            if is_wanted {
                each(replay::stored(position, &parts));
            }
            budget.spend(is_wanted, value.len());
            last = Some(position);
            Ok(true)
        })?;
        Ok(last.filter(|_| is_more))
    }

    /// The first tenant with events that comes after one.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub fn next_tenant(&self, after: Option<&TenantName>) -> Result<Option<TenantName>, Error> {
        let (from, until) = keys::events_of_tenants_after(after);
        let mut tenant = None;
        self.scan(&from, &until, &mut |key, _| {
            tenant = Some(keys::tenant_of_event(key).ok_or_else(|| damaged(key, "an event's tenant is none"))?);
            Ok(false)
        })?;
        Ok(tenant)
    }

    /// How many events of a tenant are kept in exact order, up to the head.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub fn tail_length(&self, tenant: &TenantName) -> Result<(usize, Position), Error> {
        let head = self.head();
        let (first, end) = (keys::event(tenant, self.floor(tenant)?.next()), keys::event(tenant, head.next()));
        let mut length = 0;
        self.scan(&first, &end, &mut |_, _| {
            length += 1;
            Ok(true)
        })?;
        Ok((length, head))
    }

    /// Whether the oldest event that is kept in exact order is from before a moment.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub fn has_events_from_before(&self, tenant: &TenantName, moment: Timestamp) -> Result<bool, Error> {
        let first = keys::event(tenant, self.floor(tenant)?.next());
        let mut is_before = false;
        self.scan(&first, &keys::event(tenant, Position::END), &mut |key, value| {
            is_before = codec::event_parts(value).map_err(|why| damaged(key, why))?.timestamp < moment;
            Ok(false)
        })?;
        Ok(is_before)
    }

    /// The streams that something goes with, whose they are, and in which tenant.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub fn bound_streams(&self) -> Result<Vec<(u64, TenantName, Username)>, Error> {
        let mut streams: Vec<(u64, TenantName, Username)> = Vec::new();
        self.scan_prefix(keys::BOUND, &mut |key, value| {
            let (stream, tenant, _) = keys::of_bound(key).ok_or_else(|| damaged(key, "a stream's key is none"))?;
            let (_, username) = codec::decode_bound(value).map_err(|why| damaged(key, why))?;
            // What goes with one may be of two tenants, where its user went from one to the other.
            if streams.last().is_none_or(|(last, of, _)| (*last, of) != (stream, &tenant)) {
                streams.push((stream, tenant, username));
            }
            Ok(true)
        })?;
        Ok(streams)
    }

    /// Whether something goes with a stream.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub fn has_bound(&self, stream: u64) -> Result<bool, Error> {
        let mut has = false;
        self.scan_prefix(&keys::bound_to(stream), &mut |_, _| {
            has = true;
            Ok(false)
        })?;
        Ok(has)
    }

    /// Whether something has expired, or an answer may be forgotten, by a moment.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub fn has_due(&self, now: Timestamp) -> Result<bool, Error> {
        let mut is_due = false;
        for (from, until) in [keys::expiries_until(now), keys::answers_until(now)] {
            self.scan(&from, &until, &mut |_, _| {
                is_due = true;
                Ok(false)
            })?;
        }
        Ok(is_due)
    }
}
