use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::latest::LatestByName;
use super::lock::lock;
use super::mailbox::{Mailbox, WorkerNotifier};
use super::shared_event::SharedEvent;
use crate::domain::{Position, TenantName, Timestamp};

/// How many bytes of events a tenant's channel keeps at most, for streams that are a little behind. A stream that is further behind
/// reads from the store.
const RECENT_BYTES: usize = 256 << 10;
/// How many bytes all channels together keep. The more of it is used, the less a channel may keep.
const ALL_RECENT_BYTES: usize = 64 << 20;
/// What a channel may keep even then.
const MIN_RECENT_BYTES: usize = 1 << 10;
/// How much the latest events of a tenant may take in memory; if they take more, new subscribers read them from the store.
const LATEST_BYTES: usize = 16 << 20;
/// How much those of all tenants may take. No tenant has more of that than it leaves to the others.
const ALL_LATEST_BYTES: usize = 64 << 20;

/// How many of the latest events are looked at in a row: meanwhile the writer waits. A look costs a few comparisons, however many
/// events a stream leaves out.
const MAX_LOOKED_AT: usize = 1024;

/// One tenant's events in memory, and the workers that have subscriptions to them. It exists while there is one, and a while longer.
pub struct Channel {
    recent: Mutex<Recent>,
    /// For streams that wait until the latest events have been read from the store: once is enough.
    settled: Arc<Notify>,
    notifiers: Mutex<Vec<Arc<WorkerNotifier>>>,
    used: Arc<Used>,
}

/// How many bytes all channels together have in memory.
#[derive(Default)]
pub struct Used {
    recent: AtomicUsize,
    latest: AtomicUsize,
}

/// The newest events of a tenant: all of those after `start`.
struct Recent {
    start: Position,
    events: VecDeque<Arc<SharedEvent>>,
    bytes: usize,
    /// Whether the workers have yet to be told.
    pending: bool,
    latest: Filled,
    /// The reading of the latest events that counts. What an earlier one has read may have been erased since.
    filling: u64,
}

/// Whether the latest event of every name is in memory.
pub enum Filled {
    /// Nobody has asked for it yet.
    Not,
    /// What has been read so far, and what was published since the reading began.
    Partly(LatestByName),
    /// All of it, once the channel has come to this position: until then a name may be missing that was overwritten as it was
    /// read.
    Wholly(LatestByName, Position),
    /// It would take too much.
    Never,
}

/// The answer to a request to have the latest event of every name in memory.
pub enum Fill {
    /// The caller is to read them.
    Begun(Filling),
    /// Another caller reads them.
    UnderWay,
    /// They are there, or would take too much.
    Settled,
}

/// What the adding of an event came to.
pub struct Pushed {
    /// Whether it is the first event since the workers were told.
    pub is_first: bool,
    /// The latest events, if they have become too much. To be dropped while nothing is locked: there may be many.
    pub too_much: Option<Filled>,
}

/// The reading of the latest event of every name. Dropped before its end, it leaves nothing behind.
pub struct Filling {
    channel: Arc<Channel>,
    until: Position,
    number: u64,
}

/// What was in memory, to be dropped while nothing is locked.
pub struct Forgotten {
    _events: VecDeque<Arc<SharedEvent>>,
    _latest: Filled,
}

/// What a channel has after a position.
pub enum Found {
    /// Nothing new.
    Nothing,
    /// Events of about as many bytes as were asked for, and the position after them; none if what is new has expired.
    Events(Vec<Arc<SharedEvent>>, Position),
    /// The position is older than everything here.
    Behind,
}

impl Channel {
    /// A channel for what comes after a position.
    pub fn new(start: Position, used: Arc<Used>) -> Self {
        let latest = Filled::Not;
        let recent = Recent { start, events: VecDeque::new(), bytes: 0, pending: false, latest, filling: 0 };
        Self { recent: Mutex::new(recent), settled: Arc::default(), notifiers: Mutex::default(), used }
    }

    /// Adds an event; they come in order.
    pub fn push(&self, event: Arc<SharedEvent>) -> Pushed {
        let mut recent = lock(&self.recent);
        // The channel is younger than this event: the stream for which it was made reads it from the store.
        if event.position() <= recent.start {
            return Pushed { is_first: false, too_much: None };
        }
        let too_much = self.take_latest(&mut recent, &event);
        let before = recent.bytes;
        recent.bytes += event.bytes();
        recent.events.push_back(event);
        let of_all = self.used.recent.load(Ordering::Relaxed);
        let allowed = (ALL_RECENT_BYTES.saturating_sub(of_all) / 8).clamp(MIN_RECENT_BYTES, RECENT_BYTES);
        // The newest stays: the workers have yet to fetch it. But a large one does not if there are too many of them: then the workers
        // read it from the store.
        let is_too_much = |bytes: usize| bytes > RECENT_BYTES && of_all + bytes > ALL_RECENT_BYTES;
        while recent.bytes > allowed && (recent.events.len() > 1 || is_too_much(recent.bytes)) {
            let Some(old) = recent.events.pop_front() else { break };
            recent.bytes -= old.bytes();
            recent.start = old.position();
        }
        let after = recent.bytes;
        // Wraps if less is kept than before, as it should.
        self.used.recent.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        Pushed { is_first: !std::mem::replace(&mut recent.pending, true), too_much }
    }

    /// Takes an event among the latest ones, if they are in memory. Returns them if they have become too much.
    fn take_latest(&self, recent: &mut Recent, event: &Arc<SharedEvent>) -> Option<Filled> {
        let (Filled::Partly(latest) | Filled::Wholly(latest, _)) = &mut recent.latest else { return None };
        let before = latest.bytes();
        latest.take(Arc::clone(event));
        let after = latest.bytes();
        let of_all =
            self.used.latest.fetch_add(after.wrapping_sub(before), Ordering::Relaxed).wrapping_add(after) - before;
        if after > LATEST_BYTES.min(ALL_LATEST_BYTES.saturating_sub(of_all)) {
            self.used.latest.fetch_sub(after, Ordering::Relaxed);
            return Some(std::mem::replace(&mut recent.latest, Filled::Never));
        }
        None
    }

    /// Has the latest event of every name in memory from now on, unless that has been settled already.
    pub fn begin_filling(channel: &Arc<Self>) -> Fill {
        let mut recent = lock(&channel.recent);
        match recent.latest {
            Filled::Not => {}
            Filled::Partly(_) => return Fill::UnderWay,
            Filled::Wholly(..) | Filled::Never => return Fill::Settled,
        }
        // From here on what is published is taken as it comes.
        recent.latest = Filled::Partly(LatestByName::default());
        recent.filling += 1;
        Fill::Begun(Filling { channel: Arc::clone(channel), until: recent.end(), number: recent.filling })
    }

    /// Forgets all events that are in memory: streams read them from the store. A reading of the latest ones that is under way
    /// comes to nothing.
    pub fn forget(&self) -> Forgotten {
        let mut recent = lock(&self.recent);
        recent.start = recent.end();
        self.used.recent.fetch_sub(std::mem::take(&mut recent.bytes), Ordering::Relaxed);
        let _events = std::mem::take(&mut recent.events);
        recent.filling += 1;
        if let Filled::Partly(latest) | Filled::Wholly(latest, _) = &recent.latest {
            self.used.latest.fetch_sub(latest.bytes(), Ordering::Relaxed);
        }
        Forgotten { _events, _latest: std::mem::replace(&mut recent.latest, Filled::Not) }
    }

    /// Resolves when a reading that is under way by now has ended.
    pub fn settled(&self) -> OwnedNotified {
        Arc::clone(&self.settled).notified_owned()
    }

    /// The latest events after one position, up to another, that are wanted, of about so many bytes; the position after them; and
    /// the position up to which a name may have been left out since it was overwritten. `None` if they are not in memory. The caller
    /// encodes and joins them, since the writer waits for this.
    pub fn latest(
        &self,
        after: Position,
        until: Position,
        bytes: usize,
        wanted: impl Fn(&SharedEvent) -> bool,
    ) -> Option<(Vec<Arc<SharedEvent>>, Position, Position)> {
        let recent = lock(&self.recent);
        let Filled::Wholly(latest, left_out) = &recent.latest else { return None };
        let (mut events, mut size, mut last) = (Vec::new(), 0, until);
        for (number, event) in latest.between(after, until).enumerate() {
            if wanted(event) {
                size += event.bytes();
                events.push(Arc::clone(event));
            }
            if size >= bytes || number >= MAX_LOOKED_AT {
                last = event.position();
                break;
            }
        }
        Some((events, last, recent.end().max(*left_out)))
    }

    /// Tells every worker that has subscriptions here.
    pub fn notify(&self) {
        lock(&self.recent).pending = false;
        for notifier in lock(&self.notifiers).iter() {
            notifier.tell();
        }
    }

    /// The position of the newest event.
    pub fn end(&self) -> Position {
        lock(&self.recent).end()
    }

    /// How many events there are after a position.
    pub fn count_after(&self, after: Position) -> usize {
        let recent = lock(&self.recent);
        recent.events.len() - recent.events.partition_point(|event| event.position() <= after)
    }

    /// What there is after one position, up to another, without transient events that have expired by now. The caller picks what is
    /// wanted, since the writer waits for this.
    pub fn between(&self, after: Position, until: Position, bytes: usize, now: Timestamp) -> Found {
        let recent = lock(&self.recent);
        if after < recent.start {
            return Found::Behind;
        }
        let first = recent.events.partition_point(|event| event.position() <= after);
        let (mut events, mut size, mut last) = (Vec::new(), 0, after);
        for event in recent.events.range(first..).take_while(|event| event.position() <= until) {
            if size >= bytes {
                break;
            }
            last = event.position();
            if !event.has_expired(now) {
                size += event.bytes();
                events.push(Arc::clone(event));
            }
        }
        if last == after { Found::Nothing } else { Found::Events(events, last) }
    }

    /// Adds a worker that has subscriptions here.
    pub fn join(&self, tenant: TenantName, mailbox: &Arc<Mailbox>) -> Arc<WorkerNotifier> {
        let notifier = Arc::new(WorkerNotifier::new(tenant, mailbox));
        lock(&self.notifiers).push(Arc::clone(&notifier));
        notifier
    }

    /// Forgets a worker. Returns whether none is left.
    pub fn leave(&self, notifier: &Arc<WorkerNotifier>) -> bool {
        let mut notifiers = lock(&self.notifiers);
        notifiers.retain(|other| !Arc::ptr_eq(other, notifier));
        notifiers.is_empty()
    }
}

impl Filling {
    /// The position up to which they are to be read. Later events are taken as they are published.
    pub fn until(&self) -> Position {
        self.until
    }

    /// The channel that is filled.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Takes one that was read. Returns whether more are wanted: together they may have become too much.
    pub fn take(&self, event: &Arc<SharedEvent>) -> bool {
        let mut recent = lock(&self.channel.recent);
        if recent.filling != self.number {
            return false;
        }
        let too_much = self.channel.take_latest(&mut recent, event);
        let are_wanted = matches!(recent.latest, Filled::Partly(_));
        // The writer may wait for the lock, and the latest events may be many.
        drop(recent);
        drop(too_much);
        are_wanted
    }

    /// All of them have been read. Up to this position one may have been left out.
    pub fn finish(self, left_out: Position) {
        let mut recent = lock(&self.channel.recent);
        if recent.filling != self.number {
            return;
        }
        recent.latest = match std::mem::replace(&mut recent.latest, Filled::Never) {
            Filled::Partly(mut latest) => {
                latest.settle();
                Filled::Wholly(latest, left_out)
            }
            other => other,
        };
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        let mut recent = lock(&self.channel.recent);
        let mut unfinished = None;
        if let Filled::Partly(latest) = &recent.latest
            && recent.filling == self.number
        {
            self.channel.used.latest.fetch_sub(latest.bytes(), Ordering::Relaxed);
            unfinished = Some(std::mem::replace(&mut recent.latest, Filled::Not));
        }
        drop(recent);
        drop(unfinished);
        self.channel.settled.notify_waiters();
    }
}

impl Recent {
    fn end(&self) -> Position {
        self.events.back().map_or(self.start, |event| event.position())
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

#[cfg(test)]
mod tests;
