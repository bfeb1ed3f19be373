//! Reading events: what changed since a position, up to another, in order.

use super::damage::damaged;
use super::database::Store;
use super::event_data::{StoredEvent, event_row};
use super::rows::Rows;
use super::{codec, keys};
use crate::domain::{Pattern, Position, TenantName, View, disjoint};
use crate::error::Error;

/// How many events one step may pass over that the filter does not want, so that a step is always short.
const MAX_PASSED_OVER: usize = 1024;
/// How many names may be looked at before the first event is read in the same step.
const MAX_LOOKED_AT_FIRST: usize = 256;
/// How many positions a reading may hold, of eight bytes each. What wants more reads all events and picks, which costs the
/// length of the tail.
const MAX_FEW: usize = 2048;

/// A reading under way, in the order of positions, so that whoever is cut off resumes where they were. What it holds does
/// not grow with what there is to read, so a slow reader costs next to nothing.
pub struct Replay {
    tenant: TenantName,
    wanted: Wanted,
    /// Everything up to here has been given.
    after: Position,
    /// Nothing after this is given: it was not yet on disk when the reading began.
    until: Position,
    missing: Missing,
    source: Source,
    /// Whether nothing that is wanted has changed, though not everything is kept.
    is_unchanged: bool,
    /// Whether something was left out because it cannot be read.
    is_damaged: bool,
}

/// Which events are read.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// All of the tenant's, for those who pick from them.
    All,
    /// What somebody gets.
    Of(Box<View>),
    /// What somebody gets who got the second before.
    New(Box<View>, Box<View>),
}

impl Wanted {
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(view) => view.matches(name),
            Self::New(view, before) => view.matches(name) && !before.matches(name),
        }
    }

    /// Patterns outside of which nothing is wanted: in the order of the names, and apart from each other.
    pub(super) fn patterns(&self) -> Vec<Pattern> {
        let candidates = match self {
            Self::All => None,
            Self::Of(view) | Self::New(view, _) => view.candidates(),
        };
        disjoint(candidates.unwrap_or_else(|| vec![Pattern::Prefix("".into())]))
    }
}

/// What somebody needs to be given who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// They are new: the latest event of every name. They want to know what there is, not what there is no more.
    Snapshot,
    /// They were here before, perhaps when there was nothing yet: everything that came since.
    Events,
}

/// Where the events come from.
enum Source {
    /// Not yet chosen.
    Unopened,
    /// Every event since `after` is still there.
    Tail,
    /// The latest of each name that changed since `after`: those events that have not been superseded.
    Snapshot,
    /// The same for a filter that wants few: these positions, the last one first.
    Few(Vec<Position>),
}

impl Replay {
    /// The latest events of a tenant as they are read, up to a position, for somebody who is new and has those up to another
    /// already. A name that has a later event than that by then is left out.
    pub fn snapshot(tenant: TenantName, wanted: Wanted, after: Position, until: Position) -> Self {
        Self::new(Missing::Snapshot, tenant, wanted, after, until)
    }

    /// What changed for a tenant after one position, up to another, for somebody who was given everything before.
    pub fn events(tenant: TenantName, wanted: Wanted, after: Position, until: Position) -> Self {
        Self::new(Missing::Events, tenant, wanted, after, until)
    }

    fn new(missing: Missing, tenant: TenantName, wanted: Wanted, after: Position, until: Position) -> Self {
        let source = Source::Unopened;
        Self { tenant, wanted, after, until, missing, source, is_unchanged: false, is_damaged: false }
    }

    /// Whose events these are.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// What the reader needs to be given.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// Whether events were missed that are not given, because only the latest of each name is kept of that time, or because one of
    /// them cannot be read.
    pub fn has_gap(&self) -> bool {
        let is_shortened = matches!(self.source, Source::Snapshot | Source::Few(_)) && !self.is_unchanged;
        self.missing == Missing::Events && (is_shortened || self.is_damaged)
    }

    /// Everything up to here has been given.
    pub fn position(&self) -> Position {
        self.after
    }

    /// Gives the next events, of about `bytes` together; whether there are more. What cannot be read is left out, or nobody of a tenant
    /// would have a stream any more, and the log names it. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails; [`Error::Damaged`] if not even that can be told.
    pub fn next(&mut self, store: &Store, bytes: usize, mut each: impl FnMut(StoredEvent<'_>)) -> Result<bool, Error> {
        if matches!(self.source, Source::Unopened) {
            let looked_at;
            (self.source, looked_at) = self.open(store)?;
            if looked_at > MAX_LOOKED_AT_FIRST {
                return Ok(self.after < self.until);
            }
        }
        if self.after < self.until {
            match std::mem::replace(&mut self.source, Source::Tail) {
                Source::Few(positions) => self.next_few(store, positions, bytes, &mut each)?,
                source => {
                    let only_latest = matches!(source, Source::Snapshot);
                    self.source = source;
                    self.next_scanned(store, only_latest, bytes, &mut each)?;
                }
            }
        }
        Ok(self.after < self.until)
    }

    /// A new subscriber gets the latest of each name. One that was here before gets every event it missed where all of
    /// them are still kept, and the names that changed where not. How many names were looked at to find out.
    fn open(&mut self, store: &Store) -> Result<(Source, usize), Error> {
        if self.missing == Missing::Events && self.after >= store.floor(&self.tenant)? {
            return Ok((Source::Tail, 0));
        }
        let read = store.unless_damaged(store.latest_positions(&self.tenant, &self.wanted))?;
        // Whoever reads the events themselves finds out which of them are the latest, but for what cannot be read.
        let (found, looked_at) = read.unwrap_or((None, MAX_FEW));
        let Some(mut positions) = found else { return Ok((Source::Snapshot, looked_at)) };
        positions.retain(|position| *position > self.after);
        // Looked at after the names: a removal among them that is forgotten meanwhile counts.
        self.is_unchanged = positions.is_empty() && store.forgotten(&self.tenant)? <= self.after;
        positions.retain(|position| *position <= self.until);
        positions.sort_unstable_by(|a, b| b.cmp(a));
        Ok((Source::Few(positions), looked_at))
    }

    fn next_few(
        &mut self,
        store: &Store,
        mut positions: Vec<Position>,
        bytes: usize,
        each: &mut impl FnMut(StoredEvent<'_>),
    ) -> Result<(), Error> {
        let (mut size, mut looked_at) = (0, 0);
        while size < bytes && looked_at < MAX_PASSED_OVER {
            let Some(position) = positions.pop() else { break };
            looked_at += 1;
            self.after = position;
            let key = keys::event(&self.tenant, position);
            // Gone: it was superseded since, by one that is after `until` and will come live.
            let Some(value) = store.get(&key)? else { continue };
            let read = event_row(&key, &value).and_then(|(_, parts)| {
                let is_given = !(self.missing == Missing::Snapshot && parts.is_removal);
                let event = if is_given { store.whole(&key, position, &parts)? } else { None };
                Ok((parts.bytes, event))
            });
            match store.unless_damaged(read)? {
                Some((bytes, event)) => {
                    size += bytes;
                    event.into_iter().for_each(&mut *each);
                }
                None => self.is_damaged = true,
            }
        }
        if positions.is_empty() {
            self.after = self.until;
        }
        self.source = Source::Few(positions);
        Ok(())
    }

    /// Reads the events themselves, in order. Up to the floor each is the latest of its name; after it a superseded one is
    /// passed over where only the latest are wanted.
    fn next_scanned(
        &mut self,
        store: &Store,
        only_latest: bool,
        bytes: usize,
        each: &mut impl FnMut(StoredEvent<'_>),
    ) -> Result<(), Error> {
        let from = self.after;
        let floor = store.floor(&self.tenant)?;
        let first = keys::event(&self.tenant, from.next());
        let end = keys::event(&self.tenant, self.until.next());
        let (mut size, mut passed_over, mut at_end) = (0, 0, true);
        store.scan(&first, &end, &mut |key, value| {
            if size >= bytes || passed_over >= MAX_PASSED_OVER {
                at_end = false;
                return Ok(false);
            }
            let read = event_row(key, value).and_then(|(position, parts)| {
                let wanted = self.wanted.matches(parts.name)
                    && !(self.missing == Missing::Snapshot && parts.is_removal)
                    && (!only_latest || position <= floor || store.is_latest(&self.tenant, parts.name, position)?);
                let event = if wanted { store.whole(key, position, &parts)? } else { None };
                Ok(event.map(|event| (parts.bytes, event)))
            });
            // Where it cannot be read it may have been wanted.
            let read = store.unless_damaged(read)?;
            self.is_damaged |= read.is_none();
            self.after = keys::position(key).unwrap_or(self.after);
            match read.flatten() {
                Some((bytes, event)) => {
                    size += bytes;
                    each(event);
                }
                None => passed_over += 1,
            }
            Ok(true)
        })?;
        if at_end {
            self.after = self.until;
        }
        // A scan is no snapshot: where the floor rose past its beginning meanwhile, some may have gone before they were
        // read. What is left of them, the latest of each name, comes from here on.
        if !only_latest && store.floor(&self.tenant)? > from {
            self.source = Source::Snapshot;
        }
        Ok(())
    }
}

impl Store {
    /// The position of a tenant's newest event after another one; that one where there is none. It counts what is not revealed
    /// yet: whoever reads meanwhile may have met with its traces, though not with itself.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails.
    pub fn newest_after(&self, tenant: &TenantName, position: Position) -> Result<Position, Error> {
        let mut newest = position;
        self.scan(&keys::event(tenant, position.next()), &keys::event(tenant, Position::END), &mut |key, _| {
            newest = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
            Ok(true)
        })?;
        Ok(newest)
    }

    fn is_latest(&self, tenant: &TenantName, name: &str, position: Position) -> Result<bool, Error> {
        Ok(self.latest_row(&keys::name(tenant, name))?.is_some_and(|latest| latest.position == position))
    }

    /// The positions of the latest events that are wanted, in no order; `None` where they are more than [`MAX_FEW`]. Costs what
    /// is wanted, not what is there: how many names were looked at.
    fn latest_positions(&self, tenant: &TenantName, wanted: &Wanted) -> Result<(Option<Vec<Position>>, usize), Error> {
        let mut positions = Vec::new();
        let mut looked_at = 0;
        for pattern in wanted.patterns() {
            match pattern {
                Pattern::Exact(name) => {
                    looked_at += 1;
                    let latest =
                        self.latest_row(&keys::name(tenant, name.as_str()))?.filter(|_| wanted.matches(name.as_str()));
                    positions.extend(latest.map(|latest| latest.position));
                }
                Pattern::Prefix(prefix) => {
                    self.scan_prefix(&keys::name(tenant, &prefix), &mut |key, value| {
                        let name = keys::name_of(tenant, key).ok_or_else(|| damaged(key, "a name is cut short"))?;
                        looked_at += 1;
                        if wanted.matches(name) {
                            positions.push(codec::decode_latest(value).map_err(|why| damaged(key, why))?.position);
                        }
                        Ok(looked_at <= MAX_FEW)
                    })?;
                }
            }
            if looked_at > MAX_FEW || positions.len() > MAX_FEW {
                return Ok((None, looked_at));
            }
        }
        Ok((Some(positions), looked_at))
    }
}
