//! Reading the history of one name: its kept events, in pages.

mod newest_first;
mod oldest_first;
mod query;

use super::database::Store;
use super::event_data::StoredEvent;
use crate::domain::Position;
use crate::error::Error;

pub use query::HistoryQuery;
use query::{Allowance, Budget, MAX_BYTES, MAX_LOOKED_AT, MAX_LOOKED_AT_BYTES, STEP_LOOKED_AT_BYTES, STEP_LOOKS};

/// A page of the kept events of a name, in the requested order. It is read in steps, so that no page is ever whole in
/// memory and no step takes long.
pub struct History {
    /// The part that has not been read yet.
    query: HistoryQuery,
    left: Allowance,
    /// Whether the last step was searching for an event, and has not found one yet.
    is_searching: bool,
}

/// How far the reading of a page has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The page may have more events.
    GoesOn,
    /// The page has ended. If there is a position, another page may follow from there. It is always further on than the
    /// beginning of this page, even if this page has no events.
    Ends(Option<Position>),
}

impl History {
    /// Begins a page.
    pub fn new(query: HistoryQuery) -> Self {
        Self::within(query, MAX_LOOKED_AT)
    }

    /// Begins a page for which at most this many events are looked at.
    pub(super) fn within(query: HistoryQuery, looks: usize) -> Self {
        let left = Allowance { events: query.limit, bytes: MAX_BYTES, looks, looked_at_bytes: MAX_LOOKED_AT_BYTES };
        Self { query, left, is_searching: false }
    }

    /// Gives the next events to `each`, about `bytes` together. A step is always short, and may give none. Events that
    /// cannot be read are left out, and the log names them. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; the errors of `each`.
    pub fn next(
        &mut self,
        store: &Store,
        bytes: usize,
        each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<Page, Error> {
        let (looks, looked_at_bytes) = (STEP_LOOKS, STEP_LOOKED_AT_BYTES);
        let step = Allowance { events: usize::MAX, bytes, looks, looked_at_bytes };
        let mut budget = Budget { page: self.left, step };
        let next = if self.query.oldest_first {
            oldest_first::read(store, &self.query, &mut budget, each)?
        } else {
            newest_first::read(store, &self.query, &mut budget, &mut self.is_searching, each)?
        };
        self.left = budget.page;
        let Some(next) = next else { return Ok(Page::Ends(None)) };
        if self.left.is_spent(true) {
            return Ok(Page::Ends(Some(next)));
        }
        let end = if self.query.oldest_first { &mut self.query.after } else { &mut self.query.before };
        *end = next;
        Ok(Page::GoesOn)
    }
}

#[cfg(test)]
mod tests;
