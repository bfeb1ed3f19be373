//! Changes, and the batch of them that becomes durable together.

use std::collections::BTreeSet;

use super::rules::Rules;
use crate::domain::Username;
use crate::error::Error;
use crate::store::{Durable, Transaction};

/// A change: its data, and the rule that decides it.
pub trait Change: Sized + Send + 'static {
    /// The result for the caller.
    type Outcome: Send + 'static;
    /// Where it may be decided: [`Anywhere`](super::Anywhere) or [`Here`](super::Here).
    type Reach: Reach<Self>;

    /// How many bytes it holds while it waits, if they are worth counting.
    fn bytes(&self) -> usize {
        0
    }

    /// Whether it waits however many others do, and counts for none of them. Only for changes whose number something else bounds, and
    /// that must not be lost.
    fn is_needed(&self) -> bool {
        false
    }

    /// Decides against the current state, and writes the consequences. After an `Err`, everything that it wrote is
    /// undone: a change happens as a whole or not at all.
    ///
    /// # Errors
    /// The rule that the change breaks. [`Error::Damaged`] is such a refusal, too: the rest of the database is as it
    /// was. But after [`Error::Storage`] and [`Error::Internal`] the writer gives up.
    fn decide(self, batch: &mut Batch<'_>) -> Result<Self::Outcome, Error>;
}

/// Where a change may be decided, which its type says: [`Anywhere`](super::Anywhere) or [`Here`](super::Here).
pub trait Reach<C: Change> {
    /// The change as another process would get it.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written or read.
    fn sent(change: C) -> Result<C, Error>;

    /// The answer as another process would give it.
    ///
    /// # Errors
    /// Those of the answer; [`Error::Internal`] if it cannot be written or read.
    fn answered(answer: Result<C::Outcome, Error>) -> Result<C::Outcome, Error>;
}

/// The state that a [`Change`] decides against and writes to.
pub struct Batch<'a> {
    transaction: Transaction<'a>,
    rules: &'a Rules,
    /// The users whose streams must end, in order. The first ones, up to the count, were named by changes that are
    /// kept.
    ended: Vec<Username>,
    changed: Vec<Username>,
    kept: (usize, usize),
    pub(super) is_last: bool,
    /// The reason why no decision of this batch can be relied on.
    failure: Option<Error>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(transaction: Transaction<'a>, rules: &'a Rules) -> Self {
        let (ended, changed) = (Vec::new(), Vec::new());
        Self { transaction, rules, ended, changed, kept: (0, 0), is_last: false, failure: None }
    }

    /// What the configuration says where this is decided.
    pub fn rules(&self) -> &'a Rules {
        self.rules
    }

    /// Ends the open streams of a user after this batch is durable.
    pub fn end_streams_of(&mut self, username: &Username) {
        self.ended.push(username.clone());
    }

    /// Makes the open streams of a user check their rights again after this batch is durable.
    pub fn change_rights_of(&mut self, username: &Username) {
        self.changed.push(username.clone());
    }

    /// Decides a change, which then is kept as a whole, or has left nothing.
    pub(super) fn decide<C: Change>(&mut self, change: C) -> Result<C::Outcome, Error> {
        let decided = change.decide(self).and_then(|outcome| self.transaction.keep().map(|()| outcome));
        match &decided {
            Ok(_) => self.kept = (self.ended.len(), self.changed.len()),
            Err(error) => {
                self.transaction.undo();
                self.ended.truncate(self.kept.0);
                self.changed.truncate(self.kept.1);
                // If the database cannot be read, earlier changes may have been decided against a wrong state.
                if matches!(error, Error::Storage(_) | Error::Internal(_)) {
                    self.failure = Some(error.clone());
                }
            }
        }
        decided
    }

    /// Whether another change may be decided in this batch.
    pub(super) fn is_open(&self) -> bool {
        !self.transaction.is_full() && !self.is_last && self.failure.is_none()
    }

    /// Makes all kept changes durable.
    pub(super) fn commit(self) -> Result<Committed, Error> {
        let Self { transaction, ended, changed, failure, .. } = self;
        match failure {
            Some(error) => Err(error),
            None => {
                let (ended, changed) = (ended.into_iter().collect(), changed.into_iter().collect());
                transaction.commit().map(|durable| Committed { durable, ended, changed })
            }
        }
    }
}

impl<'a> std::ops::Deref for Batch<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl std::ops::DerefMut for Batch<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transaction
    }
}

/// The changes that became durable together.
pub struct Committed {
    /// The events, which nobody sees before they are revealed.
    pub durable: Durable,
    /// The users whose open streams must end.
    pub ended: BTreeSet<Username>,
    /// The users whose rights have changed.
    pub changed: BTreeSet<Username>,
}
