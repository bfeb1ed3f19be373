//! The writer's end of the store: one journal, and one order of commits.

use std::collections::HashMap;

use super::checkpoint::Checkpointer;
use super::database::Store;
use super::integrity_scan::IntegrityScan;
use super::journal::Journal;
use super::keeping::{Keeping, Wish};
use super::progress::Progress;
use super::sealed::{Learned, Record};
use super::sizes::MAX_COMMIT_BYTES;
use super::tidings::Tidings;
use super::watermarks::CommitWatermark;
use crate::domain::{Event, Position, TenantName, Timestamp, Username};
use crate::error::{Error, Fault};
use crate::metrics::Metrics;

/// For how many tenants a value is cached. Beyond that the cache is emptied, and values are read again when they are
/// needed.
const TENANTS_REMEMBERED: usize = 16_384;

/// Caches a value of a tenant, in memory that does not grow with the number of tenants.
pub fn remember<T>(of_tenants: &mut HashMap<TenantName, T>, tenant: &TenantName, value: T) {
    if of_tenants.len() >= TENANTS_REMEMBERED {
        of_tenants.clear();
    }
    of_tenants.insert(tenant.clone(), value);
}

/// The writer's end of the store. There is one, and it cannot be cloned: two writers would be two orders.
pub struct Committer {
    pub(super) journal: Journal,
    /// How long the journal grows before a checkpoint.
    journal_bytes: u64,
    checkpointer: Checkpointer,
    integrity_scan: IntegrityScan,
    pub(super) commit_watermark: CommitWatermark,
    keeping: Keeping,
    /// How far the commits have come that were made.
    pub(super) progress: Progress,
    /// The commit time that is on disk, if this start has written one.
    pub(super) time_kept: Option<Timestamp>,
    /// The floors of tenants that inserted recently.
    pub(super) floors: HashMap<TenantName, Position>,
    /// How many names those tenants have whose database does not hold the count.
    pub(super) counted: HashMap<TenantName, u64>,
    /// The last field: it holds the lock, and the threads of the others work on the database until they are dropped.
    pub(super) store: Store,
}

/// A commit that is on disk, but that no reader sees yet.
#[must_use]
pub struct Durable {
    pub(super) events: Vec<Event>,
    pub(super) progress: Progress,
    pub(super) tidings: Tidings,
    pub(super) store: Store,
}

impl Durable {
    /// How many events there are.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// What it does to those who are connected.
    #[cfg(test)]
    pub fn tidings_mut(&mut self) -> &mut Tidings {
        &mut self.tidings
    }

    /// The users whose open streams must end, each once.
    pub fn ended(&self) -> &[Username] {
        &self.tidings.ended
    }

    /// The users whose rights have changed, each once.
    pub fn changed(&self) -> &[Username] {
        &self.tidings.changed
    }

    /// Lets readers see the commit, and returns its events in order. Call it before the next transaction begins.
    pub fn reveal(self) -> Vec<Event> {
        self.store.reveal(self.progress);
        self.events
    }
}

/// The parts that a [`Committer`] is made of.
pub(super) struct Parts {
    pub journal: Journal,
    pub journal_bytes: u64,
    pub checkpointer: Checkpointer,
    pub integrity_scan: IntegrityScan,
    pub commit_watermark: CommitWatermark,
    pub keeping: Keeping,
}

impl Committer {
    /// What is counted of the server that has this database open.
    pub fn metrics(&self) -> &Metrics {
        &self.store.metrics
    }

    pub(super) fn new(store: Store, progress: Progress, parts: Parts) -> Self {
        let Parts { journal, journal_bytes, checkpointer, integrity_scan, commit_watermark, keeping } = parts;
        Self {
            journal,
            journal_bytes,
            checkpointer,
            integrity_scan,
            commit_watermark,
            keeping,
            progress,
            time_kept: None,
            floors: HashMap::new(),
            counted: HashMap::new(),
            store,
        }
    }

    /// How far the commits have come that were made.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Makes a commit, whoever has decided it: makes it durable with one write and one sync, and then readable. Nobody sees its events
    /// before it is revealed. [`Committer::prepare`] has made room for it.
    ///
    /// # Errors
    /// [`Fault`]: then the state on the disk is unknown, and the server must stop. After a failed sync, another sync may succeed although
    /// the data is lost.
    pub fn apply(&mut self, record: Record) -> Result<Durable, Fault> {
        // So that every test is one of what a copy of the database would make of the same bytes.
        #[cfg(debug_assertions)]
        let record = record.through_its_bytes(self.progress)?;
        if !record.extends(self.progress) {
            let (commits, height) = (self.progress.commits, record.progress.commits);
            return Err(Fault::Internal(format!("commit {height} is to be made after commit {commits}")));
        }
        if !record.is_empty() {
            let learned = record.learned().map_err(|why| Fault::Storage(format!("a commit: {why}")))?;
            let synced_in = self.journal.append(&record)?;
            self.store.metrics.journal_sync.observe_duration(synced_in);
            self.store.metrics.journal_waiting_bytes.set(self.journal.bytes());
            self.store.overlay.apply(record.writes, record.progress);
            self.learn(learned, !record.events.is_empty());
        }
        let Record { progress, mut tidings, events, .. } = record;
        self.store.activity.add(&events);
        self.store.mqtt_cursors.apply(std::mem::take(&mut tidings.cursors));
        tidings.found_again.drain(..).for_each(|id| self.store.mqtt_cursors.find_again(id));
        if progress.commits > self.progress.commits {
            self.progress = progress;
            self.commit_watermark.note(progress.commits);
        }
        Ok(Durable { events, progress, tidings, store: self.store.clone() })
    }

    /// Brings what is in memory up to date with a commit that can be read.
    fn learn(&mut self, learned: Learned, has_events: bool) {
        let Learned { users, due, epoch, floors, time, begins_course } = learned;
        // After the changed users can be read, or a busy user would be cached again as before; and before anybody is told of it.
        users.iter().for_each(|username| self.store.accounts.forget(username));
        for (tenant, floor) in floors {
            remember(&mut self.floors, &tenant, floor);
        }
        match epoch {
            Some((first, epoch)) => self.store.epochs.keep(first, epoch),
            None if has_events => self.store.epochs.go_on(),
            None => {}
        }
        self.time_kept = time.or(self.time_kept);
        if begins_course {
            self.store.goes_its_course();
        }
        self.store.activity.add_due(due);
    }

    /// Checks that a commit is possible: nothing has failed in the background, and the journal has room for it.
    ///
    /// # Errors
    /// [`Error::StorageFull`] if the disk has no room for another commit; [`Error::Overloaded`] if another resource is
    /// lacking that becomes free again; [`Error::Storage`] if the database failed.
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.checkpointer.failure()?;
        self.integrity_scan.outcome()?;
        let mut room = self.make_room();
        // What is kept for a backup is the first to go.
        if room == Err(Error::StorageFull) && self.keeping.give_up() {
            room = self.make_room();
        }
        self.checkpointer.note_room(&room);
        room.and_then(|()| self.grant_wishes())
    }

    /// Does what a backup asks for, if it can be done now. If it cannot, changes go on, and the backup asks again.
    fn grant_wishes(&mut self) -> Result<(), Error> {
        let tried = if self.keeping.is_asked(Wish::Checkpoint) && !self.store.overlay.is_frozen() {
            self.checkpoint()
        } else if self.keeping.is_asked(Wish::NewFile) {
            self.journal.close_file()
        } else {
            return Ok(());
        };
        match tried {
            // The room for the next commit went with the file.
            Ok(()) => self.journal.reserve(),
            Err(refused) if refused.passes() => self.journal.reserve(),
            Err(failed) => Err(failed),
        }
    }

    /// Makes room in the journal for the next commit.
    ///
    /// Closes this fault: on a small disk the journal took the room that the checkpoint lacked. After that no commit
    /// had room either, even if others freed space. So a checkpoint comes first, and may use the room that was reserved
    /// for the next commit.
    fn make_room(&mut self) -> Result<(), Error> {
        if self.checkpointer.is_short_of_room() {
            self.journal.give_back()?;
            self.checkpointer.ask_again()?;
        }
        if self.journal.bytes() >= self.journal_bytes
            || self.store.overlay.active_bytes() as u64 >= self.journal_bytes / 2
        {
            self.checkpoint()?;
        }
        match self.journal.reserve() {
            // A checkpoint helps: names that changed often are in the journal many times, and once in sled. And the
            // space that is free on the disk may not be ours to use.
            Err(Error::StorageFull) if self.is_checkpoint_worth_it() => {
                self.checkpoint()?;
                self.journal.reserve()
            }
            reserved => reserved,
        }
    }

    /// Whether a checkpoint can begin, and would free enough to be worth it.
    fn is_checkpoint_worth_it(&self) -> bool {
        self.journal.bytes_of_file() > MAX_COMMIT_BYTES as u64 && !self.store.overlay.is_frozen()
    }

    /// Begins a checkpoint after the previous one is finished. So at most two tables are in memory.
    fn checkpoint(&mut self) -> Result<(), Error> {
        self.checkpointer.wait()?;
        let bytes = self.journal.bytes();
        let journal = self.journal.rotate()?;
        self.store.metrics.journal_moving_bytes.set(bytes);
        self.store.metrics.journal_waiting_bytes.set(self.journal.bytes());
        self.keeping.checkpoint_begins(self.journal.last());
        self.checkpointer.begin(self.store.overlay.freeze(), journal);
        Ok(())
    }
}
