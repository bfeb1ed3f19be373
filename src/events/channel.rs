use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::Frame;
use super::latest::Latest;
use super::relay::Mailbox;
use crate::domain::{Position, TenantName};

/// How many bytes of frames a tenant's channel keeps at most, for those who are a little behind. Whoever is further
/// behind reads from the store.
const RECENT_BYTES: usize = 256 << 10;
/// How many bytes all channels together keep. The more of it is used, the less a channel may keep.
const ALL_RECENT_BYTES: usize = 64 << 20;
/// What a channel may keep even then.
const MIN_RECENT_BYTES: usize = 1 << 10;
/// How much the latest frames of a tenant may take in memory; where they are more, new subscribers read them from the store.
const LATEST_BYTES: usize = 16 << 20;
/// How much those of all tenants may take.
const ALL_LATEST_BYTES: usize = 64 << 20;

/// How many of the latest frames are looked at in a row: meanwhile the writer waits. A look costs a few comparisons, however
/// much somebody leaves out, so this is what it costs to copy what is given.
const MAX_LOOKED_AT: usize = 1024;

/// What one tenant's events are in memory, and the workers that listen for them. It exists while somebody listens, and a
/// while longer.
pub struct Channel {
    recent: Mutex<Recent>,
    /// Held by whoever reads the latest frames from the store: one is enough.
    filling: Mutex<()>,
    listeners: Mutex<Vec<Arc<Listener>>>,
    used: Arc<Used>,
}

/// How many bytes all channels together have in memory.
#[derive(Default)]
pub struct Used {
    recent: AtomicUsize,
    latest: AtomicUsize,
}

/// The newest frames of a tenant: all of those after `start`.
struct Recent {
    start: Position,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Whether the listeners have yet to be told.
    untold: bool,
    latest: Filled,
}

/// Whether the latest frame of every name is in memory.
enum Filled {
    /// Nobody has asked for it yet.
    Not,
    /// What came since somebody began to read it, and what they have read.
    Partly(Latest),
    /// All of it, once the channel has come to this position: until then a name may be missing that was overwritten as it was
    /// read.
    Wholly(Latest, Position),
    /// It would take too much.
    Never,
}

/// What is found after a position.
pub enum Found {
    /// Nothing new.
    Nothing,
    /// Frames of about as many bytes as were asked for, and the position after them.
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
    pub fn new(start: Position, used: Arc<Used>) -> Self {
        let recent = Recent { start, frames: VecDeque::new(), bytes: 0, untold: false, latest: Filled::Not };
        Self { recent: Mutex::new(recent), filling: Mutex::default(), listeners: Mutex::default(), used }
    }

    /// Adds a frame; they come in order. Whether it is the first since the listeners were told.
    pub fn push(&self, frame: Frame) -> bool {
        let mut recent = lock(&self.recent);
        // The channel is younger than this event: whoever made it reads it from the store.
        if frame.position <= recent.start {
            return false;
        }
        self.take_latest(&mut recent, &frame);
        let before = recent.bytes;
        recent.bytes += frame.bytes.len();
        recent.frames.push_back(frame);
        let of_all = self.used.recent.load(Ordering::Relaxed);
        let allowed = (ALL_RECENT_BYTES.saturating_sub(of_all) / 8).clamp(MIN_RECENT_BYTES, RECENT_BYTES);
        // The newest always stays: the workers have yet to fetch it.
        while recent.bytes > allowed && recent.frames.len() > 1 {
            let Some(old) = recent.frames.pop_front() else { break };
            recent.bytes -= old.bytes.len();
            recent.start = old.position;
        }
        let after = recent.bytes;
        // Wraps where less is kept than before, as it should.
        self.used.recent.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        !std::mem::replace(&mut recent.untold, true)
    }

    fn take_latest(&self, recent: &mut Recent, frame: &Frame) {
        let (Filled::Partly(latest) | Filled::Wholly(latest, _)) = &mut recent.latest else { return };
        let before = latest.bytes();
        latest.take(frame.clone());
        let after = latest.bytes();
        let of_all =
            self.used.latest.fetch_add(after.wrapping_sub(before), Ordering::Relaxed).wrapping_add(after) - before;
        if after > LATEST_BYTES || of_all > ALL_LATEST_BYTES {
            self.used.latest.fetch_sub(after, Ordering::Relaxed);
            recent.latest = Filled::Never;
        }
    }

    /// Has the latest frame of every name in memory from now on, if it is not too much. `read` gives those up to a position,
    /// and returns up to where it may have left one out; it blocks on the disk. Where another thread is at it already, it is
    /// waited for.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill<E>(&self, read: impl FnOnce(Position, &mut dyn FnMut(Frame)) -> Result<Position, E>) -> Result<(), E> {
        let _one = lock(&self.filling);
        let until = {
            let mut recent = lock(&self.recent);
            if !matches!(recent.latest, Filled::Not) {
                return Ok(());
            }
            // From here on what is published is taken as it comes.
            recent.latest = Filled::Partly(Latest::default());
            recent.end()
        };
        let outcome = read(until, &mut |frame| self.take_latest(&mut lock(&self.recent), &frame));
        let mut recent = lock(&self.recent);
        recent.latest = match (std::mem::replace(&mut recent.latest, Filled::Never), &outcome) {
            (Filled::Partly(mut latest), Ok(left_out)) => {
                latest.settle();
                Filled::Wholly(latest, *left_out)
            }
            (Filled::Partly(latest), Err(_)) => {
                self.used.latest.fetch_sub(latest.bytes(), Ordering::Relaxed);
                Filled::Not
            }
            (other, _) => other,
        };
        outcome.map(drop)
    }

    /// The latest frames after one position, up to another, that are wanted, of about so many bytes, the position after them, and
    /// up to where a name may have been left out since it was overwritten; `None` where they are not in memory.
    pub fn latest<T>(
        &self,
        after: Position,
        until: Position,
        bytes: usize,
        wanted: impl Fn(&Frame) -> bool,
        join: impl FnOnce(&[&Frame]) -> T,
    ) -> Option<(T, Position, Position)> {
        let recent = lock(&self.recent);
        let Filled::Wholly(latest, left_out) = &recent.latest else { return None };
        let (mut frames, mut size, mut last) = (Vec::new(), 0, until);
        for (number, frame) in latest.between(after, until).enumerate() {
            if wanted(frame) {
                size += frame.bytes.len();
                frames.push(frame);
            }
            if size >= bytes || number >= MAX_LOOKED_AT {
                last = frame.position;
                break;
            }
        }
        Some((join(&frames), last, recent.end().max(*left_out)))
    }

    /// Tells every worker that listens.
    pub fn notify(&self) {
        lock(&self.recent).untold = false;
        for listener in lock(&self.listeners).iter() {
            listener.tell();
        }
    }

    /// The position of the newest frame.
    pub fn end(&self) -> Position {
        lock(&self.recent).end()
    }

    /// What there is after one position, up to another, for whoever wants it: that is for the caller to look at, since the writer
    /// waits for this.
    pub fn between(&self, after: Position, until: Position, bytes: usize) -> Found {
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
            size += frame.bytes.len();
            frames.push(frame.clone());
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

impl Recent {
    fn end(&self) -> Position {
        self.frames.back().map_or(self.start, |frame| frame.position)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let recent = lock(&self.recent);
        self.used.recent.fetch_sub(recent.bytes, Ordering::Relaxed);
        if let Filled::Partly(latest) | Filled::Wholly(latest, _) = &recent.latest {
            self.used.latest.fetch_sub(latest.bytes(), Ordering::Relaxed);
        }
    }
}

impl Listener {
    /// Has the worker look, where it is not about to.
    pub fn tell(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.mailbox.post(Arc::clone(self));
        }
    }

    /// The worker is about to look: what comes from now on is told anew.
    pub fn heard(&self) {
        self.queued.store(false, Ordering::Release);
    }
}

/// Locks; a panic elsewhere left nothing half done that these hold.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
