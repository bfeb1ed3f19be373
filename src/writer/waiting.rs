//! How much may wait for the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;

/// How many changes may wait, apart from those that nobody can do without. More are refused, so that memory is bounded and an answer
/// never takes long.
pub const QUEUE: usize = 4096;
/// How many bytes they may hold together.
const QUEUE_BYTES: usize = 64 << 20;

/// How many changes wait, and how many bytes they hold.
#[derive(Debug, Default)]
pub struct Waits {
    changes: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waits {
    /// How many changes wait, and how many bytes they hold.
    pub fn now(&self) -> (usize, usize) {
        (self.changes.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// A change that is counted while it waits.
#[derive(Debug)]
pub struct Waiting {
    bytes: usize,
    of_all: Arc<Waits>,
}

impl Waiting {
    /// Counts a change of so many bytes, if there is room for it.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there is none.
    pub fn count(bytes: usize, of_all: &Arc<Waits>) -> Result<Self, Error> {
        let waiting = Self { bytes, of_all: Arc::clone(of_all) };
        let changes = of_all.changes.fetch_add(1, Ordering::Relaxed);
        let before = of_all.bytes.fetch_add(bytes, Ordering::Relaxed);
        if changes >= QUEUE || before + bytes > QUEUE_BYTES { Err(Error::Overloaded) } else { Ok(waiting) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.of_all.changes.fetch_sub(1, Ordering::Relaxed);
        self.of_all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
