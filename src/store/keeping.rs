//! Files of the journal that are closed and kept for backups, whatever checkpoints remove.
//!
//! A journal file is never written to again once the next one has begun. If somebody holds it then, it gets a second name in the
//! directory `kept`: a hard link, which takes no room until the checkpoint removes the first name. A backup reads the files there
//! while the writer goes on.

mod hold;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

use super::disk::Directory;
use super::journal_files;
use crate::domain::Timestamp;
use crate::error::Error;

pub use hold::Hold;

/// The directory with the second names.
const DIRECTORY: &str = "kept";
/// The least free space on the disk with which files are kept: what the server needs for itself comes first.
const LEAVE_FREE_BYTES: u64 = 256 << 20;
/// The same for the archive alone, which goes on when a backup, or a new set of its own, has given up for lack of room.
const ARCHIVE_LEAVES_FREE_BYTES: u64 = 128 << 20;
/// How long a wait for the writer goes on before it is asked once more: it may have been unable to do it.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What the writer is asked for, at its next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To begin a new file of the journal.
    NewFile = 1,
    /// To begin a checkpoint.
    Checkpoint = 2,
}

/// The server whose database is backed up.
pub trait Serving {
    /// Has the writer come round.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    fn wake(&self) -> Result<(), Error>;

    /// Checks that a backup may go on.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    fn check(&self) -> Result<(), Error>;
}

/// The files that are kept, and what the writer is asked for: a cheap clone.
#[derive(Clone)]
pub struct Keeping(Arc<Shared>);

struct Shared {
    /// The directory of the database.
    database: PathBuf,
    wishes: AtomicU8,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    holders: Vec<Holder>,
    next_holder: u64,
    /// The numbers of the files that have a second name, in order.
    kept: Vec<u64>,
    /// The number of the file that commits go to.
    current: u64,
    /// The last commit in closed files.
    closed: Closed,
    /// How often a new file was begun.
    files_begun: u64,
    /// The last commit that is in sled.
    in_sled: u64,
    /// The checkpoint that was asked for takes everything up to this commit, and this is the first file that it does not take.
    begun: Option<(u64, u64)>,
    /// Why the current checkpoint waits.
    refused: Option<Error>,
}

/// Up to where closed files go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Closed {
    /// Their last commit.
    pub last: u64,
    /// By when they were made, those of this start; `None` without any.
    pub made_at: Option<Timestamp>,
}

struct Holder {
    id: u64,
    /// The first file that it needs.
    from: u64,
    has_given_up: bool,
    /// Whether its files stay when it is dropped, for the next start.
    stays: bool,
}

impl Holder {
    /// Whether it is a backup that is being made.
    fn is_making(&self) -> bool {
        !self.stays && !self.has_given_up
    }
}

impl State {
    /// The files that nobody holds any more, which do not count as kept from here on.
    fn drop_unheld(&mut self) -> Vec<u64> {
        let first = self.holders.iter().filter(|holder| !holder.has_given_up).map(|holder| holder.from).min();
        let is_held = |number: &u64| first.is_some_and(|first| *number >= first);
        let (held, unheld) = self.kept.iter().partition(|number| is_held(number));
        self.kept = held;
        unheld
    }
}

impl Keeping {
    pub fn of(database: &Path) -> Self {
        let (wishes, state) = (AtomicU8::new(0), Mutex::default());
        Self(Arc::new(Shared { database: database.to_owned(), wishes, state, changed: Condvar::new() }))
    }

    /// Holds every file that is closed from now on, the current one included.
    pub fn hold(&self) -> Hold {
        let state = self.state();
        let from = state.current;
        self.held(state, from, false)
    }

    /// Holds every file that is there, and every one that is closed from now on, also beyond the end of this process: what it has not
    /// given back is there at the next start. To be called before the first commit.
    ///
    /// # Errors
    /// Of the file system.
    pub fn hold_all(&self) -> io::Result<Hold> {
        let mut state = self.state();
        // What was kept of commits that are lost has numbers that others will have.
        let (kept, lost): (Vec<u64>, Vec<u64>) =
            journal_files::numbers(&self.directory())?.into_iter().partition(|number| *number < state.current);
        journal_files::remove(&self.directory(), &lost)?;
        state.kept = kept;
        let last = state.kept.last().copied().unwrap_or(0);
        for number in journal_files::numbers(&self.0.database)? {
            if number > last && number < state.current {
                self.link(number)?;
                state.kept.push(number);
            }
        }
        if !state.kept.is_empty() {
            Directory::open(&self.directory())?.sync()?;
        }
        Ok(self.held(state, 0, true))
    }

    /// The same from now on, for an archive that has given up, or has nothing yet.
    pub fn hold_on(&self) -> Hold {
        let state = self.state();
        let from = state.current;
        self.held(state, from, true)
    }

    /// Keeps nothing for the archive any more, which has ended.
    pub fn let_go(&self) {
        let mut state = self.state();
        state.holders.retain(|holder| !holder.stays);
        self.remove_unheld(state);
    }

    /// Checks that the disk has enough room for a backup to go on.
    ///
    /// # Errors
    /// [`Error::StorageFull`]; [`Error::Storage`] if the system does not tell.
    pub fn check_room(&self) -> Result<(), Error> {
        let free = self.free().map_err(|error| Error::Storage(format!("the free room of the disk: {error}")))?;
        if free < LEAVE_FREE_BYTES { Err(Error::StorageFull) } else { Ok(()) }
    }

    fn free(&self) -> io::Result<u64> {
        let disk = statvfs(&self.0.database)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Removes what an earlier run has left.
    ///
    /// # Errors
    /// Of the file system.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.directory()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn held(&self, mut state: MutexGuard<'_, State>, from: u64, stays: bool) -> Hold {
        // There is one archive.
        state.holders.retain(|holder| !(stays && holder.stays));
        let id = state.next_holder;
        state.next_holder += 1;
        state.holders.push(Holder { id, from, has_given_up: false, stays });
        self.remove_unheld(state);
        Hold { keeping: self.clone(), id }
    }

    /// What the writer is asked for. This is asked with each commit.
    pub fn is_asked(&self, wish: Wish) -> bool {
        self.0.wishes.load(Ordering::Acquire) & wish as u8 != 0
    }

    fn ask(&self, wish: Wish) {
        self.0.wishes.fetch_or(wish as u8, Ordering::AcqRel);
    }

    fn is_done(&self, wish: Wish) {
        self.0.wishes.fetch_and(!(wish as u8), Ordering::AcqRel);
    }

    /// Notes which file commits go to, as of a start.
    pub fn begins(&self, current: u64, commits: u64, in_sled: u64) {
        let mut state = self.state();
        (state.current, state.in_sled) = (current, in_sled);
        state.closed = Closed { last: commits, made_at: None };
    }

    /// Notes that a file is closed, with its last commit, and that another one has begun. Keeps it if somebody holds it.
    pub fn is_closed(&self, number: u64, closed: Closed) {
        let mut state = self.state();
        (state.current, state.closed) = (number + 1, closed);
        state.files_begun += 1;
        while state.holders.iter().any(|holder| holder.from <= number && !holder.has_given_up) {
            let is_making = state.holders.iter().any(Holder::is_making);
            match self.keep(number, if is_making { LEAVE_FREE_BYTES } else { ARCHIVE_LEAVES_FREE_BYTES }) {
                Ok(()) => {
                    state.kept.push(number);
                    break;
                }
                Err(why) => self.give_up_first(&mut state, &why),
            }
        }
        self.is_done(Wish::NewFile);
        self.0.changed.notify_all();
    }

    /// Notes that there was nothing to close.
    pub fn is_closed_already(&self) {
        self.state().files_begun += 1;
        self.is_done(Wish::NewFile);
        self.0.changed.notify_all();
    }

    /// Notes that a checkpoint begins with everything up to a commit.
    pub fn checkpoint_begins(&self, last: u64) {
        if self.is_asked(Wish::Checkpoint) {
            let mut state = self.state();
            state.begun = Some((last, state.current));
            self.is_done(Wish::Checkpoint);
            self.0.changed.notify_all();
        }
    }

    /// Notes that a checkpoint has ended: sled has everything up to a commit.
    pub fn checkpoint_ended(&self, last: u64) {
        self.state().in_sled = last;
        self.0.changed.notify_all();
    }

    /// Notes why a checkpoint waits, or that it does no more.
    pub fn checkpoint_waits(&self, refused: Option<&Error>) {
        let mut state = self.state();
        if state.refused.as_ref() != refused {
            state.refused = refused.cloned();
            self.0.changed.notify_all();
        }
    }

    /// Keeps less, since the disk has no room. Returns whether that has freed some.
    pub fn give_up(&self) -> bool {
        let mut state = self.state();
        let before = state.kept.len();
        while state.kept.len() == before && state.holders.iter().any(|holder| !holder.has_given_up) {
            self.give_up_first(&mut state, &"the disk is nearly full");
        }
        state.kept.len() < before
    }

    /// Keeps nothing any more for the backups that are being made, a new set of the archive among them. If there is none, the archive
    /// gives up too.
    fn give_up_first(&self, state: &mut State, why: &dyn std::fmt::Display) {
        let only_these = state.holders.iter().any(Holder::is_making);
        tracing::error!(%why, "a backup is given up, and the journal is no longer kept for it");
        let gives_up = |holder: &&mut Holder| !only_these || holder.is_making();
        state.holders.iter_mut().filter(gives_up).for_each(|holder| holder.has_given_up = true);
        for number in state.drop_unheld() {
            let _ = fs::remove_file(journal_files::path_of(&self.directory(), number));
        }
        self.0.changed.notify_all();
    }

    /// Gives a closed file its second name, which is on the disk then: the checkpoint may remove the first one at any time.
    fn keep(&self, number: u64, leave_free: u64) -> io::Result<()> {
        if self.free()? < leave_free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.link(number)?;
        Directory::open(&self.directory())?.sync()
    }

    fn link(&self, number: u64) -> io::Result<()> {
        let directory = self.directory();
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let (from, to) = (journal_files::path_of(&self.0.database, number), journal_files::path_of(&directory, number));
        match fs::hard_link(from, to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what nobody holds. Without the lock: it may be much, and the writer needs that.
    fn remove_unheld(&self, mut state: MutexGuard<'_, State>) {
        let unheld = state.drop_unheld();
        drop(state);
        for number in unheld {
            let _ = fs::remove_file(journal_files::path_of(&self.directory(), number));
        }
    }

    fn directory(&self) -> PathBuf {
        self.0.database.join(DIRECTORY)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a state is reached. Until then, the writer is woken again and again: it may have been unable to do what it was
    /// asked for.
    fn wait<T>(
        &self,
        id: u64,
        within: Duration,
        server: &dyn Serving,
        reached: impl Fn(&State) -> Option<T>,
    ) -> Result<T, Error> {
        let until = Instant::now() + within;
        loop {
            server.wake()?;
            let state = self.state();
            let is_waiting = |state: &mut State| reached(state).is_none() && !has_given_up(state, id);
            let waited = self.0.changed.wait_timeout_while(state, ASK_AGAIN, is_waiting);
            let state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if has_given_up(&state, id) {
                return Err(Error::StorageFull);
            }
            if let Some(found) = reached(&state) {
                return Ok(found);
            }
            if Instant::now() > until {
                return Err(state.refused.clone().unwrap_or(Error::Overloaded));
            }
        }
    }
}

fn has_given_up(state: &State, id: u64) -> bool {
    state.holders.iter().any(|holder| holder.id == id && holder.has_given_up)
}

#[cfg(test)]
mod tests;
