use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use super::channel::lock;
use super::hub::Inner;
use crate::domain::Username;

/// The open streams of one user, which end together.
pub struct Session {
    username: Username,
    ended: AtomicBool,
    hub: Weak<Inner>,
}

impl Session {
    pub(super) fn new(username: Username, hub: Weak<Inner>) -> Self {
        Self { username, ended: AtomicBool::new(false), hub }
    }

    /// Whether its streams must write nothing more.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(hub) = self.hub.upgrade() else { return };
        let mut sessions = lock(&hub.sessions);
        // Another may have taken the name's place since.
        if sessions.get(&self.username).is_some_and(|session| session.strong_count() == 0) {
            sessions.remove(&self.username);
        }
    }
}
