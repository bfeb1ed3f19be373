//! What waits in the queue of the writer.

use super::change::{Batch, Change};
use super::waiting::Waiting;
use crate::error::Error;

/// Sends the result of a change to its caller, or the error of the whole batch.
pub type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

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
        Box::new(move |committed| then(committed.and(decided)))
    }

    fn refuse(self: Box<Self>, error: Error) {
        (self.then)(Err(error));
    }
}
