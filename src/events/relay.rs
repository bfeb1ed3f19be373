use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::channel::{Listener, lock};

/// Where a worker is told which of its channels have something new.
#[derive(Default)]
pub struct Mailbox {
    listeners: Mutex<Vec<Arc<Listener>>>,
    filled: Notify,
}

impl Mailbox {
    /// Tells the worker. A listener is told at most once until it has been woken, so this stays as short as the list of
    /// channels.
    pub fn post(&self, listener: Arc<Listener>) {
        lock(&self.listeners).push(listener);
        self.filled.notify_one();
    }
}

/// One worker's end of the hub: a publish wakes one task a worker, and that task wakes the subscribers of its own thread.
/// To wake each of them from the writer's thread would cost more than to send to them.
pub struct Relay {
    mailbox: Arc<Mailbox>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Starts the task on this thread, whose subscribers it will serve.
    ///
    /// # Panics
    /// Outside a `LocalSet`, which an actix worker is.
    pub fn start() -> Self {
        let mailbox = Arc::new(Mailbox::default());
        let own = Arc::clone(&mailbox);
        let task = tokio::task::spawn_local(async move {
            loop {
                own.filled.notified().await;
                for listener in std::mem::take(&mut *lock(&own.listeners)) {
                    listener.wake();
                }
            }
        });
        Self { mailbox, task }
    }

    pub(super) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
