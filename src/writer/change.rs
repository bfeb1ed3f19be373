//! Changes, and the batch of them that becomes durable together.

use super::rules::Rules;
use crate::error::{Error, Fault, Refusal};
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
    pub(super) is_last: bool,
    /// The reason why no decision of this batch can be relied on.
    failure: Option<Fault>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(transaction: Transaction<'a>, rules: &'a Rules) -> Self {
        Self { transaction, rules, is_last: false, failure: None }
    }

    /// What the configuration says where this is decided.
    pub fn rules(&self) -> &'a Rules {
        self.rules
    }

    /// Decides a change, which then is kept as a whole, or has left nothing.
    pub(super) fn decide<C: Change>(&mut self, change: C) -> Result<C::Outcome, Undecided> {
        let decided = change.decide(self).and_then(|outcome| self.transaction.keep().map(|()| outcome));
        decided.map_err(|error| {
            self.transaction.undo();
            match Refusal::of(error) {
                Ok(refusal) => Undecided::Refused(refusal),
                // If the database cannot be read, earlier changes may have been decided against a wrong state.
                Err(fault) => {
                    self.failure = Some(fault);
                    Undecided::Failed
                }
            }
        })
    }

    /// Whether another change may be decided in this batch.
    pub(super) fn is_open(&self) -> bool {
        !self.transaction.is_full() && !self.is_last && self.failure.is_none()
    }

    /// Makes all kept changes durable.
    pub(super) fn commit(self) -> Result<Durable, Fault> {
        if let Some(fault) = self.failure {
            return Err(fault);
        }
        self.transaction.commit().map_err(|error| match Refusal::of(error) {
            Ok(_) => Fault::Internal("a change was neither kept nor undone".to_owned()),
            Err(fault) => fault,
        })
    }
}

/// Why a change has left nothing.
pub enum Undecided {
    /// It was refused.
    Refused(Refusal),
    /// Nothing of its batch can be relied on. The fault is that of the batch.
    Failed,
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
