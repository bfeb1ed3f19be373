//! The tail: a tenant's newest events, which are kept in exact order. How long it is, what of it is too much, and how that goes.

use super::damage::damaged;
use super::database::Store;
use super::rows::Rows;
use super::sizes::{ROW_HEAD_BYTES, STEP_BYTES};
use super::transaction::Transaction;
use super::{codec, keys};
use crate::domain::{Position, TenantName, Timestamp};
use crate::error::Error;

/// How many events of a tail are counted in one step, or so many bytes of them as one is made of.
const COUNTED_A_STEP: usize = 4096;

/// What of a tail is too much.
#[derive(Clone, Copy, Debug)]
pub struct TooMuch {
    /// So many of the oldest events.
    pub surplus: usize,
    /// Those from before this moment.
    pub before: Timestamp,
    /// What the clock says: what claims to be later than that was inserted by one that was ahead.
    pub now: Timestamp,
    /// But no more at once than this.
    pub at_most: usize,
}

/// The oldest events of a tail, which are to go.
#[derive(Debug)]
pub struct Oldest {
    tenant: TenantName,
    /// Where the tail begins.
    floor: Position,
    events: Vec<Old>,
    /// Whether that is all that is to go for now.
    pub is_all: bool,
}

#[derive(Debug)]
struct Old {
    position: Position,
    /// How many chunks go with it. One that is damaged has no such number, and stays: it may be the latest of its name.
    chunks: Option<u8>,
    /// Of its name, where it was the latest; what has been superseded once is so for ever.
    name_key: Option<Vec<u8>>,
    is_removal: bool,
}

/// A tail that is being counted, in steps: it may be of any length.
pub struct TailCount {
    tenant: TenantName,
    /// Where the tail begins, and where the next step does.
    floor: Position,
    next: Position,
    length: usize,
    /// The head when it began, or the last position that was met with.
    counted_to: Position,
}

impl TailCount {
    /// Begins.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails; [`Error::Damaged`].
    pub fn new(store: &Store, tenant: TenantName) -> Result<Self, Error> {
        let floor = store.floor(&tenant)?;
        Ok(Self { tenant, floor, next: floor.next(), length: 0, counted_to: store.head() })
    }

    /// Takes a step: once it is counted, how many events of the tenant are kept in exact order, and up to which position they were
    /// counted: also those that have been noted as [activity](Store::activity), and are not revealed. Blocks on the disk.
    ///
    /// # Errors
    /// As [`TailCount::new`].
    pub fn step(&mut self, store: &Store) -> Result<Option<(usize, Position)>, Error> {
        // What it has counted may have gone since.
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
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl Store {
    /// The oldest events of a tenant's tail that are too much. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn oldest(&self, tenant: &TenantName, too_much: TooMuch) -> Result<Oldest, Error> {
        let TooMuch { surplus, before, now, at_most } = too_much;
        let (floor, head) = (self.floor(tenant)?, self.head());
        let mut oldest = Oldest { tenant: tenant.clone(), floor, events: Vec::new(), is_all: true };
        let (mut bytes, mut old_until) = (0, Position::START);
        self.scan(&keys::event(tenant, floor.next()), &keys::event(tenant, head.next()), &mut |key, value| {
            let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
            let parts = self.unless_damaged(codec::event_parts(value).map_err(|why| damaged(key, why)))?;
            // One that is damaged goes with what is before it, or nothing that comes after it ever would.
            let timestamp = parts.as_ref().map_or(Timestamp::from_millis(0), |parts| parts.timestamp);
            if oldest.events.len() >= surplus && timestamp >= before {
                // What came before an event that is too old is so too, whatever it says of itself.
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
            let old = old.unwrap_or(Old { position, chunks: None, name_key: None, is_removal: false });
            let chunks = usize::from(old.chunks.unwrap_or(0));
            bytes += key.len() + old.name_key.as_ref().map_or(0, Vec::len);
            bytes += chunks * (ROW_HEAD_BYTES + keys::CHUNK_KEY_BYTES);
            oldest.events.push(old);
            Ok(true)
        })?;
        Ok(oldest)
    }

    fn old_event(&self, tenant: &TenantName, position: Position, parts: &codec::EventParts<'_>) -> Result<Old, Error> {
        let is_latest =
            self.latest_row(&keys::name(tenant, parts.name))?.is_some_and(|latest| latest.position == position);
        let name_key = is_latest.then(|| keys::name(tenant, parts.name));
        Ok(Old { position, chunks: Some(parts.chunks()), name_key, is_removal: parts.is_removal })
    }

    /// The first event after one of a clock that was ahead that is not of such a clock, if it is followed by none that is: found by
    /// halving, so that it takes a moment however many they are.
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

    /// The first event of a tenant from one position up to, but not with, another, and when it was.
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
    /// Raises the floor of a tenant over its oldest events; over how many. Superseded ones go, and removals; what is the latest of
    /// its name stays.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn shorten(&mut self, oldest: Oldest) -> Result<usize, Error> {
        let Oldest { tenant, floor, events, .. } = oldest;
        let Some(last) = events.last().map(|event| event.position) else { return Ok(0) };
        // They are no longer the oldest where it was raised meanwhile.
        if self.floor(&tenant)? != floor {
            return Ok(0);
        }
        let (by, mut forgotten) = (events.len(), None);
        for Old { position, chunks, name_key, is_removal } in events {
            let name_key = match name_key {
                Some(name_key) if self.latest_row(&name_key)?.is_some_and(|latest| latest.position == position) => {
                    Some(name_key)
                }
                _ => None,
            };
            if let Some(chunks) = chunks.filter(|_| name_key.is_none() || is_removal) {
                self.take_event_away(&tenant, position, chunks);
            }
            if is_removal {
                if let Some(name_key) = name_key {
                    self.remove(name_key);
                }
                forgotten = Some(position);
            }
        }
        self.put(keys::floor(&tenant), codec::encode_position(last).to_vec());
        self.raise_floor(&tenant, last);
        if let Some(forgotten) = forgotten {
            self.put(keys::forgotten(&tenant), codec::encode_position(forgotten).to_vec());
        }
        Ok(by)
    }
}
