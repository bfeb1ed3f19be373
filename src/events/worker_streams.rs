use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::small_map::SmallMap;
use super::stream_id::Serial;
use super::subscriber::Subscriber;
use super::weak_map::WeakMap;
use crate::domain::Username;
use crate::metrics::WorkerMetrics;

/// The subscriptions of one worker. Everything else that refers to one knows its serial, and finds it here.
pub struct WorkerStreams<S: ?Sized> {
    by_serial: WeakMap<Serial, S>,
    /// The serials of each user's subscriptions. An event of an inbox is dispatched by them, without a lock.
    by_user: RefCell<HashMap<Username, SmallMap<Serial, ()>>>,
    metrics: Arc<WorkerMetrics>,
}

impl<S: Subscriber + ?Sized> WorkerStreams<S> {
    /// Adds one.
    pub fn add(&self, subscription: &Rc<S>) {
        let (serial, username) = (subscription.serial(), subscription.user_streams().username());
        self.by_serial.insert(serial, subscription);
        self.by_user.borrow_mut().entry(username.clone()).or_default().insert(serial, ());
    }
}

impl<S: ?Sized> WorkerStreams<S> {
    /// None yet. What becomes of them is counted there.
    pub fn new(metrics: Arc<WorkerMetrics>) -> Self {
        Self { by_serial: WeakMap::default(), by_user: RefCell::default(), metrics }
    }

    /// Where it is counted what becomes of them.
    pub fn metrics(&self) -> &WorkerMetrics {
        &self.metrics
    }

    /// Forgets one that is being dropped.
    pub fn forget(&self, serial: Serial, username: &Username) {
        self.by_serial.remove(&serial);
        let mut by_user = self.by_user.borrow_mut();
        if let Some(serials) = by_user.get_mut(username) {
            serials.remove(&serial);
            if serials.is_empty() {
                by_user.remove(username);
            }
        }
    }

    /// The one with a serial, if it is on this worker.
    pub fn get(&self, serial: Serial) -> Option<Rc<S>> {
        self.by_serial.get(&serial)
    }

    /// Those of a user, the oldest first.
    pub fn of_user(&self, username: &Username) -> Vec<Rc<S>> {
        let by_user = self.by_user.borrow();
        let serials = by_user.get(username).into_iter().flat_map(SmallMap::keys);
        serials.filter_map(|serial| self.get(*serial)).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Rc<S>> {
        self.by_serial.values()
    }

    /// How many there are, and of how many users.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.by_serial.len(), self.by_user.borrow().len())
    }
}
