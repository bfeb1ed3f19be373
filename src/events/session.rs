use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::channel::lock;
use super::hub::Inner;
use super::relay::Mailbox;
use crate::domain::Username;

/// What its user calls a stream by; of no use to anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(u64);

impl StreamId {
    /// One that no other stream has.
    pub fn random() -> Self {
        Self(u64::from_be_bytes(crate::random::bytes()))
    }

    /// One that was kept as a number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// As a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Reads what its `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hexadecimal = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hexadecimal.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The open streams of one user, which end together.
pub struct Session {
    pub(super) username: Username,
    ended: AtomicBool,
    /// How often what the user may see has changed.
    changes: AtomicU64,
    /// Which streams there are, the oldest first, and the worker of each.
    streams: Mutex<Vec<(StreamId, Arc<Mailbox>)>>,
    hub: Weak<Inner>,
}

impl Session {
    pub(super) fn new(username: Username, hub: Weak<Inner>) -> Self {
        let (ended, changes) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { username, ended, changes, streams: Mutex::default(), hub }
    }

    /// Whether its streams must write nothing more.
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// How often what the user may see has changed. Who opens a stream looks at this before they look at the user's rights.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Adds a stream; those that are too many then, the oldest ones.
    pub(super) fn add(&self, id: StreamId, mailbox: &Arc<Mailbox>, at_most: usize) -> Vec<(StreamId, Arc<Mailbox>)> {
        let mut streams = lock(&self.streams);
        if streams.is_empty() {
            // Nearly everybody has one.
            streams.reserve_exact(1);
        }
        streams.push((id, Arc::clone(mailbox)));
        let too_many = streams.len().saturating_sub(at_most);
        streams.drain(..too_many).collect()
    }

    pub(super) fn remove(&self, id: StreamId) {
        lock(&self.streams).retain(|(other, _)| *other != id);
    }

    /// The worker of a stream.
    pub(super) fn worker_of(&self, id: StreamId) -> Option<Arc<Mailbox>> {
        lock(&self.streams).iter().find(|(other, _)| *other == id).map(|(_, mailbox)| Arc::clone(mailbox))
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
