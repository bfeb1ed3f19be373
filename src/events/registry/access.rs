use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::domain::Username;

/// Whether the streams of a user may go on, which each of them looks at without a lock.
pub struct Access {
    username: Username,
    ended: AtomicBool,
    changes: AtomicU64,
}

impl Access {
    pub fn new(username: &Username) -> Self {
        Self { username: username.clone(), ended: AtomicBool::new(false), changes: AtomicU64::new(0) }
    }

    pub fn username(&self) -> &Username {
        &self.username
    }

    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub fn change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}
