//! The tail: a tenant's newest events, which are kept in exact order. How long it is, which events are beyond
//! retention, and how they are removed.

use super::damage::damaged;
use super::database::Store;
use super::rows::Rows;
use super::sizes::{ROW_HEAD_BYTES, STEP_BYTES};
use super::transaction::Transaction;
use super::{codec, keys};
use crate::domain::{EventKind, Position, TenantName, Timestamp};
use crate::error::Error;

/// How many events of a tail are counted in one step, unless their bytes fill the step.
const COUNTED_A_STEP: usize = 4096;

/// The part of a tail that is beyond retention.
#[derive(Clone, Copy, Debug)]
pub struct Excess {
    /// This many of the oldest events.
    pub surplus: usize,
    /// The events from before this moment.
    pub before: Timestamp,
    /// The time by the clock. Events with a later timestamp were inserted while the clock was ahead.
    pub now: Timestamp,
    /// At most this many at once.
    pub at_most: usize,
}

/// The oldest events of a tail, which are to be removed.
#[derive(Debug)]
pub struct Oldest {
    tenant: TenantName,
    /// The position before the first event of the tail.
    floor: Position,
    events: Vec<Old>,
    /// Whether these are all that are to be removed now.
    pub is_all: bool,
}

#[derive(Debug)]
struct Old {
    position: Position,
    /// How many chunks the event has. A damaged event has no such number, and stays: it may be the latest of its name.
    chunks: Option<u8>,
    /// The index key of its name, if its entry has the position of this event. An event that was superseded once is
    /// superseded forever.
    name_key: Option<Vec<u8>>,
    kind: EventKind,
    /// When it expires, if it is a transient event that does.
    leaves_at: Option<Timestamp>,
}

/// A count of a tail, in steps, because a tail may have any length.
pub struct TailCount {
    tenant: TenantName,
    /// The position before the first event of the tail, and the position from which the next step counts.
    floor: Position,
    next: Position,
    length: usize,
    /// The head when the count began, or the last position that it has reached.
    counted_to: Position,
}

impl TailCount {
    /// Begins a count.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn new(store: &Store, tenant: TenantName) -> Result<Self, Error> {
        let floor = store.floor(&tenant)?;
        Ok(Self { tenant, floor, next: floor.next(), length: 0, counted_to: store.head() })
    }

    /// Takes a step. At the end of the tail, returns its length, and the position up to which it was counted. That
    /// includes events that are noted as [activity](Store::activity), but not revealed yet. Blocks on the disk.
    ///
    /// # Errors
    /// As [`TailCount::new`].
    pub fn step(&mut self, store: &Store) -> Result<Option<(usize, Position)>, Error> {
        // Events that it has counted may have been removed.
        if store.floor(&self.tenant)? != self.floor {
            *self = Self::new(store, self.tenant.clone())?;
        }
        let (mut rows, mut bytes, mut is_all) = (0, 0, true);
        let (first, end) = (keys::event(&self.tenant, self.next), keys::event(&self.tenant, Position::END));
        store.scan(&first, &end, &mut |key, value| {
            is_all = rows < COUNTED_A_STEP && bytes < STEP_BYTES;
            if !is_all {
                return Ok(false);
            }
            rows += 1;
            bytes += value.len();
            if let Some(position) = keys::position(key) {
                self.next = position.next();
                self.counted_to = self.counted_to.max(position);
            }
            Ok(true)
        })?;
        self.length += rows;
        Ok(is_all.then_some((self.length, self.counted_to)))
    }
}

impl Oldest {
    /// The positions of the events, in order.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.events.iter().map(|event| event.position)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl Store {
    /// The oldest events of a tenant's tail that are beyond retention. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn oldest(&self, tenant: &TenantName, excess: Excess) -> Result<Oldest, Error> {
        let Excess { surplus, before, now, at_most } = excess;
        let (floor, head) = (self.floor(tenant)?, self.head());
        let mut oldest = Oldest { tenant: tenant.clone(), floor, events: Vec::new(), is_all: true };
        let (mut bytes, mut old_until) = (0, Position::START);
        self.scan(&keys::event(tenant, floor.next()), &keys::event(tenant, head.next()), &mut |key, value| {
            let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
            let parts = self.unless_damaged(codec::event_parts(value).map_err(|why| damaged(key, why)))?;
            // A damaged event goes with the events before it. Otherwise no event after it would ever be removed.
            let timestamp = parts.as_ref().map_or(Timestamp::from_millis(0), |parts| parts.timestamp);
            if oldest.events.len() >= surplus && timestamp >= before {
                // An event before one that is too old is also too old, whatever its timestamp says.
                if timestamp > now && position > old_until {
                    let dated = self.first_dated(tenant, position, head, now)?.filter(|(_, at)| *at < before);
                    old_until = dated.map_or(Position::START, |(position, _)| position);
                }
                if position > old_until {
                    return Ok(false);
                }
            }
            oldest.is_all = oldest.events.len() < at_most && bytes < STEP_BYTES;
            if !oldest.is_all {
                return Ok(false);
            }
            let old = parts.map(|parts| self.old_event(tenant, position, &parts));
            let old = old.map_or(Ok(None), |old| self.unless_damaged(old))?;
            let old =
                old.unwrap_or(Old { position, chunks: None, name_key: None, kind: EventKind::Value, leaves_at: None });
            let chunks = usize::from(old.chunks.unwrap_or(0));
            bytes += key.len() + old.name_key.as_ref().map_or(0, Vec::len);
            bytes += old.leaves_at.map_or(0, |_| key.len());
            bytes += chunks * (ROW_HEAD_BYTES + keys::CHUNK_KEY_BYTES);
            oldest.events.push(old);
            Ok(true)
        })?;
        Ok(oldest)
    }

    fn old_event(&self, tenant: &TenantName, position: Position, parts: &codec::EventParts<'_>) -> Result<Old, Error> {
        let name_key = keys::name(tenant, parts.name);
        let has_it = self.name_row(&name_key)?.is_some_and(|row| row.has(position));
        let (name_key, chunks) = (has_it.then_some(name_key), Some(parts.chunks()));
        Ok(Old { position, chunks, name_key, kind: parts.kind, leaves_at: parts.leaves_at() })
    }

    /// After an event of a clock that was ahead: the first event with a true timestamp, if no event after it is of such
    /// a clock. It is found by bisection, so it takes a moment however many there are.
    fn first_dated(
        &self,
        tenant: &TenantName,
        ahead: Position,
        head: Position,
        now: Timestamp,
    ) -> Result<Option<(Position, Timestamp)>, Error> {
        let (mut ahead, mut until, mut found) = (ahead.get(), head.get() + 1, None);
        while until - ahead > 1 {
            let middle = ahead + (until - ahead) / 2;
            match self.event_from(tenant, Position::new(middle), Position::new(until))? {
                Some((position, timestamp)) if timestamp > now => ahead = position.get(),
                dated => {
                    until = middle;
                    found = dated.or(found);
                }
            }
        }
        Ok(found)
    }

    /// The first event of a tenant from one position up to, but not including, another, and its timestamp.
    fn event_from(
        &self,
        tenant: &TenantName,
        from: Position,
        until: Position,
    ) -> Result<Option<(Position, Timestamp)>, Error> {
        let mut found = None;
        self.scan(&keys::event(tenant, from), &keys::event(tenant, until), &mut |key, value| {
            let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
            let parts = codec::event_parts(value).map_err(|why| damaged(key, why));
            found = self.unless_damaged(parts)?.map(|parts| (position, parts.timestamp));
            Ok(found.is_none())
        })?;
        Ok(found)
    }
}

impl Transaction<'_> {
    /// Raises the floor of a tenant over its oldest events. Superseded events, removals and transient events are deleted.
    /// Events that are the latest of their name stay. Returns over how many events the floor was raised.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn shorten(&mut self, oldest: Oldest) -> Result<usize, Error> {
        let Oldest { tenant, floor, events, .. } = oldest;
        let Some(last) = events.last().map(|event| event.position) else { return Ok(0) };
        // If the floor was raised meanwhile, these are no longer the oldest.
        if self.floor(&tenant)? != floor {
            return Ok(0);
        }
        let (by, mut removal, mut transient) = (events.len(), None, None);
        for old in events {
            match old.kind {
                EventKind::Value => {}
                EventKind::Removal => removal = Some(old.position),
                EventKind::Transient => transient = Some(old.position),
            }
            self.pass(&tenant, old)?;
        }
        self.put(keys::floor(&tenant), codec::encode_position(last).to_vec());
        self.raised.push((tenant.clone(), last));
        for (key, forgotten) in [(keys::forgotten(&tenant), removal), (keys::forgotten_transients(&tenant), transient)]
        {
            if let Some(forgotten) = forgotten {
                self.put(key, codec::encode_position(forgotten).to_vec());
            }
        }
        Ok(by)
    }

    /// The floor passes an event: it goes, unless it is the latest of its name.
    fn pass(&mut self, tenant: &TenantName, old: Old) -> Result<(), Error> {
        let Old { position, chunks, name_key, kind, leaves_at } = old;
        let row = name_key.as_ref().map_or(Ok(None), |name_key| self.name_row(name_key))?;
        let row = row.filter(|row| row.has(position));
        if kind == EventKind::Value && row.is_some() {
            return Ok(());
        }
        if let Some(chunks) = chunks {
            self.take_event_away(tenant, position, chunks)?;
        }
        if let Some(at) = leaves_at {
            self.remove(keys::expiry(at, tenant, position));
        }
        match (name_key, row.map(|row| row.without(position))) {
            (Some(name_key), Some(Some(left))) => self.put(name_key, codec::encode_name(left)),
            (Some(name_key), Some(None)) => self.remove(name_key),
            _ => {}
        }
        Ok(())
    }
}
