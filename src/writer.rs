//! The one writer: everything that changes goes through here, in one order.
//!
//! A request becomes a [`Change`]. The writer's thread takes all that are waiting, decides each against the state that
//! the ones before it left, writes them as one batch, makes the batch durable with one flush, publishes its events in
//! order, and only then answers. So uniqueness, compare-and-set and single use need no locks, a thousand inserts share
//! one sync, and nobody ever sees what a crash could take back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::domain::Username;
use crate::error::Error;
use crate::store::{Committer, Durable, Transaction};

/// How many changes may wait. More are refused, so that memory is bounded and an answer is never long in coming.
const QUEUE: usize = 4096;
/// How many bytes they may hold together.
const QUEUE_BYTES: usize = 64 << 20;
/// How many changes share one commit at most.
const MAX_BATCH: usize = 1024;
/// From how many changes on the last commit was that of a crowd, for whose return the next one waits a moment.
const CROWD: usize = 8;
/// A commit of so many is large enough: while it is synced the others come.
const LARGE: usize = 16;
/// How long it waits after the last change that came.
const CROWD_GAP: Duration = Duration::from_micros(30);
/// How long it waits in all.
const CROWD_WITHIN: Duration = Duration::from_micros(200);
/// After so long without a change the crowd has gone.
const CROWD_GONE: Duration = Duration::from_secs(1);

/// A wish to change something: data, and the rule that decides it.
pub trait Change: Send + 'static {
    /// What the one who asked is told.
    type Outcome: Send + 'static;

    /// How many bytes it holds while it waits, where that is worth counting.
    fn bytes(&self) -> usize {
        0
    }

    /// Decides against the current state, and writes what follows from it. What it wrote before an `Err` is taken back: a change
    /// happens as a whole or not at all.
    ///
    /// # Errors
    /// Whatever rule the change breaks; [`Error::Damaged`], which is a refusal like others: the rest of the database is as it was.
    /// [`Error::Storage`] and [`Error::Internal`] are none: the writer gives up.
    fn decide(self, batch: &mut Batch<'_>) -> Result<Self::Outcome, Error>;
}

/// What a [`Change`] decides against and writes to.
pub struct Batch<'a> {
    transaction: Transaction<'a>,
    /// In the order in which they were told; the first of them, so many, by changes that stand.
    ended: Vec<Username>,
    changed: Vec<Username>,
    kept: (usize, usize),
    is_last: bool,
    /// Why nothing that was decided can be relied on any more.
    failure: Option<Error>,
}

impl<'a> Batch<'a> {
    fn new(transaction: Transaction<'a>) -> Self {
        Self { transaction, ended: Vec::new(), changed: Vec::new(), kept: (0, 0), is_last: false, failure: None }
    }

    /// Ends the open streams of a user once this batch is durable.
    pub fn end_streams_of(&mut self, username: &Username) {
        self.ended.push(username.clone());
    }

    /// Has the open streams of a user look at what they may see once this batch is durable.
    pub fn change_rights_of(&mut self, username: &Username) {
        self.changed.push(username.clone());
    }

    /// Has a change decided, which then stands as a whole, or has left nothing.
    fn decide<C: Change>(&mut self, change: C) -> Result<C::Outcome, Error> {
        let decided = change.decide(self).and_then(|outcome| self.transaction.keep().map(|()| outcome));
        match &decided {
            Ok(_) => self.kept = (self.ended.len(), self.changed.len()),
            Err(error) => {
                self.transaction.undo();
                self.ended.truncate(self.kept.0);
                self.changed.truncate(self.kept.1);
                // Where the database cannot be read, the changes before may have been decided against what is not so.
                if matches!(error, Error::Storage(_) | Error::Internal(_)) {
                    self.failure = Some(error.clone());
                }
            }
        }
        decided
    }

    /// Whether another change may be decided in it.
    fn is_open(&self) -> bool {
        !self.transaction.is_full() && !self.is_last && self.failure.is_none()
    }

    /// Makes everything durable that stands.
    fn commit(self) -> Result<Committed, Error> {
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

/// What became durable together.
pub struct Committed {
    /// The events, which nobody sees before they are revealed.
    pub durable: Durable,
    /// The users whose open streams must end.
    pub ended: BTreeSet<Username>,
    /// The users who may see something else than before.
    pub changed: BTreeSet<Username>,
}

/// Tells the outcome of a change to the one who asked, or the error that befell the whole batch.
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// A change and who waits for its outcome.
struct Pending<C: Change> {
    change: C,
    waiting: Waiting,
    reply: oneshot::Sender<Result<C::Outcome, Error>>,
}

/// The bytes of a change that waits, counted for as long as it does.
struct Waiting {
    bytes: usize,
    of_all: Arc<AtomicUsize>,
}

impl Waiting {
    /// Where there is room for them.
    fn count(bytes: usize, of_all: &Arc<AtomicUsize>) -> Result<Self, Error> {
        let waiting = Self { bytes, of_all: Arc::clone(of_all) };
        let before = of_all.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > QUEUE_BYTES { Err(Error::Overloaded) } else { Ok(waiting) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.of_all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A [`Pending`] whose type only the one who asked still knows.
trait Request: Send {
    fn decide(self: Box<Self>, batch: &mut Batch<'_>) -> Answer;
    fn refuse(self: Box<Self>, error: Error);
}

impl<C: Change> Request for Pending<C> {
    fn decide(self: Box<Self>, batch: &mut Batch<'_>) -> Answer {
        let Self { change, waiting, reply } = *self;
        drop(waiting);
        let decided = batch.decide(change);
        // A caller who has gone meanwhile wants no answer; the change stands.
        Box::new(move |committed| drop(reply.send(committed.and(decided))))
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.reply.send(Err(error));
    }
}

/// The way to the writer: a cheap clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Box<dyn Request>>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// Tells when the writer had to give up.
pub struct Failure(Option<oneshot::Receiver<Error>>);

impl Writer {
    /// Starts the thread. `publish` is called with everything that became durable, in order, before it is answered.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn start(
        committer: Committer,
        clock: Clock,
        publish: impl FnMut(Committed) + Send + 'static,
    ) -> std::io::Result<(Self, Failure)> {
        let (queue, requests) = mpsc::channel(QUEUE);
        let (failed, failure) = oneshot::channel();
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            if let Err(error) = run(committer, &clock, requests, publish) {
                let _ = failed.send(error);
            }
        })?;
        Ok((Self { queue, waiting_bytes: Arc::default() }, Failure(Some(failure))))
    }

    /// Has a change decided, and waits until what it wrote is durable.
    ///
    /// # Errors
    /// What the change's rule says; [`Error::Overloaded`] where too many wait; [`Error::StorageFull`];
    /// [`Error::ShuttingDown`] where the writer has ended.
    pub async fn submit<C: Change>(&self, change: C) -> Result<C::Outcome, Error> {
        let (reply, outcome) = oneshot::channel();
        let waiting = Waiting::count(change.bytes(), &self.waiting_bytes)?;
        self.queue.try_send(Box::new(Pending { change, waiting, reply })).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::ShuttingDown,
        })?;
        outcome.await.map_err(|_| Error::ShuttingDown)?
    }

    /// Ends the thread once every change that was submitted before is done; later ones are refused.
    pub async fn stop(&self) {
        struct Stop;
        impl Change for Stop {
            type Outcome = ();
            fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
                batch.is_last = true;
                Ok(())
            }
        }
        // Where it has ended already there is nothing to stop, and on a full disk nothing to finish.
        let _ = self.submit(Stop).await;
    }

    /// Returns once the thread has come round: it lives and is not stuck.
    ///
    /// # Errors
    /// As [`Writer::submit`].
    pub async fn ping(&self) -> Result<(), Error> {
        struct Ping;
        impl Change for Ping {
            type Outcome = ();
            fn decide(self, _: &mut Batch<'_>) -> Result<(), Error> {
                Ok(())
            }
        }
        match self.submit(Ping).await {
            // Alive and well, only without room on the disk or with much to do.
            Err(Error::StorageFull | Error::Overloaded) => Ok(()),
            other => other,
        }
    }
}

impl Failure {
    /// Returns once the thread has ended, whether it failed or not, and has given up its end of the store.
    pub async fn ended(self) {
        if let Some(failure) = self.0 {
            let _ = failure.await;
        }
    }

    /// Resolves with the reason when the writer had to give up; never otherwise.
    pub async fn reason(&mut self) -> Error {
        let Some(failure) = &mut self.0 else { return std::future::pending().await };
        let reason = failure.await;
        self.0 = None;
        // Without a reason: it panicked.
        reason.unwrap_or_else(|_| Error::Internal("the writer panicked".to_owned()))
    }
}

fn run(
    mut committer: Committer,
    clock: &Clock,
    mut requests: mpsc::Receiver<Box<dyn Request>>,
    mut publish: impl FnMut(Committed),
) -> Result<(), Error> {
    let (mut last_size, mut last_end) = (0, Instant::now());
    while let Some(first) = requests.blocking_recv() {
        let mut answers = Vec::new();
        let transaction = match committer.begin(clock.now()) {
            Ok(transaction) => transaction,
            Err(refused @ (Error::StorageFull | Error::Overloaded)) => {
                // Nothing was begun, so nothing is lost; who comes next may find room again. All who wait are told at once: the
                // disk is not asked for each of them, while the others wait for it.
                first.refuse(refused.clone());
                for _ in 0..requests.len() {
                    let Ok(request) = requests.try_recv() else { break };
                    request.refuse(refused.clone());
                }
                continue;
            }
            Err(error) => {
                first.refuse(error.clone());
                return Err(error);
            }
        };
        let mut batch = Batch::new(transaction);
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
            // Whoever was answered together comes again together: to wait for them a moment makes one commit of two. Who is
            // alone waits for nobody.
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
            Ok(committed) => {
                publish(committed);
                answers.into_iter().for_each(|answer| answer(Ok(())));
                if is_last {
                    return Ok(());
                }
                last_end = Instant::now();
            }
            Err(error) => {
                // What is on disk is unknown now: whoever waits is told so, and the server must start anew from it.
                answers.into_iter().for_each(|answer| answer(Err(error.clone())));
                return Err(error);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
