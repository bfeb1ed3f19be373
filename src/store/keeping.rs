//! Files of the journal that are closed and kept for backups, whatever checkpoints remove.
//!
//! A journal file is never written to again once the next one has begun. If somebody holds it then, it gets a second name in the
//! directory `kept`: a hard link, which takes no room until the checkpoint removes the first name. A backup reads the files there
//! while the writer goes on.

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
use crate::error::Error;

/// The directory with the second names.
const DIRECTORY: &str = "kept";
/// The least free space on the disk with which files are kept: what the server needs for itself comes first.
const LEAVE_FREE_BYTES: u64 = 256 << 20;
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
    closed: u64,
    /// How often a new file was begun.
    files_begun: u64,
    /// The last commit that is in sled.
    in_sled: u64,
    /// The checkpoint that was asked for takes everything up to this commit, and this is the first file that it does not take.
    begun: Option<(u64, u64)>,
    /// Why the current checkpoint waits.
    refused: Option<Error>,
}

struct Holder {
    id: u64,
    /// The first file that it needs.
    from: u64,
    has_given_up: bool,
}

impl Keeping {
    pub fn of(database: &Path) -> Self {
        let (wishes, state) = (AtomicU8::new(0), Mutex::default());
        Self(Arc::new(Shared { database: database.to_owned(), wishes, state, changed: Condvar::new() }))
    }

    /// Holds every file that is closed from now on, the current one included.
    pub fn hold(&self) -> Hold {
        let mut state = self.state();
        let from = state.current;
        self.held(&mut state, from)
    }

    /// Holds every file that is there, and every one that is closed from now on. To be called before the first commit.
    ///
    /// # Errors
    /// Of the file system.
    pub fn hold_all(&self) -> io::Result<Hold> {
        let mut state = self.state();
        state.kept = journal_files::numbers(&self.directory())?;
        let last = state.kept.last().copied().unwrap_or(0);
        for number in journal_files::numbers(&self.0.database)? {
            if number > last && number < state.current {
                self.link(number)?;
                state.kept.push(number);
            }
        }
        Ok(self.held(&mut state, 0))
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

    fn held(&self, state: &mut State, from: u64) -> Hold {
        let id = state.next_holder;
        state.next_holder += 1;
        state.holders.push(Holder { id, from, has_given_up: false });
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
        (state.current, state.closed, state.in_sled) = (current, commits, in_sled);
    }

    /// Notes that a file is closed, with its last commit, and that another one has begun. Keeps it if somebody holds it.
    pub fn is_closed(&self, number: u64, last: u64) {
        let mut state = self.state();
        (state.current, state.closed) = (number + 1, last);
        state.files_begun += 1;
        if state.holders.iter().any(|holder| holder.from <= number && !holder.has_given_up) {
            match self.keep(number) {
                Ok(()) => state.kept.push(number),
                Err(why) => self.give_up_all(&mut state, &why),
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

    /// Keeps nothing any more, since the disk has no room. Returns whether that has freed some.
    pub fn give_up(&self) -> bool {
        let mut state = self.state();
        let has_any = !state.kept.is_empty();
        if has_any {
            self.give_up_all(&mut state, &"the disk is nearly full");
        }
        has_any
    }

    fn give_up_all(&self, state: &mut State, why: &dyn std::fmt::Display) {
        tracing::error!(%why, "a backup is given up, and the journal is no longer kept for it");
        state.holders.iter_mut().for_each(|holder| holder.has_given_up = true);
        for number in state.kept.drain(..) {
            let _ = fs::remove_file(journal_files::path_of(&self.directory(), number));
        }
        self.0.changed.notify_all();
    }

    /// Gives a closed file its second name, which is on the disk then: the checkpoint may remove the first one at any time.
    fn keep(&self, number: u64) -> io::Result<()> {
        let disk = statvfs(&self.0.database)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < LEAVE_FREE_BYTES {
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

/// The files that a backup needs are kept until this is dropped.
pub struct Hold {
    keeping: Keeping,
    id: u64,
}

impl Hold {
    /// Whether the files are no longer kept, because the disk is nearly full.
    pub fn has_given_up(&self) -> bool {
        has_given_up(&self.keeping.state(), self.id)
    }

    /// The closed files that it holds, in order.
    pub fn files(&self) -> Vec<(u64, PathBuf)> {
        let state = self.keeping.state();
        let from = state.holders.iter().find(|holder| holder.id == self.id).map_or(u64::MAX, |holder| holder.from);
        let directory = self.keeping.directory();
        state
            .kept
            .iter()
            .filter(|number| **number >= from)
            .map(|n| (*n, journal_files::path_of(&directory, *n)))
            .collect()
    }

    /// Gives files before this one back.
    pub fn release_before(&self, number: u64) {
        let mut state = self.keeping.state();
        state.holders.iter_mut().filter(|holder| holder.id == self.id).for_each(|holder| holder.from = number);
        self.keeping.remove_unheld(&mut state);
    }

    /// Has the writer begin a new file, and waits for it. Returns the last commit that is in closed files then.
    ///
    /// # Errors
    /// [`Error::StorageFull`] if the disk has no room; [`Error::Overloaded`] if the writer does not come round in this time; those
    /// of `server`.
    pub fn close_file(&self, within: Duration, server: &dyn Serving) -> Result<u64, Error> {
        let before = self.keeping.state().files_begun;
        self.keeping.ask(Wish::NewFile);
        self.keeping.wait(self.id, within, server, |state| (state.files_begun > before).then_some(state.closed))
    }

    /// Has the writer begin a checkpoint, and waits until it has ended. Files that are in sled by then are given back.
    ///
    /// # Errors
    /// As [`Hold::close_file`].
    pub fn checkpoint(&self, within: Duration, server: &dyn Serving) -> Result<(), Error> {
        self.keeping.state().begun = None;
        self.keeping.ask(Wish::Checkpoint);
        let is_in_sled = |state: &State| state.begun.filter(|(last, _)| state.in_sled >= *last).map(|(_, first)| first);
        let first = self.keeping.wait(self.id, within, server, is_in_sled)?;
        self.release_before(first);
        Ok(())
    }
}

impl Keeping {
    fn remove_unheld(&self, state: &mut State) {
        let State { holders, kept, .. } = state;
        let first = holders.iter().filter(|holder| !holder.has_given_up).map(|holder| holder.from).min();
        kept.retain(|number| {
            let is_held = first.is_some_and(|first| *number >= first);
            if !is_held {
                let _ = fs::remove_file(journal_files::path_of(&self.directory(), *number));
            }
            is_held
        });
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.keeping.state();
        state.holders.retain(|holder| holder.id != self.id);
        self.keeping.remove_unheld(&mut state);
    }
}
