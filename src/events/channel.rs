use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::Frame;
use super::relay::Mailbox;
use crate::domain::{Position, TenantName};

/// How many bytes of frames a tenant's channel keeps at most, for those who are a little behind. Whoever is further
/// behind reads from the store.
const RECENT_BYTES: usize = 256 << 10;
/// How many bytes all channels together keep. The more of it is used, the less a channel may keep.
const ALL_RECENT_BYTES: usize = 64 << 20;
/// What a channel may keep even then.
const MIN_RECENT_BYTES: usize = 1 << 10;

/// The newest frames of one tenant, and the workers that listen for them. It exists while somebody listens.
pub struct Channel {
    recent: Mutex<Recent>,
    listeners: Mutex<Vec<Arc<Listener>>>,
    /// How much is kept by all channels.
    kept_by_all: Arc<AtomicUsize>,
}

/// The newest frames of a tenant: all of those after `start`.
struct Recent {
    start: Position,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Whether the listeners have yet to be told.
    untold: bool,
}

/// What is found after a position.
pub enum Found {
    /// Nothing new.
    Nothing,
    /// Those frames that were wanted, of about as many bytes as were asked for, and the position after them.
    Frames(Vec<Frame>, Position),
    /// The position is too old for here.
    Behind,
}

/// A worker that listens to a channel.
pub struct Listener {
    /// Whose events.
    pub tenant: TenantName,
    mailbox: Arc<Mailbox>,
    /// Whether the mailbox knows already.
    queued: AtomicBool,
}

impl Channel {
    /// A channel for what comes after a position.
    pub fn new(start: Position, kept_by_all: Arc<AtomicUsize>) -> Self {
        let recent = Recent { start, frames: VecDeque::new(), bytes: 0, untold: false };
        Self { recent: Mutex::new(recent), listeners: Mutex::new(Vec::new()), kept_by_all }
    }

    /// Adds a frame; they come in order. Whether it is the first since the listeners were told.
    pub fn push(&self, frame: Frame) -> bool {
        let mut recent = lock(&self.recent);
        // The channel is younger than this event: whoever made it reads it from the store.
        if frame.position <= recent.start {
            return false;
        }
        let before = recent.bytes;
        recent.bytes += frame.bytes.len();
        recent.frames.push_back(frame);
        let of_all = self.kept_by_all.load(Ordering::Relaxed);
        let allowed = (ALL_RECENT_BYTES.saturating_sub(of_all) / 8).clamp(MIN_RECENT_BYTES, RECENT_BYTES);
        // The newest always stays: the workers have yet to fetch it.
        while recent.bytes > allowed && recent.frames.len() > 1 {
            let Some(old) = recent.frames.pop_front() else { break };
            recent.bytes -= old.bytes.len();
            recent.start = old.position;
        }
        let after = recent.bytes;
        // Wraps where less is kept than before, as it should.
        self.kept_by_all.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        !std::mem::replace(&mut recent.untold, true)
    }

    /// Tells every worker that listens.
    pub fn notify(&self) {
        lock(&self.recent).untold = false;
        for listener in lock(&self.listeners).iter() {
            if !listener.queued.swap(true, Ordering::AcqRel) {
                listener.mailbox.post(Arc::clone(listener));
            }
        }
    }

    /// The position of the newest frame.
    pub fn end(&self) -> Position {
        let recent = lock(&self.recent);
        recent.frames.back().map_or(recent.start, |frame| frame.position)
    }

    /// What there is after one position, up to another, of what is wanted.
    pub fn between(&self, after: Position, until: Position, bytes: usize, wanted: impl Fn(&Frame) -> bool) -> Found {
        let recent = lock(&self.recent);
        if after < recent.start {
            return Found::Behind;
        }
        let first = recent.frames.partition_point(|frame| frame.position <= after);
        let (mut frames, mut size, mut last) = (Vec::new(), 0, after);
        for frame in recent.frames.range(first..).take_while(|frame| frame.position <= until) {
            if size >= bytes {
                break;
            }
            last = frame.position;
            if wanted(frame) {
                size += frame.bytes.len();
                frames.push(frame.clone());
            }
        }
        if last == after { Found::Nothing } else { Found::Frames(frames, last) }
    }

    /// Adds a worker that listens.
    pub fn join(&self, tenant: TenantName, mailbox: &Arc<Mailbox>) -> Arc<Listener> {
        let listener = Listener { tenant, mailbox: Arc::clone(mailbox), queued: AtomicBool::new(false) };
        let listener = Arc::new(listener);
        lock(&self.listeners).push(Arc::clone(&listener));
        listener
    }

    /// Forgets a worker that listens; whether none is left.
    pub fn leave(&self, listener: &Arc<Listener>) -> bool {
        let mut listeners = lock(&self.listeners);
        listeners.retain(|other| !Arc::ptr_eq(other, listener));
        listeners.is_empty()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.kept_by_all.fetch_sub(lock(&self.recent).bytes, Ordering::Relaxed);
    }
}

impl Listener {
    /// The worker is about to look: what comes from now on is told anew.
    pub fn heard(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

/// Locks; a panic elsewhere left nothing half done that these hold.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
