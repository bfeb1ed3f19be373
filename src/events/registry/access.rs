use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::domain::Username;

/// Whether the streams of a user may go on, which each of them looks at without a lock.
pub struct Access {
    username: Username,
    ended: AtomicBool,
    changes: AtomicU64,
}

impl Access {
    /// That of a user, for streams which may go on.
    pub fn new(username: &Username) -> Self {
        Self { username: username.clone(), ended: AtomicBool::new(false), changes: AtomicU64::new(0) }
    }

    /// The user.
    pub fn username(&self) -> &Username {
        &self.username
    }

    /// Whether the streams must write nothing more.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Ends the streams, for good.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// How often the events that the user may see have changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Counts that they have changed once more.
    pub fn change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}
