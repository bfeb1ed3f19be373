//! What waits in the queue of the writer.

use super::change::{Batch, Change, Undecided};
use super::waiting::Waiting;
use crate::error::{Error, Fault};

/// Sends the result of a change to its caller, or the fault of the whole batch.
pub type Answer = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// A change, and what is done with its result.
pub struct Pending<C, F> {
    pub change: C,
    pub waiting: Option<Waiting>,
    pub then: F,
}

/// A [`Pending`] without its type.
pub trait Request: Send {
    fn decide(self: Box<Self>, batch: &mut Batch<'_>) -> Answer;
    fn refuse(self: Box<Self>, error: Error);
}

impl<C: Change, F: FnOnce(Result<C::Outcome, Error>) + Send + 'static> Request for Pending<C, F> {
    fn decide(self: Box<Self>, batch: &mut Batch<'_>) -> Answer {
        let Self { change, waiting, then } = *self;
        drop(waiting);
        let decided = batch.decide(change);
        Box::new(move |committed: Result<(), Fault>| {
            then(match (committed, decided) {
                (Err(fault), _) => Err(fault.into()),
                (Ok(()), Ok(outcome)) => Ok(outcome),
                (Ok(()), Err(Undecided::Refused(refusal))) => Err(refusal.into()),
                // A batch with a fault is never committed.
                (Ok(()), Err(Undecided::Failed)) => Err(Error::ShuttingDown),
            });
        })
    }

    fn refuse(self: Box<Self>, error: Error) {
        (self.then)(Err(error));
    }
}
