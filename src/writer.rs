//! The one writer: every change goes through here, in one order.
//!
//! A request becomes a [`Change`]. The writer's thread takes all waiting changes, decides each against the state that
//! the earlier ones left, and writes them as one batch. It makes the batch durable with one flush, publishes its events
//! in order, and only then answers. So unique names, optimistic concurrency and single-use codes need no locks, a
//! thousand inserts share one sync, and no client ever sees an event that a crash could take back.

mod change;
mod failure;
mod request;
mod rules;
mod waiting;
mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::config::Live;
use crate::error::{Error, Fault, Refusal};
use crate::store::{Committer, Durable};

pub use change::{Batch, Change, Reach};
pub use failure::Failure;
use request::{Pending, Request};
pub use rules::{HasStream, Rules};
use waiting::{Waiting, Waits};
pub(crate) use wire::forms;
pub use wire::{Anywhere, Form, Here, Named, decode_answer, encode};

/// How many changes one commit may have.
const MAX_BATCH: usize = 1024;
/// From this size on, the last commit served a crowd of clients: the next commit waits a moment for their next changes.
const CROWD: usize = 8;
/// A commit of this size is large enough: the others arrive while it is synced.
const LARGE: usize = 16;
/// How long it waits after the last change.
const CROWD_GAP: Duration = Duration::from_micros(30);
/// How long it waits in total.
const CROWD_WITHIN: Duration = Duration::from_micros(200);
/// After this time without a change, the crowd is gone.
const CROWD_GONE: Duration = Duration::from_secs(1);

/// The handle of the writer: a cheap clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::UnboundedSender<Box<dyn Request>>,
    waits: Arc<Waits>,
}

/// A change of nothing, by which the writer comes round.
struct Ping;

impl Change for Ping {
    type Outcome = ();
    type Reach = Here;
    fn decide(self, _: &mut Batch<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// What becomes of a change that was posted.
pub struct Outcome<T>(oneshot::Receiver<Result<T, Error>>);

impl<T> Future for Outcome<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|outcome| outcome.unwrap_or(Err(Error::ShuttingDown)))
    }
}

impl Writer {
    /// Starts the thread, which decides by the rules as they are at each commit. `publish` is called with everything that became durable,
    /// in order, before the callers get their answers.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(
        committer: Committer,
        clock: Clock,
        rules: Live<Rules>,
        publish: impl FnMut(Durable) + Send + 'static,
    ) -> std::io::Result<(Self, Failure)> {
        let (queue, requests) = mpsc::unbounded_channel();
        let (failed, failure) = oneshot::channel();
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            if let Err(fault) = run(committer, &clock, &rules, requests, publish) {
                let _ = failed.send(fault);
            }
        })?;
        Ok((Self { queue, waits: Arc::default() }, Failure(Some(failure))))
    }

    /// Decides a change, and waits until its writes are durable.
    ///
    /// # Errors
    /// The errors of the change's rule; [`Error::Overloaded`] if too many changes wait; [`Error::StorageFull`];
    /// [`Error::ShuttingDown`] if the writer has ended.
    pub async fn submit<C: Change>(&self, change: C) -> Result<C::Outcome, Error> {
        self.post(change)?.await
    }

    /// Has a change decided, after every change that was posted before on this thread. What is returned resolves when its writes are
    /// durable; the change is decided whether that is awaited or not.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many changes wait and this one is not needed; [`Error::ShuttingDown`] if the writer has ended; later, the others of
    /// [`Writer::submit`].
    pub fn post<C: Change>(&self, change: C) -> Result<Outcome<C::Outcome>, Error> {
        self.post_then(change, |outcome| outcome)
    }

    /// The same, and does something with the result as soon as it is known here, whether somebody waits for it or not.
    ///
    /// # Errors
    /// As [`Writer::post`]; later, those of `then`. If it is dropped, nothing was decided.
    pub fn post_then<C: Change, T: Send + 'static>(
        &self,
        change: C,
        then: impl FnOnce(Result<C::Outcome, Error>) -> Result<T, Error> + Send + 'static,
    ) -> Result<Outcome<T>, Error> {
        // So all tests run over the form of changes.
        let change = if cfg!(debug_assertions) { C::Reach::sent(change)? } else { change };
        let (reply, outcome) = oneshot::channel();
        let waiting = if change.is_needed() { None } else { Some(Waiting::count(change.bytes(), &self.waits)?) };
        // If the caller has gone meanwhile, the answer is dropped. The change is kept.
        let then = move |outcome: Result<C::Outcome, Error>| {
            let outcome = if cfg!(debug_assertions) { C::Reach::answered(outcome) } else { outcome };
            drop(reply.send(then(outcome)));
        };
        self.queue.send(Box::new(Pending { change, waiting, then })).map_err(|_| Error::ShuttingDown)?;
        Ok(Outcome(outcome))
    }

    /// Ends the thread after every change that was submitted before. Later ones are refused.
    pub async fn stop(&self) {
        struct Stop;
        impl Change for Stop {
            type Outcome = ();
            type Reach = Here;
            fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
                batch.is_last = true;
                Ok(())
            }
        }
        // If it has ended already, there is nothing to stop; on a full disk, there is nothing to finish.
        let _ = self.submit(Stop).await;
    }

    /// How many changes wait, and how many bytes they hold.
    pub fn waiting(&self) -> (usize, usize) {
        self.waits.now()
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.queue.is_closed()
    }

    /// Has the thread handle a batch, and does not wait for it.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] if the writer has ended.
    pub fn wake(&self) -> Result<(), Error> {
        match self.post(Ping) {
            // It has enough to do.
            Err(Error::Overloaded) => Ok(()),
            posted => posted.map(drop),
        }
    }

    /// Returns after the thread has handled a batch: it lives and is not stuck.
    ///
    /// # Errors
    /// As [`Writer::submit`].
    pub async fn ping(&self) -> Result<(), Error> {
        match self.submit(Ping).await {
            // The writer works. It only has no room on the disk, or much to do.
            Err(error) if error.passes() => Ok(()),
            other => other,
        }
    }
}

fn run(
    mut committer: Committer,
    clock: &Clock,
    rules: &Live<Rules>,
    mut requests: mpsc::UnboundedReceiver<Box<dyn Request>>,
    mut publish: impl FnMut(Durable),
) -> Result<(), Fault> {
    let metrics = committer.metrics().clone();
    let (mut last_size, mut last_end) = (0, Instant::now());
    while let Some(first) = requests.blocking_recv() {
        let mut answers = Vec::new();
        let transaction = match committer.begin(clock.now()) {
            Ok(transaction) => transaction,
            Err(error) => match Refusal::of(error.clone()) {
                Ok(_) => {
                    // Nothing was begun, so nothing is lost, and later changes may find room. All waiting changes are
                    // refused at once, instead of asking the disk for each while the others wait.
                    first.refuse(error.clone());
                    for _ in 0..requests.len() {
                        let Ok(request) = requests.try_recv() else { break };
                        request.refuse(error.clone());
                    }
                    continue;
                }
                Err(fault) => {
                    first.refuse(error);
                    return Err(fault);
                }
            },
        };
        let rules = rules.keep();
        let mut batch = Batch::new(transaction, &rules);
        if clock.is_vouched_for() {
            batch.note_time();
        }
        answers.push(first.decide(&mut batch));
        let began = Instant::now();
        let crowd = if began - last_end > CROWD_GONE { 0 } else { last_size.min(LARGE) };
        let mut last_came = began;
        while answers.len() < MAX_BATCH && batch.is_open() {
            if let Ok(request) = requests.try_recv() {
                answers.push(request.decide(&mut batch));
                continue;
            }
            // Clients that were answered together send their next changes together. A short wait for them makes one
            // commit of two. A single client never waits.
            let now = Instant::now();
            if crowd < CROWD || answers.len() >= crowd || now - began > CROWD_WITHIN || now - last_came > CROWD_GAP {
                break;
            }
            thread::yield_now();
            if !requests.is_empty() {
                last_came = Instant::now();
            }
        }
        last_size = answers.len();
        let is_last = batch.is_last;
        match batch.commit() {
            Ok(durable) => {
                metrics.commit_changes.observe(answers.len() as u64);
                metrics.inserts.add(durable.events() as u64);
                publish(durable);
                answers.into_iter().for_each(|answer| answer(Ok(())));
                if is_last {
                    return Ok(());
                }
                last_end = Instant::now();
            }
            Err(fault) => {
                // The state on the disk is unknown now. All waiting callers are told, and the server must restart from
                // the disk.
                answers.into_iter().for_each(|answer| answer(Err(fault.clone())));
                return Err(fault);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
