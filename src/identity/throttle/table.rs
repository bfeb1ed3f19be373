//! Allowances of any number of keys in bounded memory, of which none is forgotten before it is whole again.
//!
//! Buckets are in sets, by a hash of their key that nobody outside knows. A key has a bucket of its own as long as there is
//! room in its set; there, one that is whole again makes room, since a new one would be the same. Whoever makes so many
//! guesses at once that a set is full of others drives the rest of that set's keys into buckets that they share. So guesses
//! at many keys can neither bring a key's bucket to be forgotten, nor use up those of all others: there are more shared buckets
//! than guesses can be made before they are whole again.

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::Error;

/// How many keys of a set have a bucket of their own.
const OWN: usize = 16;
/// How many buckets the others of a set share.
const SHARED: usize = 32;
/// How many guesses may wait for others at the same key to come to something; more are refused.
const WAITING: u32 = 64;

/// Failures that are let through at once, and how long it takes to win one back.
#[derive(Clone, Copy)]
pub struct Allowance {
    pub burst: u32,
    pub refill: Duration,
}

impl Allowance {
    /// How long it takes to win back so many.
    const fn time_of(self, failures: u32) -> Duration {
        self.refill.saturating_mul(failures)
    }
}

/// Tells how much time has gone by since some moment.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The same allowance for each of any number of keys.
pub struct Table {
    allowance: Allowance,
    hasher: RandomState,
    clock: Clock,
    sets: Box<[Mutex<Set>]>,
}

/// One guess that is counted, until it has come to something.
#[must_use]
pub struct Held {
    table: Arc<Table>,
    place: Place,
    was_wrong: bool,
}

#[derive(Clone, Copy)]
struct Place {
    set: usize,
    /// Of a set's own buckets and, after those, of its shared ones.
    bucket: usize,
}

/// Some 2 KiB when all of its buckets are in use; without any, 40 bytes.
#[derive(Default)]
struct Set {
    own: Vec<Bucket>,
    /// Made once there is need for them.
    shared: Vec<Bucket>,
}

/// What is left of one allowance. Times are those of the table's clock.
#[derive(Default)]
struct Bucket {
    /// The hash of the key whose own it is.
    key: u64,
    /// When all wrong guesses will have been won back.
    whole_at: Duration,
    /// Guesses that are counted, and may yet turn out to be right.
    under_way: u32,
    /// Guesses that wait for these.
    waiting: u32,
    /// What they wait for: one is told when one under way has come to something, or has stopped waiting. Only as long as
    /// there are any.
    settled: Option<Arc<Notify>>,
}

enum Room {
    /// The guess is counted.
    Taken,
    /// There may be some once others have settled.
    Later,
    /// There will be some after so long.
    After(Duration),
}

/// A place in the line before a bucket.
struct Waiting<'a> {
    table: &'a Arc<Table>,
    place: Place,
    settled: Arc<Notify>,
}

impl Table {
    /// One with this many sets, or as many more as make a power of two.
    pub fn new(allowance: Allowance, sets: usize) -> Arc<Self> {
        let started = Instant::now();
        Self::with_clock(allowance, sets, Box::new(move || started.elapsed()))
    }

    fn with_clock(allowance: Allowance, sets: usize, clock: Clock) -> Arc<Self> {
        let sets = std::iter::repeat_with(Mutex::default).take(sets.next_power_of_two()).collect();
        Arc::new(Self { allowance, hasher: RandomState::new(), clock, sets })
    }

    /// Counts a guess at a key, once there is room for it.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] where too many were wrong; [`Error::Overloaded`] where too many wait to know.
    pub async fn take(self: &Arc<Self>, key: impl Hash) -> Result<Held, Error> {
        let waiting = match self.begin(self.hasher.hash_one(key))? {
            Ok(held) => return Ok(held),
            Err(waiting) => waiting,
        };
        // Used up, but by guesses that may be right: somebody who opens many connections at once is not an attacker.
        loop {
            // One that settled since is not missed: that is remembered.
            waiting.settled.notified().await;
            let now = (self.clock)();
            match self.lock(waiting.place.set).at(waiting.place.bucket).try_take(self.allowance, now) {
                Room::Taken => return Ok(self.held(waiting.place)),
                Room::Later => {}
                Room::After(wait) => return Err(too_many(wait)),
            }
        }
    }

    /// Counts a guess, or stands in line for that.
    fn begin(self: &Arc<Self>, key: u64) -> Result<Result<Held, Waiting<'_>>, Error> {
        let now = (self.clock)();
        // Truncated on purpose: sets are a power of two.
        let set = key as usize & (self.sets.len() - 1);
        let mut guard = self.lock(set);
        let place = Place { set, bucket: guard.find(key, now) };
        let bucket = guard.at(place.bucket);
        match bucket.room(self.allowance, now) {
            Room::After(wait) => Err(too_many(wait)),
            // Nobody passes those who wait.
            Room::Taken if bucket.waiting == 0 => {
                bucket.under_way += 1;
                Ok(Ok(self.held(place)))
            }
            Room::Taken | Room::Later if bucket.waiting < WAITING => {
                bucket.waiting += 1;
                let settled = Arc::clone(bucket.settled.get_or_insert_default());
                Ok(Err(Waiting { table: self, place, settled }))
            }
            Room::Taken | Room::Later => Err(Error::Overloaded),
        }
    }

    fn held(self: &Arc<Self>, place: Place) -> Held {
        Held { table: Arc::clone(self), place, was_wrong: false }
    }

    fn lock(&self, set: usize) -> MutexGuard<'_, Set> {
        self.sets[set].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many(wait: Duration) -> Error {
    Error::TooManyAttempts(wait.as_secs_f64().ceil().max(1.0) as u64)
}

impl Set {
    /// The bucket that a key has now.
    fn find(&mut self, key: u64, now: Duration) -> usize {
        if let Some(own) = self.own.iter().position(|bucket| bucket.key == key) {
            return own;
        }
        // By other bits than those that the set is found by.
        let shared = (key >> 32) as usize % SHARED;
        // A key that may have guesses in a shared bucket goes on with it: it has no second allowance.
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
    /// Whether a new one would be the same. It may be another key's from now on.
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
            // All of those under way may be right.
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

    /// Has the first of those who wait look again.
    fn wake_one(&self) {
        if let Some(settled) = &self.settled {
            settled.notify_one();
        }
    }
}

impl Held {
    /// It was wrong, and stays counted.
    pub fn was_wrong(mut self) {
        self.was_wrong = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let now = (self.table.clock)();
        let mut set = self.table.lock(self.place.set);
        // As long as it was under way it was this key's bucket.
        let bucket = set.at(self.place.bucket);
        bucket.under_way -= 1;
        if self.was_wrong {
            bucket.whole_at = bucket.whole_at.max(now) + self.table.allowance.refill;
        }
        bucket.wake_one();
    }
}

impl Drop for Waiting<'_> {
    /// Whoever stops waiting, for whatever reason, has the next one look: what woke this one, or what it has found out, may
    /// be enough for another.
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
