//! Reading events: what changed since a position, up to another, in order.

use super::{Store, codec, damaged, failed, keys};
use crate::domain::{Event, EventFilter, Pattern, Position, TenantName};
use crate::error::Error;

/// How many events one step may pass over that the filter does not want, so that a step is always short.
const MAX_PASSED_OVER: usize = 4096;

/// A reading under way. It holds positions, never events, so a slow reader costs eight bytes an event at most.
pub struct Replay {
    tenant: TenantName,
    filter: EventFilter,
    /// Everything up to here has been given.
    after: Position,
    /// Nothing after this is given: it was not yet on disk when the reading began.
    until: Position,
    source: Source,
}

enum Source {
    /// Not yet chosen.
    Unopened,
    /// Every event since `after` is still there.
    Tail,
    /// The latest of each name that changed since `after`: these positions, the last one first.
    Latest(Vec<Position>),
}

impl Replay {
    /// What changed for a tenant after one position, up to another.
    pub fn new(tenant: TenantName, filter: EventFilter, after: Position, until: Position) -> Self {
        Self { tenant, filter, after, until, source: Source::Unopened }
    }

    /// The next events, of about `bytes` together, or `None` at the end. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails or an event is damaged.
    pub fn next(&mut self, store: &Store, bytes: usize) -> Result<Option<Vec<Event>>, Error> {
        if matches!(self.source, Source::Unopened) {
            self.source = self.open(store)?;
        }
        if self.after >= self.until {
            return Ok(None);
        }
        match std::mem::replace(&mut self.source, Source::Tail) {
            Source::Latest(positions) => self.next_latest(store, positions, bytes),
            Source::Tail | Source::Unopened => self.next_tail(store, bytes),
        }
    }

    /// A new subscriber gets the latest of each name. One that was here before gets every event it missed where all of
    /// them are still kept, and the names that changed where not.
    fn open(&self, store: &Store) -> Result<Source, Error> {
        if self.after > Position::START && self.after >= store.floor(&self.tenant)? {
            return Ok(Source::Tail);
        }
        let mut positions = store.latest_positions(&self.tenant, &self.filter)?;
        positions.retain(|position| (self.after..=self.until).contains(position) && *position != self.after);
        positions.sort_unstable_by(|a, b| b.cmp(a));
        // Two patterns may want the same name.
        positions.dedup();
        Ok(Source::Latest(positions))
    }

    fn next_latest(
        &mut self,
        store: &Store,
        mut positions: Vec<Position>,
        bytes: usize,
    ) -> Result<Option<Vec<Event>>, Error> {
        let (mut events, mut size) = (Vec::new(), 0);
        while size < bytes {
            let Some(position) = positions.pop() else { break };
            let key = keys::event(&self.tenant, position);
            // Gone: it was superseded since, by one that is after `until` and will come live.
            let Some(value) = store.get(&key)? else { continue };
            size += value.len();
            let parts = codec::event_parts(&value).map_err(|why| damaged(&key, why))?;
            events.push(parts.into_event(&self.tenant, position).map_err(|why| damaged(&key, why))?);
        }
        self.after = if positions.is_empty() { self.until } else { self.after };
        self.source = Source::Latest(positions);
        Ok(Some(events))
    }

    fn next_tail(&mut self, store: &Store, bytes: usize) -> Result<Option<Vec<Event>>, Error> {
        let from = self.after;
        let (mut events, mut size, mut passed_over) = (Vec::new(), 0, 0);
        let first = keys::event(&self.tenant, from.next());
        let mut at_end = true;
        for row in store.tree.range(first.clone()..keys::event(&self.tenant, self.until.next())) {
            if size >= bytes || passed_over >= MAX_PASSED_OVER {
                at_end = false;
                break;
            }
            let (key, value) = row.map_err(|error| failed(&first, &error))?;
            let position = keys::position(&key).ok_or_else(|| damaged(&key, "an event's key is cut short"))?;
            let parts = codec::event_parts(&value).map_err(|why| damaged(&key, why))?;
            self.after = position;
            if self.filter.matches(parts.name) {
                size += value.len();
                events.push(parts.into_event(&self.tenant, position).map_err(|why| damaged(&key, why))?);
            } else {
                passed_over += 1;
            }
        }
        if at_end {
            self.after = self.until;
        }
        // A scan is no snapshot: where the floor rose past its beginning meanwhile, some may have gone before they were
        // read. Then this reader has fallen behind what is kept, and gets what changed instead.
        if store.floor(&self.tenant)? > from {
            self.after = from;
            self.source = self.open(store)?;
            return Ok(Some(Vec::new()));
        }
        Ok(Some(events))
    }
}

impl Store {
    /// Up to here only the latest event of each name is kept.
    pub(super) fn floor(&self, tenant: &TenantName) -> Result<Position, Error> {
        let key = keys::floor(tenant);
        match self.get(&key)? {
            Some(value) => codec::decode_position(&value).map_err(|why| damaged(&key, why)),
            None => Ok(Position::START),
        }
    }

    /// The positions of the latest events that a filter wants, in no order. Costs what is wanted, not what is there.
    fn latest_positions(&self, tenant: &TenantName, filter: &EventFilter) -> Result<Vec<Position>, Error> {
        let read = |key: &[u8], value: &[u8]| codec::decode_position(value).map_err(|why| damaged(key, why));
        let mut positions = Vec::new();
        let mut scan = |prefix: &str| -> Result<(), Error> {
            let prefix = keys::name(tenant, prefix);
            for row in self.tree.scan_prefix(&prefix) {
                let (key, value) = row.map_err(|error| failed(&prefix, &error))?;
                positions.push(read(&key, &value)?);
            }
            Ok(())
        };
        let Some(patterns) = filter.patterns() else {
            scan("")?;
            return Ok(positions);
        };
        for pattern in patterns {
            if let Pattern::Prefix(prefix) = pattern {
                scan(prefix)?;
            }
        }
        for pattern in patterns {
            if let Pattern::Exact(name) = pattern {
                let key = keys::name(tenant, name.as_str());
                if let Some(value) = self.get(&key)? {
                    positions.push(read(&key, &value)?);
                }
            }
        }
        Ok(positions)
    }
}
