use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use slab::Slab;

use super::frame::Frame;
use super::relay::Mailbox;
use crate::domain::{EventFilter, Position};

/// How many bytes of frames a tenant's channel keeps for those who are a little behind. Whoever is further behind reads
/// from the store.
const RECENT_BYTES: usize = 256 << 10;
/// How much is joined into one write at most.
pub const JOINED_BYTES: usize = 64 << 10;

/// The listeners of one tenant, and the newest frames for them. It exists while somebody listens.
pub struct Channel {
    recent: Mutex<Recent>,
    listeners: Mutex<Vec<Arc<Listener>>>,
}

/// The newest frames of a tenant: all of those after `start`.
struct Recent {
    start: Position,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The last join that was made, for the next subscriber who stands where that one stood and wants all.
    joined: Option<(Position, Position, Bytes)>,
}

/// What a subscriber at a position finds.
pub enum Found {
    /// Nothing new.
    Nothing,
    /// Frames, joined, and the position after them. None of them may be wanted.
    Frames(Option<Bytes>, Position),
    /// The position is too old for here.
    Behind,
}

/// Those who listen to one channel on one worker.
pub struct Listener {
    pub mailbox: Arc<Mailbox>,
    /// Whether the mailbox knows already.
    queued: AtomicBool,
    waiting: Mutex<Slab<Option<Waker>>>,
}

impl Channel {
    /// A channel for what comes after a position.
    pub fn new(start: Position) -> Self {
        let recent = Recent { start, frames: VecDeque::new(), bytes: 0, joined: None };
        Self { recent: Mutex::new(recent), listeners: Mutex::new(Vec::new()) }
    }

    /// Adds a frame; they come in order.
    pub fn push(&self, frame: Frame) {
        let mut recent = lock(&self.recent);
        // The channel is younger than this event: whoever made it reads it from the store.
        if frame.position <= recent.start {
            return;
        }
        recent.bytes += frame.bytes.len();
        recent.frames.push_back(frame);
        while recent.bytes > RECENT_BYTES {
            let Some(old) = recent.frames.pop_front() else { break };
            recent.bytes -= old.bytes.len();
            recent.start = old.position;
        }
    }

    /// Tells every worker that has listeners here.
    pub fn notify(&self) {
        for listener in lock(&self.listeners).iter() {
            if !listener.queued.swap(true, Ordering::AcqRel) {
                listener.mailbox.post(Arc::clone(listener));
            }
        }
    }

    /// What there is after a position, for a filter.
    pub fn after(&self, position: Position, filter: &EventFilter) -> Found {
        let mut recent = lock(&self.recent);
        if position < recent.start {
            return Found::Behind;
        }
        let first = recent.frames.partition_point(|frame| frame.position <= position);
        let Some(newest) = recent.frames.get(first) else { return Found::Nothing };
        // The usual case, at low load: one frame, which everybody shares as it is.
        if first + 1 == recent.frames.len() {
            return Found::Frames(filter.matches(newest.name.as_str()).then(|| newest.bytes.clone()), newest.position);
        }
        let wants_all = filter.patterns().is_none();
        if wants_all
            && let Some((from, until, bytes)) = &recent.joined
            && *from == position
            // One that was cut at the limit is as good as it was; one that was not may have grown.
            && (bytes.len() >= JOINED_BYTES || recent.frames.back().is_some_and(|last| last.position == *until))
        {
            return Found::Frames(Some(bytes.clone()), *until);
        }
        let (mut joined, mut until) = (BytesMut::new(), position);
        for frame in recent.frames.range(first..) {
            if filter.matches(frame.name.as_str()) {
                joined.extend_from_slice(&frame.bytes);
            }
            until = frame.position;
            if joined.len() >= JOINED_BYTES {
                break;
            }
        }
        let joined = joined.freeze();
        if wants_all {
            recent.joined = Some((position, until, joined.clone()));
        }
        Found::Frames((!joined.is_empty()).then_some(joined), until)
    }

    /// The listener of a worker, made where there is none.
    pub fn listener(&self, mailbox: &Arc<Mailbox>) -> Arc<Listener> {
        let mut listeners = lock(&self.listeners);
        if let Some(listener) = listeners.iter().find(|listener| Arc::ptr_eq(&listener.mailbox, mailbox)) {
            return Arc::clone(listener);
        }
        let listener = Arc::new(Listener {
            mailbox: Arc::clone(mailbox),
            queued: AtomicBool::new(false),
            waiting: Mutex::new(Slab::new()),
        });
        listeners.push(Arc::clone(&listener));
        listener
    }

    /// Forgets the listeners whom nobody waits at; whether none is left.
    pub fn prune(&self) -> bool {
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| !lock(&listener.waiting).is_empty());
        listeners.is_empty()
    }
}

impl Listener {
    /// Takes a place to be woken at.
    pub fn join(&self) -> usize {
        lock(&self.waiting).insert(None)
    }

    /// Gives the place back.
    pub fn leave(&self, place: usize) {
        lock(&self.waiting).remove(place);
    }

    /// Has a place woken by this waker when something comes.
    pub fn wait(&self, place: usize, waker: &Waker) {
        if let Some(slot) = lock(&self.waiting).get_mut(place) {
            match slot {
                Some(known) => known.clone_from(waker),
                None => *slot = Some(waker.clone()),
            }
        }
    }

    /// Wakes everybody here. What comes from now on is told anew.
    pub fn wake(&self) {
        self.queued.store(false, Ordering::Release);
        for (_, waker) in lock(&self.waiting).iter() {
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        }
    }
}

/// Locks; a panic elsewhere left nothing half done that these hold.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
