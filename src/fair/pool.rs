use std::future::Future;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread;

use tokio::sync::oneshot;

use super::{Patience, Queue};
use crate::error::Error;

type Job = Box<dyn FnOnce() + Send>;

/// Threads for slow work and for work that waits for the disk, with a fair queue before them. A cheap clone. The
/// threads end with the last one.
pub struct Pool<G: Clone + Eq + Hash, L: Clone + Eq + Hash>(pub(super) Arc<Handle<G, L>>);

/// The end of the queue that adds items. Dropping it closes the queue.
pub(super) struct Handle<G: Clone + Eq + Hash, L: Clone + Eq + Hash>(pub(super) Arc<Queue<G, L, Job>>);

/// The result of work that was given to a [`Pool`]. Dropping it removes the work from the queue.
///
/// # Errors
/// [`Error::Overloaded`] if it was refused or displaced; [`Error::Internal`] if it panicked.
#[must_use = "dropped, the work is not done"]
pub struct Task<T> {
    result: oneshot::Receiver<thread::Result<T>>,
    /// `None` after it is done, or if it was refused.
    leave: Option<Box<dyn FnOnce() + Send>>,
}

impl<G: Clone + Eq + Hash, L: Clone + Eq + Hash> Clone for Pool<G, L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<G: Clone + Eq + Hash, L: Clone + Eq + Hash> Drop for Handle<G, L> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<G, L> Pool<G, L>
where
    G: Clone + Eq + Hash + Send + 'static,
    L: Clone + Eq + Hash + Send + 'static,
{
    /// Starts this many threads, named by a name and a number, with a queue in which `capacity` refusable items may
    /// wait.
    ///
    /// # Errors
    /// If the operating system gives no threads.
    pub fn start(name: &str, threads: usize, capacity: usize) -> std::io::Result<Self> {
        // It exists from here on, so that the started threads end if a later one cannot be started.
        let handle = Handle(Arc::new(Queue::<G, L, Job>::new(capacity)));
        for number in 0..threads {
            let queue = Arc::clone(&handle.0);
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || {
                while let Some(job) = queue.pop() {
                    job();
                }
            })?;
        }
        Ok(Self(Arc::new(handle)))
    }

    /// How much work waits.
    pub fn waiting(&self) -> usize {
        self.0.0.waiting()
    }

    /// Gives work to the threads, which run it in its turn.
    pub fn submit<T: Send + 'static>(
        &self,
        group: G,
        lane: L,
        patience: Patience,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Task<T> {
        let (reply, result) = oneshot::channel();
        let job = Box::new(move || {
            // If the caller has gone, the work is not needed.
            if !reply.is_closed() {
                // The thread survives a panic, which the panic hook has logged.
                let _ = reply.send(catch_unwind(AssertUnwindSafe(work)));
            }
        });
        // A refused or displaced job is dropped, which tells its caller.
        let pushed = self.0.0.push(group.clone(), lane.clone(), job, patience).ok();
        let queue = &self.0.0;
        let leave = pushed.map(|(number, _)| {
            let queue = Arc::clone(queue);
            Box::new(move || drop(queue.remove(&group, &lane, number))) as Box<dyn FnOnce() + Send>
        });
        Task { result, leave }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.result).poll(context));
        self.leave = None;
        Poll::Ready(match result {
            Ok(done) => done.map_err(|_| Error::Internal("work on another thread panicked".to_owned())),
            Err(_) => Err(Error::Overloaded),
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(leave) = self.leave.take() {
            leave();
        }
    }
}
