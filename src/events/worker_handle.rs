use std::rc::Rc;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;

use super::ending::End;
use super::hub::Hub;
use super::sink::Sink;
use super::subscribe_request::SubscribeRequest;
use super::subscriber::Subscriber;
use super::subscription::{CatchUp, Subscription};
use super::worker::Worker;
use crate::clock::Clock;

/// A thread's part of the hub, which serves the streams that are opened on the thread.
pub struct WorkerHandle {
    pub(super) worker: Rc<Worker<Subscription>>,
    pub(super) tasks: [JoinHandle<()>; 2],
}

impl WorkerHandle {
    /// Starts it on this thread.
    ///
    /// # Panics
    /// Outside a `LocalSet`, which an actix worker is.
    pub fn start(hub: Hub, clock: Clock) -> Self {
        let worker = Rc::new(Worker::new(hub, clock));
        // They yield by themselves. tokio's own budget would have a connection with TLS look as if it could not be written to.
        let tasks = [
            tokio::task::spawn_local(unconstrained(Rc::clone(&worker).deliver())),
            tokio::task::spawn_local(unconstrained(Rc::clone(&worker).keep_time())),
        ];
        Self { worker, tasks }
    }

    /// Opens a stream. `first` is written before anything else. The stream goes on as long as the returned task is run.
    pub fn open(&self, request: SubscribeRequest, sink: impl Sink + 'static, first: Bytes) -> CatchUp {
        let worker = &self.worker;
        let changes = request.changes;
        let (subscription, task) = Subscription::start(worker, request, sink, first);
        let guard = &subscription.presence_guard;
        worker.streams().add(&subscription);
        let at_most = worker.hub().rules().streams_of(guard.user_streams().username());
        let is_replaced = !guard.open(worker.mailbox(), at_most);
        // At once, so that a client whose stream is ended before the task runs has had an answer; and not before the stream is known by
        // the id that is in it.
        subscription.write_rest();
        // The user's streams may have been ended, or its id taken, or the server closed, before a worker had it; and the rights may have
        // changed.
        if subscription.is_over() {
            subscription.end(End::Revoked);
        } else if is_replaced {
            subscription.end(End::Replaced);
        } else if worker.hub().is_closed() {
            subscription.end(End::stopping(0));
        } else if guard.user_streams().changes() != changes {
            worker.change_rights(guard.user_streams().username());
        }
        task
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.worker.hub().registry().remove_worker(self.worker.mailbox());
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
