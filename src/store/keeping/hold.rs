//! What a backup or the archive holds of the journal.

use std::path::PathBuf;
use std::time::Duration;

use super::{Closed, Keeping, Serving, State, Wish, has_given_up};
use crate::error::Error;
use crate::store::journal_files;

/// The files that a backup needs are kept until this is dropped, and those that the archive needs until it has them.
pub struct Hold {
    pub(super) keeping: Keeping,
    pub(super) id: u64,
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
        self.keeping.remove_unheld(state);
    }

    /// Has the writer begin a new file, and waits for it. Returns up to where closed files go then.
    ///
    /// # Errors
    /// [`Error::StorageFull`] if the disk has no room; [`Error::Overloaded`] if the writer does not come round in this time; those
    /// of `server`.
    pub fn close_file(&self, within: Duration, server: &dyn Serving) -> Result<Closed, Error> {
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

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.keeping.state();
        state.holders.retain(|holder| holder.id != self.id || holder.stays);
        self.keeping.remove_unheld(state);
    }
}
