//! What a change is decided by of the course that the database goes.

use super::transaction::Transaction;
use crate::domain::{EventId, Position};

impl Transaction<'_> {
    /// The position in an id, as [`Store::position_of`](super::Store::position_of).
    pub fn position_of(&self, id: EventId) -> Option<Position> {
        self.committer.store.position_of(id)
    }

    /// Whether this commit begins another course ([`Store::begins_a_course`](super::Store::begins_a_course)).
    pub fn is_new_course(&self) -> bool {
        self.committer.store.is_new_course()
    }
}
