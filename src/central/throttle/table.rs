//! Allowances for any number of keys in bounded memory. No allowance is forgotten before it has refilled.
//!
//! Buckets are in sets, by a secret hash of their keys. A key has its own bucket as long as its set has room. A bucket
//! that has refilled makes room, because a new one would be the same. An attacker who makes so many guesses at once
//! that a set is full moves the other keys of that set to shared buckets. So guesses at many keys cannot make a bucket
//! be forgotten. Nor can they use up the allowances of all others: there are more shared buckets than guesses can be
//! made before they refill.

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::Error;

/// How many keys of a set have their own bucket.
const OWN: usize = 16;
/// How many buckets the other keys of a set share.
const SHARED: usize = 32;
/// How many guesses may wait for the results of others at the same key. More are refused.
const WAITING: u32 = 64;

/// How many failures are allowed at once, and how long it takes to regain one.
#[derive(Clone, Copy)]
pub struct Allowance {
    pub burst: u32,
    pub refill: Duration,
}

impl Allowance {
    /// How long it takes to regain this many failures.
    const fn time_of(self, failures: u32) -> Duration {
        self.refill.saturating_mul(failures)
    }
}

/// The time since some moment.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The same allowance for each of any number of keys.
pub struct Table {
    allowance: Allowance,
    hasher: RandomState,
    clock: Clock,
    sets: Box<[Mutex<Set>]>,
    /// How many guesses were refused since there were too many.
    refused: AtomicU64,
}

/// Where a guess is counted. It has to be settled once.
#[derive(Clone, Copy)]
#[must_use]
pub struct Place {
    set: usize,
    /// The index among a set's own buckets, followed by its shared ones.
    bucket: usize,
}

/// About 2 KiB if all of its buckets are in use; 56 bytes if none are.
#[derive(Default)]
struct Set {
    own: Vec<Bucket>,
    /// Allocated when they are needed.
    shared: Vec<Bucket>,
}

/// How many bytes a set takes if all of its buckets are in use.
#[cfg(test)]
pub const SET_BYTES: usize = size_of::<Mutex<Set>>() + (OWN + SHARED) * size_of::<Bucket>();

/// The rest of one allowance. Times are those of the table's clock.
#[derive(Default)]
struct Bucket {
    /// The hash of the key that owns it.
    key: u64,
    /// When all wrong guesses will be regained.
    whole_at: Duration,
    /// Guesses that are counted, and may still turn out to be right.
    under_way: u32,
    /// Guesses that wait for these.
    waiting: u32,
    /// Wakes one waiter when a guess has its result, or when a waiter gives up. It exists only while there are waiters.
    settled: Option<Arc<Notify>>,
}

enum Room {
    /// The guess is counted.
    Taken,
    /// There may be room after other guesses have their results.
    Later,
    /// There will be room after this time.
    After(Duration),
}

/// A place in the line before a bucket.
struct Waiting<'a> {
    table: &'a Table,
    place: Place,
    settled: Arc<Notify>,
}

impl Table {
    /// A table with at least this many sets, rounded up to a power of two.
    pub fn new(allowance: Allowance, sets: usize) -> Self {
        let started = Instant::now();
        Self::with_clock(allowance, sets, Box::new(move || started.elapsed()))
    }

    fn with_clock(allowance: Allowance, sets: usize, clock: Clock) -> Self {
        let sets = std::iter::repeat_with(Mutex::default).take(sets.next_power_of_two()).collect();
        Self { allowance, hasher: RandomState::new(), clock, sets, refused: AtomicU64::new(0) }
    }

    /// Counts a guess at a key, as soon as there is room for it. It is counted until it is settled.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] if too many guesses were wrong; [`Error::Overloaded`] if too many wait for results.
    pub async fn take(&self, key: impl Hash) -> Result<Place, Error> {
        let waiting = match self.begin(self.hasher.hash_one(key))? {
            Ok(place) => return Ok(place),
            Err(waiting) => waiting,
        };
        // The allowance is used up, but by guesses that may be right. A client that opens many connections at once is
        // no attacker.
        loop {
            // A result that came since is not missed, because the notification is stored.
            waiting.settled.notified().await;
            let now = (self.clock)();
            match self.lock(waiting.place.set).at(waiting.place.bucket).try_take(self.allowance, now) {
                Room::Taken => return Ok(waiting.place),
                Room::Later => {}
                Room::After(wait) => return Err(self.too_many(wait)),
            }
        }
    }

    /// Counts a guess, or takes a place in the line.
    fn begin(&self, key: u64) -> Result<Result<Place, Waiting<'_>>, Error> {
        let now = (self.clock)();
        // Truncated on purpose: the number of sets is a power of two.
        let set = key as usize & (self.sets.len() - 1);
        let mut guard = self.lock(set);
        let place = Place { set, bucket: guard.find(key, now) };
        let bucket = guard.at(place.bucket);
        match bucket.room(self.allowance, now) {
            Room::After(wait) => Err(self.too_many(wait)),
            // A new guess never overtakes the waiting ones.
            Room::Taken if bucket.waiting == 0 => {
                bucket.under_way += 1;
                Ok(Ok(place))
            }
            Room::Taken | Room::Later if bucket.waiting < WAITING => {
                bucket.waiting += 1;
                let settled = Arc::clone(bucket.settled.get_or_insert_default());
                Ok(Err(Waiting { table: self, place, settled }))
            }
            Room::Taken | Room::Later => Err(Error::Overloaded),
        }
    }

    /// A guess has its result. It stays counted if it was wrong.
    pub fn settle(&self, place: Place, was_wrong: bool) {
        let now = (self.clock)();
        let mut set = self.lock(place.set);
        // While the guess had no result, the bucket stayed with this key.
        let bucket = set.at(place.bucket);
        bucket.under_way -= 1;
        if was_wrong {
            bucket.whole_at = bucket.whole_at.max(now) + self.allowance.refill;
        }
        bucket.wake_one();
    }

    /// How many guesses were refused since the start because there were too many wrong ones.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn too_many(&self, wait: Duration) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Error::TooManyAttempts(wait.as_secs_f64().ceil().max(1.0) as u64)
    }

    fn lock(&self, set: usize) -> MutexGuard<'_, Set> {
        self.sets[set].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Set {
    /// The bucket that a key has now.
    fn find(&mut self, key: u64, now: Duration) -> usize {
        if let Some(own) = self.own.iter().position(|bucket| bucket.key == key) {
            return own;
        }
        // The bits of the hash differ from those that select the set.
        let shared = (key >> 32) as usize % SHARED;
        // A key that may have guesses in a shared bucket stays there, so that it gets no second allowance.
        let is_in_use = self.shared.get(shared).is_some_and(|bucket| !bucket.is_whole(now));
        let own = self.own.iter().position(|bucket| bucket.is_whole(now)).unwrap_or(self.own.len());
        if is_in_use || own == OWN {
            self.shared.resize_with(SHARED, Bucket::default);
            return OWN + shared;
        }
        let bucket = Bucket { key, ..Bucket::default() };
        if own == self.own.len() {
            self.own.push(bucket);
        } else {
            self.own[own] = bucket;
        }
        own
    }

    fn at(&mut self, bucket: usize) -> &mut Bucket {
        if bucket < OWN { &mut self.own[bucket] } else { &mut self.shared[bucket - OWN] }
    }
}

impl Bucket {
    /// Whether it has refilled, so that a new one would be the same. Another key may take it then.
    fn is_whole(&self, now: Duration) -> bool {
        self.whole_at <= now && self.under_way == 0 && self.waiting == 0
    }

    /// Whether there is room for one more guess.
    fn room(&self, allowance: Allowance, now: Duration) -> Room {
        let missing = self.whole_at.saturating_sub(now);
        let most = allowance.time_of(allowance.burst);
        if missing + allowance.time_of(self.under_way + 1) <= most {
            return Room::Taken;
        }
        match (missing + allowance.refill).saturating_sub(most) {
            // All guesses without a result may be right.
            Duration::ZERO => Room::Later,
            wait => Room::After(wait),
        }
    }

    fn try_take(&mut self, allowance: Allowance, now: Duration) -> Room {
        let room = self.room(allowance, now);
        if matches!(room, Room::Taken) {
            self.under_way += 1;
        }
        room
    }

    /// Wakes the first waiter, to look again.
    fn wake_one(&self) {
        if let Some(settled) = &self.settled {
            settled.notify_one();
        }
    }
}

impl Drop for Waiting<'_> {
    /// A waiter that gives up wakes the next one, for whatever reason it gave up: the notification that it got may be
    /// enough for another.
    fn drop(&mut self) {
        let mut set = self.table.lock(self.place.set);
        let bucket = set.at(self.place.bucket);
        bucket.waiting -= 1;
        bucket.wake_one();
        if bucket.waiting == 0 {
            bucket.settled = None;
        }
    }
}
