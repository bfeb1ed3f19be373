//! The writer's end of the store: one journal, and one order of commits.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::checkpoint::Checkpointer;
use super::database::Store;
use super::integrity_scan::IntegrityScan;
use super::journal::Journal;
use super::keeping::{Keeping, Wish};
use super::sizes::MAX_COMMIT_BYTES;
use super::watermarks::CommitWatermark;
use crate::domain::{Event, Position, TenantName, Timestamp};
use crate::error::Error;
use crate::metrics::Metrics;

/// The writer's end of the store. There is one, and it cannot be cloned: two writers would be two orders.
pub struct Committer {
    pub(super) journal: Journal,
    /// How long the journal grows before a checkpoint.
    journal_bytes: u64,
    checkpointer: Checkpointer,
    integrity_scan: IntegrityScan,
    pub(super) commit_watermark: CommitWatermark,
    keeping: Keeping,
    /// How many commits were made.
    pub(super) commits: u64,
    /// Whether the epoch of this start is on disk. It is written with the first event.
    pub(super) is_epoch_kept: bool,
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
    pub(super) head: Position,
    pub(super) store: Store,
}

impl Durable {
    /// How many events there are.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Lets readers see the commit, and returns its events in order. Call it before the next transaction begins.
    pub fn reveal(self) -> Vec<Event> {
        self.store.head.store(self.head.get(), Ordering::Release);
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

    pub(super) fn new(store: Store, commits: u64, parts: Parts) -> Self {
        let Parts { journal, journal_bytes, checkpointer, integrity_scan, commit_watermark, keeping } = parts;
        Self {
            journal,
            journal_bytes,
            checkpointer,
            integrity_scan,
            commit_watermark,
            keeping,
            commits,
            is_epoch_kept: false,
            time_kept: None,
            floors: HashMap::new(),
            counted: HashMap::new(),
            store,
        }
    }

    /// Checks that a commit is possible: nothing has failed in the background, and the journal has room for it.
    ///
    /// # Errors
    /// [`Error::StorageFull`] if the disk has no room for another commit; [`Error::Overloaded`] if another resource is
    /// lacking that becomes free again; [`Error::Storage`] if the database failed.
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
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
