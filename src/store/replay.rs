//! Replay: the events since a position, up to another, in order.

use super::codec::{self, NameRow};
use super::damage::damaged;
use super::database::Store;
use super::event_data::StoredEvent;
use super::keys;
use super::rows::{Rows, event_row};
use crate::domain::{EventKind, Pattern, Position, TenantName, View, disjoint};
use crate::error::Error;

/// How many unwanted events one step may skip, so that a step is always short.
const MAX_PASSED_OVER: usize = 1024;
/// How many names may be looked at before the first event is read in the same step.
const MAX_LOOKED_AT_FIRST: usize = 256;
/// How many positions a replay may hold, of eight bytes each. If more are wanted, it reads all events and selects,
/// which costs the length of the tail.
const MAX_FEW: usize = 2048;

/// A replay in progress, in the order of positions, so that a client that is cut off resumes where it was. Its memory
/// does not grow with the number of events, so a slow reader costs next to nothing.
pub struct Replay {
    tenant: TenantName,
    wanted: Wanted,
    /// Everything up to here has been given.
    after: Position,
    /// Nothing after this is given: it was not on disk yet when the replay began.
    until: Position,
    missing: Missing,
    /// Whether the reader gets transient events.
    transient: bool,
    source: Source,
    /// Whether no wanted name has changed, although not every event is kept.
    is_unchanged: bool,
    /// Whether an event was left out because it cannot be read.
    is_damaged: bool,
}

/// The events that are read.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// All events of the tenant. The caller selects.
    All,
    /// The events of a view.
    Of(Box<View>),
    /// The events of the first view that are not in the second, for a stream that had the second before.
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

    /// Names and prefixes that contain all wanted names, in the order of the names, without overlap.
    pub(super) fn candidates(&self) -> Vec<Pattern> {
        let candidates = match self {
            Self::All => None,
            Self::Of(view) => view.candidates(),
            Self::New(view, before) => view.candidates_beyond(before),
        };
        disjoint(candidates.unwrap_or_else(|| vec![Pattern::all()]))
    }
}

/// The events that a reader lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The latest event of every name, without removals: the reader is new.
    Snapshot,
    /// Every event since its position, with removals: the reader resumes.
    Events,
}

/// The rows that a replay reads.
enum Source {
    /// Not chosen yet.
    Unopened,
    /// Every event since `after`: all of them are kept.
    Tail,
    /// The events since `after` that are the latest of their names. None of them is transient.
    Snapshot,
    /// The same, if few are wanted: these positions, the last one first.
    Few(Vec<Position>),
}

/// The wanted latest events, if they are few.
struct Few {
    /// Their positions, unordered.
    positions: Vec<Position>,
    /// The position of the newest event of their names, and of names with transient events alone.
    newest: Position,
}

impl Few {
    fn add(&mut self, row: NameRow) {
        self.positions.extend(row.latest.map(|latest| latest.position));
        self.newest = self.newest.max(row.tip);
    }
}

impl Replay {
    /// A snapshot for a new reader: the latest events of a tenant up to a position, without those up to `after`, which
    /// the reader has. A name that has a later event than `until` is left out.
    pub fn snapshot(tenant: TenantName, wanted: Wanted, after: Position, until: Position) -> Self {
        Self::new(Missing::Snapshot, tenant, wanted, after, until)
    }

    /// A resumption: the events of a tenant after one position, up to another, for a reader that has everything before.
    /// Transient events that have expired are left out.
    pub fn events(tenant: TenantName, wanted: Wanted, after: Position, until: Position) -> Self {
        Self::new(Missing::Events, tenant, wanted, after, until)
    }

    fn new(missing: Missing, tenant: TenantName, wanted: Wanted, after: Position, until: Position) -> Self {
        let source = Source::Unopened;
        Self { tenant, wanted, after, until, missing, transient: true, source, is_unchanged: false, is_damaged: false }
    }

    /// The same for a reader that gets transient events, or does not miss them. By default it gets them.
    pub fn with_transient(self, transient: bool) -> Self {
        Self { transient, ..self }
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// The events that the reader lacks.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// Whether the reader missed events that are not given, because only the latest of each name is kept for that time,
    /// or because one cannot be read.
    pub fn has_gap(&self) -> bool {
        let is_shortened = matches!(self.source, Source::Snapshot | Source::Few(_)) && !self.is_unchanged;
        self.missing == Missing::Events && (is_shortened || self.is_damaged)
    }

    /// The events that are read, if none has been read yet.
    pub fn not_begun(&self) -> Option<&Wanted> {
        matches!(self.source, Source::Unopened).then_some(&self.wanted)
    }

    /// Everything up to here has been given.
    pub fn position(&self) -> Position {
        self.after
    }

    /// Gives the next events to `each`, about `bytes` together: as many as they are stored in, or as `each` says that it
    /// made of them, whichever is more. Returns whether there are more. Events that cannot be read are left out, or no
    /// client of the tenant would have a stream any more. The log names them. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`] if not even the range can be read.
    pub fn next(
        &mut self,
        store: &Store,
        bytes: usize,
        mut each: impl FnMut(StoredEvent<'_>) -> usize,
    ) -> Result<bool, Error> {
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

    /// Chooses the rows. A new reader gets the latest event of each name. A reader that resumes gets every event if all
    /// are kept, and otherwise the names that changed. Returns also how many names were looked at.
    fn open(&mut self, store: &Store) -> Result<(Source, usize), Error> {
        if self.missing == Missing::Events && self.after >= store.floor(&self.tenant)? {
            return Ok((Source::Tail, 0));
        }
        let read = store.unless_damaged(store.latest_positions(&self.tenant, &self.wanted))?;
        // A replay that reads the events themselves finds out which are the latest, even if an index entry is damaged.
        let (found, looked_at) = read.unwrap_or((None, MAX_FEW));
        let Some(Few { mut positions, newest }) = found else { return Ok((Source::Snapshot, looked_at)) };
        positions.retain(|position| *position > self.after);
        // This is read after the names, so that an event that is forgotten meanwhile counts.
        let mut changed = store.forgotten(&self.tenant)?;
        if self.transient {
            changed = changed.max(newest).max(store.forgotten_transients(&self.tenant)?);
        }
        self.is_unchanged = positions.is_empty() && changed <= self.after;
        positions.retain(|position| *position <= self.until);
        positions.sort_unstable_by(|a, b| b.cmp(a));
        Ok((Source::Few(positions), looked_at))
    }

    fn next_few(
        &mut self,
        store: &Store,
        mut positions: Vec<Position>,
        bytes: usize,
        each: &mut impl FnMut(StoredEvent<'_>) -> usize,
    ) -> Result<(), Error> {
        let (mut size, mut looked_at) = (0, 0);
        while size < bytes && looked_at < MAX_PASSED_OVER {
            let Some(position) = positions.pop() else { break };
            looked_at += 1;
            self.after = position;
            let key = keys::event(&self.tenant, position);
            // It was superseded since, by an event after `until`, which will come live.
            let Some(value) = store.get(&key)? else { continue };
            let read = event_row(&key, &value).and_then(|(_, parts)| {
                let is_given = !(self.missing == Missing::Snapshot && parts.kind == EventKind::Removal);
                let event = if is_given { store.whole(&key, position, &parts)? } else { None };
                Ok((parts.bytes, event))
            });
            match store.unless_damaged(read)? {
                Some((bytes, event)) => size += event.map_or(0, &mut *each).max(bytes),
                None => self.is_damaged = true,
            }
        }
        if positions.is_empty() {
            self.after = self.until;
        }
        self.source = Source::Few(positions);
        Ok(())
    }

    /// Reads the events themselves, in order. Up to the floor, each is the latest of its name. After it, superseded
    /// events are skipped if only the latest are wanted.
    fn next_scanned(
        &mut self,
        store: &Store,
        only_latest: bool,
        bytes: usize,
        each: &mut impl FnMut(StoredEvent<'_>) -> usize,
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
                let is_given = match parts.kind {
                    EventKind::Value => true,
                    EventKind::Removal => self.missing == Missing::Events,
                    EventKind::Transient => self.transient && !only_latest,
                };
                let wanted = is_given
                    && self.wanted.matches(parts.name)
                    && (!only_latest || position <= floor || store.is_latest(&self.tenant, parts.name, position)?);
                let event = if wanted { store.whole(key, position, &parts)? } else { None };
                Ok(event.map(|event| (parts.bytes, event)))
            });
            // If it cannot be read, it may have been wanted.
            let read = store.unless_damaged(read)?;
            self.is_damaged |= read.is_none();
            self.after = keys::position(key).unwrap_or(self.after);
            match read.flatten() {
                Some((bytes, event)) => size += each(event).max(bytes),
                None => passed_over += 1,
            }
            Ok(true)
        })?;
        if at_end {
            self.after = self.until;
        }
        // A scan is no snapshot. If the floor rose past its beginning meanwhile, events may have been removed before
        // they were read. From here on, the latest event of each name is given instead.
        if !only_latest && store.floor(&self.tenant)? > from {
            self.source = Source::Snapshot;
        }
        Ok(())
    }
}

impl Store {
    /// The position of a tenant's newest event after this position, or this position if there is none. It counts events
    /// that are not revealed yet: another read may have met their traces.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
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

    /// The positions of the wanted latest events; `None` if there are more than [`MAX_FEW`]. Its cost depends on the
    /// number of wanted names, not of all names. Returns also how many names were looked at.
    fn latest_positions(&self, tenant: &TenantName, wanted: &Wanted) -> Result<(Option<Few>, usize), Error> {
        let mut few = Few { positions: Vec::new(), newest: Position::START };
        let mut looked_at = 0;
        for pattern in wanted.candidates() {
            let beginning = keys::name(tenant, pattern.beginning());
            if let Pattern::Exact(name) = pattern {
                looked_at += 1;
                if let Some(row) = self.name_row(&beginning)?
                    && wanted.matches(name.as_str())
                {
                    few.add(row);
                }
            } else {
                self.scan_prefix(&beginning, &mut |key, value| {
                    let name = keys::name_of(tenant, key).ok_or_else(|| damaged(key, "a name is cut short"))?;
                    looked_at += 1;
                    if wanted.matches(name) {
                        few.add(codec::decode_name(value).map_err(|why| damaged(key, why))?);
                    }
                    Ok(looked_at <= MAX_FEW)
                })?;
            }
            if looked_at > MAX_FEW || few.positions.len() > MAX_FEW {
                return Ok((None, looked_at));
            }
        }
        Ok((Some(few), looked_at))
    }
}
