use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::frame::Frame;
use super::latest::LatestFrames;
use super::lock::lock;
use super::mailbox::{Mailbox, WorkerNotifier};
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
/// How much those of all tenants may take, of which none has more than it leaves to the others.
const ALL_LATEST_BYTES: usize = 64 << 20;

/// How many of the latest frames are looked at in a row: meanwhile the writer waits. A look costs a few comparisons, however
/// much somebody leaves out.
const MAX_LOOKED_AT: usize = 1024;

/// What one tenant's events are in memory, and the workers that listen for them. It exists while somebody listens, and a
/// while longer.
pub struct Channel {
    recent: Mutex<Recent>,
    /// For those who wait until the latest frames have been read from the store: once is enough.
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

/// The newest frames of a tenant: all of those after `start`.
struct Recent {
    start: Position,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Whether the listeners have yet to be told.
    pending: bool,
    latest: Filled,
}

/// Whether the latest frame of every name is in memory.
enum Filled {
    /// Nobody has asked for it yet.
    Not,
    /// What came since somebody began to read it, and what they have read.
    Partly(LatestFrames),
    /// All of it, once the channel has come to this position: until then a name may be missing that was overwritten as it was
    /// read.
    Wholly(LatestFrames, Position),
    /// It would take too much.
    Never,
}

/// What comes of asking for the latest frame of every name to be in memory.
pub enum Fill {
    /// Who asks is to read them.
    Begun(Filling),
    /// Somebody reads them.
    UnderWay,
    /// They are there, or would take too much.
    Settled,
}

/// The reading of the latest frame of every name. Dropped before its end, it leaves nothing behind.
pub struct Filling {
    channel: Arc<Channel>,
    until: Position,
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

impl Channel {
    /// A channel for what comes after a position.
    pub fn new(start: Position, used: Arc<Used>) -> Self {
        let recent = Recent { start, frames: VecDeque::new(), bytes: 0, pending: false, latest: Filled::Not };
        Self { recent: Mutex::new(recent), settled: Arc::default(), notifiers: Mutex::default(), used }
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
        // The newest stays: the workers have yet to fetch it. But not a large one where there are too many of them; then the workers
        // read it from the store.
        let is_too_much = |bytes: usize| bytes > RECENT_BYTES && of_all + bytes > ALL_RECENT_BYTES;
        while recent.bytes > allowed && (recent.frames.len() > 1 || is_too_much(recent.bytes)) {
            let Some(old) = recent.frames.pop_front() else { break };
            recent.bytes -= old.bytes.len();
            recent.start = old.position;
        }
        let after = recent.bytes;
        // Wraps where less is kept than before, as it should.
        self.used.recent.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        !std::mem::replace(&mut recent.pending, true)
    }

    fn take_latest(&self, recent: &mut Recent, frame: &Frame) {
        let (Filled::Partly(latest) | Filled::Wholly(latest, _)) = &mut recent.latest else { return };
        let before = latest.bytes();
        latest.take(frame.clone());
        let after = latest.bytes();
        let of_all =
            self.used.latest.fetch_add(after.wrapping_sub(before), Ordering::Relaxed).wrapping_add(after) - before;
        if after > LATEST_BYTES.min(ALL_LATEST_BYTES.saturating_sub(of_all)) {
            self.used.latest.fetch_sub(after, Ordering::Relaxed);
            recent.latest = Filled::Never;
        }
    }

    /// Has the latest frame of every name in memory from now on, where that has not been settled yet.
    pub fn begin_filling(channel: &Arc<Self>) -> Fill {
        let mut recent = lock(&channel.recent);
        match recent.latest {
            Filled::Not => {}
            Filled::Partly(_) => return Fill::UnderWay,
            Filled::Wholly(..) | Filled::Never => return Fill::Settled,
        }
        // From here on what is published is taken as it comes.
        recent.latest = Filled::Partly(LatestFrames::default());
        Fill::Begun(Filling { channel: Arc::clone(channel), until: recent.end() })
    }

    /// Resolves when a reading that is under way by now has ended.
    pub fn settled(&self) -> OwnedNotified {
        Arc::clone(&self.settled).notified_owned()
    }

    /// The latest frames after one position, up to another, that are wanted, of about so many bytes, the position after them, and
    /// up to where a name may have been left out since it was overwritten; `None` where they are not in memory. To join them is for
    /// the caller, since the writer waits for this.
    pub fn latest(
        &self,
        after: Position,
        until: Position,
        bytes: usize,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Option<(Vec<Bytes>, Position, Position)> {
        let recent = lock(&self.recent);
        let Filled::Wholly(latest, left_out) = &recent.latest else { return None };
        let (mut frames, mut size, mut last) = (Vec::new(), 0, until);
        for (number, frame) in latest.between(after, until).enumerate() {
            if wanted(frame) {
                size += frame.bytes.len();
                frames.push(frame.bytes.clone());
            }
            if size >= bytes || number >= MAX_LOOKED_AT {
                last = frame.position;
                break;
            }
        }
        Some((frames, last, recent.end().max(*left_out)))
    }

    /// Tells every worker that listens.
    pub fn notify(&self) {
        lock(&self.recent).pending = false;
        for notifier in lock(&self.notifiers).iter() {
            notifier.tell();
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
    pub fn join(&self, tenant: TenantName, mailbox: &Arc<Mailbox>) -> Arc<WorkerNotifier> {
        let notifier = Arc::new(WorkerNotifier::new(tenant, mailbox));
        lock(&self.notifiers).push(Arc::clone(&notifier));
        notifier
    }

    /// Forgets a worker that listens; whether none is left.
    pub fn leave(&self, notifier: &Arc<WorkerNotifier>) -> bool {
        let mut notifiers = lock(&self.notifiers);
        notifiers.retain(|other| !Arc::ptr_eq(other, notifier));
        notifiers.is_empty()
    }
}

impl Filling {
    /// Up to where they are to be read; what comes later is taken as it comes.
    pub fn until(&self) -> Position {
        self.until
    }

    /// Whose they are.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Takes one that was read; whether others are wanted, or they have become too much.
    pub fn take(&self, frame: &Frame) -> bool {
        let mut recent = lock(&self.channel.recent);
        self.channel.take_latest(&mut recent, frame);
        matches!(recent.latest, Filled::Partly(_))
    }

    /// All of them have been read; up to there one may have been left out.
    pub fn finish(self, left_out: Position) {
        let mut recent = lock(&self.channel.recent);
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
        if let Filled::Partly(latest) = &recent.latest {
            self.channel.used.latest.fetch_sub(latest.bytes(), Ordering::Relaxed);
            recent.latest = Filled::Not;
        }
        drop(recent);
        self.channel.settled.notify_waiters();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EventName;

    /// What a frame costs beside its bytes and its name.
    const FRAME_COSTS: usize = 200;

    /// A frame of so many bytes at a position.
    fn frame(position: u64, bytes: usize) -> Frame {
        let name = EventName::parse(&format!("name{position}")).unwrap();
        Frame { position: Position::new(position), name, bytes: vec![b'x'; bytes].into(), is_removal: false }
    }

    #[test]
    fn large_frames_are_kept_for_the_workers_only_while_those_of_all_tenants_are_not_too_much() {
        const LARGE: usize = 1 << 20;
        let used = Arc::new(Used::default());
        let channels: Vec<_> = (0..100).map(|_| Channel::new(Position::START, Arc::clone(&used))).collect();
        for channel in &channels {
            channel.push(frame(1, LARGE));
            assert_eq!(channel.end(), Position::new(1), "it is told whether it is kept or not");
        }
        assert!(used.recent.load(Ordering::Relaxed) <= ALL_RECENT_BYTES);
        let found = |channel: &Channel| channel.between(Position::START, Position::END, 1);
        let kept = channels.iter().filter(|channel| matches!(found(channel), Found::Frames(..))).count();
        assert_eq!(kept, ALL_RECENT_BYTES / LARGE);
        // The others read it from the store, and what comes after it is there again.
        let last = channels.last().unwrap();
        assert!(matches!(found(last), Found::Behind));
        last.push(frame(2, 100));
        assert!(
            matches!(last.between(Position::new(1), Position::END, 1), Found::Frames(frames, _) if frames.len() == 1)
        );
        drop(channels);
        assert_eq!(used.recent.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_latest_of_a_small_tenant_stay_in_memory_however_much_large_ones_take() {
        let used = Arc::new(Used::default());
        let filled = |frames: &mut dyn Iterator<Item = Frame>| {
            let channel = Arc::new(Channel::new(Position::START, Arc::clone(&used)));
            let Fill::Begun(filling) = Channel::begin_filling(&channel) else { panic!("somebody fills it") };
            for frame in frames {
                filling.take(&frame);
            }
            filling.finish(Position::START);
            channel
        };
        let is_there = |channel: &Channel| matches!(lock(&channel.recent).latest, Filled::Wholly(..));
        // Each as much as one may take, to the byte: the names are of five to six bytes.
        let large: Vec<_> = (0..4)
            .map(|_| {
                filled(
                    &mut (1..=16)
                        .map(|number| frame(number, (1 << 20) - FRAME_COSTS - if number < 10 { 5 } else { 6 })),
                )
            })
            .collect();
        assert!(large.iter().filter(|channel| is_there(channel)).count() >= 3);
        let small = filled(&mut [frame(1, 100)].into_iter());
        small.push(frame(2, 100));
        assert!(is_there(&small));
        drop((large, small));
        assert_eq!(used.latest.load(Ordering::Relaxed), 0);
    }
}
