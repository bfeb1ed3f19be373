use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::hub::Inner;
use super::lock::lock;
use super::mailbox::Mailbox;
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

/// Which of all streams of a hub one is. What it is called by passes on to the stream that goes on for it; this does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial(u64);

/// What numbers the streams.
#[derive(Default)]
pub struct Serials(AtomicU64);

impl Serials {
    /// That of a new stream.
    pub fn next(&self) -> Serial {
        Serial(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// An open stream of a user.
struct Open {
    id: StreamId,
    serial: Serial,
    mailbox: Arc<Mailbox>,
}

/// The open streams of one user, which end together.
pub struct UserStreams {
    pub(super) username: Username,
    ended: AtomicBool,
    /// How often what the user may see has changed.
    changes: AtomicU64,
    /// Which streams there are, the oldest first.
    streams: Mutex<Vec<Open>>,
    hub: Weak<Inner>,
}

impl UserStreams {
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

    /// Adds a stream; those that are too many then, the oldest ones, each with its worker.
    pub(super) fn add(
        &self,
        id: StreamId,
        serial: Serial,
        mailbox: &Arc<Mailbox>,
        at_most: usize,
    ) -> Vec<(Serial, Arc<Mailbox>)> {
        let mut streams = lock(&self.streams);
        if streams.is_empty() {
            // Nearly everybody has one.
            streams.reserve_exact(1);
        }
        streams.push(Open { id, serial, mailbox: Arc::clone(mailbox) });
        let too_many = streams.len().saturating_sub(at_most);
        streams.drain(..too_many).map(|oldest| (oldest.serial, oldest.mailbox)).collect()
    }

    pub(super) fn remove(&self, serial: Serial) {
        lock(&self.streams).retain(|other| other.serial != serial);
    }

    #[cfg(test)]
    pub(super) fn only(&self) -> StreamId {
        let streams = lock(&self.streams);
        assert_eq!(streams.len(), 1);
        streams[0].id
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.streams).is_empty()
    }

    /// The stream that is called by this now, and its worker.
    pub(super) fn stream(&self, id: StreamId) -> Option<(Serial, Arc<Mailbox>)> {
        let streams = lock(&self.streams);
        let open = streams.iter().find(|open| open.id == id)?;
        Some((open.serial, Arc::clone(&open.mailbox)))
    }
}

impl Drop for UserStreams {
    fn drop(&mut self) {
        let Some(hub) = self.hub.upgrade() else { return };
        let mut user_streams = lock(&hub.user_streams);
        // Another may have taken the name's place since.
        if user_streams.get(&self.username).is_some_and(|user_streams| user_streams.strong_count() == 0) {
            user_streams.remove(&self.username);
        }
    }
}
