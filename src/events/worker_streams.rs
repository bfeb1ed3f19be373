use std::rc::Rc;
use std::sync::Arc;

use super::mailbox::Mailbox;
use super::registry::Registry;
use super::stream_id::Serial;
use super::weak_map::WeakMap;
use crate::domain::Username;

/// The subscriptions of one worker. Everything else that refers to one knows its serial, and finds it here.
pub struct WorkerStreams<S: ?Sized> {
    registry: Registry,
    mailbox: Arc<Mailbox>,
    by_serial: WeakMap<Serial, S>,
}

impl<S: ?Sized> WorkerStreams<S> {
    /// Those of a worker with this mailbox, none yet.
    pub fn new(registry: Registry, mailbox: Arc<Mailbox>) -> Self {
        Self { registry, mailbox, by_serial: WeakMap::default() }
    }

    /// Adds one.
    pub fn add(&self, serial: Serial, subscription: &Rc<S>) {
        self.by_serial.insert(serial, subscription);
    }

    /// Forgets one that is being dropped.
    pub fn forget(&self, serial: Serial) {
        self.by_serial.remove(&serial);
    }

    /// The one with a serial, if it is on this worker.
    pub fn get(&self, serial: Serial) -> Option<Rc<S>> {
        self.by_serial.get(&serial)
    }

    /// Those that a user has open on this worker.
    pub fn of_user(&self, username: &Username) -> Vec<Rc<S>> {
        let serials = self.registry.serials_on(username, &self.mailbox);
        serials.into_iter().filter_map(|serial| self.get(serial)).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Rc<S>> {
        self.by_serial.values()
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_serial.len()
    }
}
