//! Reading what is kept of one name, and which tenants there are.

use super::{Store, StoredEvent, codec, damaged, keys, replay};
use crate::domain::{EventName, Position, TenantName, Timestamp};
use crate::error::Error;

/// How many bytes of events are given at once, but for one event more; then there is more, whatever the limit.
const MAX_BYTES: usize = 4 << 20;

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

impl Store {
    /// Gives the kept events of a name, in the order that is asked for; whether there may be more. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails or an event is damaged.
    pub fn history(&self, query: &HistoryQuery, each: impl FnMut(StoredEvent<'_>)) -> Result<bool, Error> {
        if query.oldest_first { self.oldest_first(query, each) } else { self.newest_first(query, each) }
    }

    /// Each event knows where the one before it stood.
    fn newest_first(&self, query: &HistoryQuery, mut each: impl FnMut(StoredEvent<'_>)) -> Result<bool, Error> {
        let head = self.head();
        let latest = self.latest(&query.tenant, query.name.as_str())?;
        let mut next = latest.map(|latest| latest.position);
        let (mut given, mut bytes) = (0, 0);
        while let Some(position) = next.filter(|position| *position > query.after) {
            let key = keys::event(&query.tenant, position);
            // No longer kept, and so is nothing before it.
            let Some(value) = self.get(&key)? else { return Ok(false) };
            let parts = codec::event_parts(&value).map_err(|why| damaged(&key, why))?;
            if position < query.before && position <= head {
                if given == query.limit || bytes >= MAX_BYTES {
                    return Ok(true);
                }
                each(replay::stored(position, &parts));
                given += 1;
                bytes += value.len();
            }
            next = parts.previous;
        }
        Ok(false)
    }

    /// Looks through everything that is kept of the tenant from there on: of one name there is no list.
    fn oldest_first(&self, query: &HistoryQuery, mut each: impl FnMut(StoredEvent<'_>)) -> Result<bool, Error> {
        let first = keys::event(&query.tenant, query.after.next());
        let end = keys::event(&query.tenant, query.before.min(self.head().next()));
        let (mut given, mut bytes, mut is_more) = (0, 0, false);
        if first >= end {
            return Ok(false);
        }
        self.scan(&first, &end, &mut |key, value| {
            let parts = codec::event_parts(value).map_err(|why| damaged(key, why))?;
            if parts.name == query.name.as_str() {
                is_more = given == query.limit || bytes >= MAX_BYTES;
                if !is_more {
                    let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
                    each(replay::stored(position, &parts));
                    given += 1;
                    bytes += value.len();
                }
            }
            Ok(!is_more)
        })?;
        Ok(is_more)
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
