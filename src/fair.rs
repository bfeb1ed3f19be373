//! A queue that no crowd can fill for others, and threads that work through it.
//!
//! What waits stands in *lanes*, and lanes of the same kind form a *group*: the users of a tenant, or the accounts that are
//! tried from a network. Groups are served in turn, and in each group its lanes. So who has one thing to be done waits for one
//! thing of each other group, however many others have put there. What may wait is bounded, all groups together: in a full queue
//! a newcomer takes the place of the last of the longest lane of the longest group, where the newcomer's own is shorter by two or
//! more, and is refused otherwise.

mod pool;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub use pool::{Pool, Task};

/// Whether something may be refused, and displaced, where too much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It is counted, and may be.
    Refusable,
    /// It may not, and is as many as there are who have one at a time: who goes takes it out.
    Unbounded,
}

/// A queue of `T`s for threads that wait for them, by groups `G` and lanes `L`. A lane and a group without anything in them take
/// no memory.
pub struct Queue<G, L, T> {
    state: Mutex<State<G, L, T>>,
    filled: Condvar,
    /// How many that are refusable may wait.
    capacity: usize,
}

struct State<G, L, T> {
    groups: RoundRobin<G, RoundRobin<L, Lane<T>>>,
    /// How many have been added, by which each is known.
    added: u64,
    /// How many threads wait for something to come: waking none costs nothing.
    idle: usize,
    is_closed: bool,
}

impl<G: Clone + Eq + Hash, L: Clone + Eq + Hash, T> Queue<G, L, T> {
    /// One in which so many that are refusable may wait.
    pub fn new(capacity: usize) -> Self {
        let state = State { groups: RoundRobin::default(), added: 0, idle: 0, is_closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), capacity }
    }

    /// Adds an item to a lane of a group: the number that it is known by there, and what had to make room for it, for its owner to be
    /// told.
    ///
    /// # Errors
    /// The item itself, where too much waits or the queue is closed.
    pub fn push(&self, group: G, lane: L, item: T, patience: Patience) -> Result<(u64, Option<T>), T> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(item);
        }
        let path = (group, (lane, ()));
        let mut displaced = None;
        if patience == Patience::Refusable && state.groups.length() >= self.capacity {
            displaced = state.groups.make_room(&path);
            if displaced.is_none() {
                return Err(item);
            }
        }
        state.added += 1;
        let number = state.added;
        state.groups.push(path, number, item, patience);
        if state.idle > 0 {
            self.filled.notify_one();
        }
        Ok((number, displaced))
    }

    /// Takes out an item that is wanted no more, if it still waits.
    pub fn remove(&self, group: &G, lane: &L, number: u64) -> Option<T> {
        let path = (group.clone(), (lane.clone(), ()));
        self.lock().groups.remove(&path, number)
    }

    /// Waits for the next item; `None` once the queue is closed.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(item) = state.groups.pop() {
                return Some(item);
            }
            state.idle += 1;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Drops what waits, and has those who wait for something go home.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        // Dropped without the lock: what an item has may come here again.
        let rest = mem::take(&mut state.groups);
        drop(state);
        self.filled.notify_all();
        drop(rest);
    }

    fn lock(&self) -> MutexGuard<'_, State<G, L, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lanes of which each is served in turn, for one thread. One without anything in it takes no memory.
pub struct Lanes<K, T> {
    lanes: RoundRobin<K, Lane<T>>,
    added: u64,
}

impl<K, T> Default for Lanes<K, T> {
    fn default() -> Self {
        Self { lanes: RoundRobin::default(), added: 0 }
    }
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// Adds an item at the end of a lane: the number that it is known by there.
    pub fn push(&mut self, lane: K, item: T) -> u64 {
        self.added += 1;
        self.lanes.push((lane, ()), self.added, item, Patience::Refusable);
        self.added
    }

    /// Takes the next item.
    pub fn pop(&mut self) -> Option<T> {
        self.lanes.pop()
    }

    /// Takes out an item, if it still waits.
    pub fn remove(&mut self, lane: &K, number: u64) -> Option<T> {
        self.lanes.remove(&(lane.clone(), ()), number)
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

/// What a lane is, and what is made of lanes.
trait Level: Default {
    /// Where in it something belongs.
    type Path;
    type Item;
    /// How many refusable items there are.
    fn length(&self) -> usize;
    fn is_empty(&self) -> bool;
    /// Numbers grow, and each is used once.
    fn push(&mut self, path: Self::Path, number: u64, item: Self::Item, patience: Patience);
    fn pop(&mut self) -> Option<Self::Item>;
    fn remove(&mut self, path: &Self::Path, number: u64) -> Option<Self::Item>;
    /// Takes the last refusable item of what is longest.
    fn pop_longest(&mut self) -> Option<Self::Item>;
    /// Takes one where there are at least two more than where a newcomer belongs: so it never puts the other into the place that
    /// it was in itself.
    fn make_room(&mut self, path: &Self::Path) -> Option<Self::Item>;
}

/// One lane: first come, first served, and in turn what can be refused and what cannot, so that neither keeps the other waiting
/// for ever.
struct Lane<T> {
    unbounded: BTreeMap<u64, T>,
    refusable: BTreeMap<u64, T>,
    was_unbounded: bool,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { unbounded: BTreeMap::new(), refusable: BTreeMap::new(), was_unbounded: false }
    }
}

impl<T> Level for Lane<T> {
    type Path = ();
    type Item = T;

    fn length(&self) -> usize {
        self.refusable.len()
    }

    fn is_empty(&self) -> bool {
        self.unbounded.is_empty() && self.refusable.is_empty()
    }

    fn push(&mut self, (): (), number: u64, item: T, patience: Patience) {
        match patience {
            Patience::Refusable => self.refusable.insert(number, item),
            Patience::Unbounded => self.unbounded.insert(number, item),
        };
    }

    fn pop(&mut self) -> Option<T> {
        let is_unbounded = if self.was_unbounded { self.refusable.is_empty() } else { !self.unbounded.is_empty() };
        self.was_unbounded = is_unbounded;
        let items = if is_unbounded { &mut self.unbounded } else { &mut self.refusable };
        items.pop_first().map(|(_, item)| item)
    }

    fn remove(&mut self, (): &(), number: u64) -> Option<T> {
        self.refusable.remove(&number).or_else(|| self.unbounded.remove(&number))
    }

    fn pop_longest(&mut self) -> Option<T> {
        self.refusable.pop_last().map(|(_, item)| item)
    }

    fn make_room(&mut self, (): &()) -> Option<T> {
        None
    }
}

/// Several of them, served in turn. None of them is empty.
struct RoundRobin<K, Q> {
    /// Each with its place in the order.
    by_key: HashMap<K, (u64, Q)>,
    /// Each key once, the next one first.
    order: BTreeMap<u64, K>,
    /// The place after the last.
    end: u64,
    length: usize,
}

impl<K, Q> Default for RoundRobin<K, Q> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), order: BTreeMap::new(), end: 0, length: 0 }
    }
}

impl<K: Clone + Eq + Hash, Q: Level> RoundRobin<K, Q> {
    /// Takes something out of one of them, which is forgotten where nothing is left in it.
    fn take(&mut self, key: &K, take: impl FnOnce(&mut Q) -> Option<Q::Item>) -> Option<Q::Item> {
        let (place, one) = self.by_key.get_mut(key)?;
        let before = one.length();
        let item = take(one);
        self.length -= before - one.length();
        if one.is_empty() {
            self.order.remove(place);
            self.by_key.remove(key);
        }
        item
    }

    fn length_of(&self, key: &K) -> usize {
        self.by_key.get(key).map_or(0, |(_, one)| one.length())
    }
}

impl<K: Clone + Eq + Hash, Q: Level> Level for RoundRobin<K, Q> {
    type Path = (K, Q::Path);
    type Item = Q::Item;

    fn length(&self) -> usize {
        self.length
    }

    fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn push(&mut self, (key, path): Self::Path, number: u64, item: Q::Item, patience: Patience) {
        let (_, one) = self.by_key.entry(key).or_insert_with_key(|key| {
            self.end += 1;
            self.order.insert(self.end, key.clone());
            (self.end, Q::default())
        });
        let before = one.length();
        one.push(path, number, item, patience);
        self.length += one.length() - before;
    }

    fn pop(&mut self) -> Option<Q::Item> {
        let (_, key) = self.order.pop_first()?;
        let item = self.take(&key, Q::pop);
        if let Some((place, _)) = self.by_key.get_mut(&key) {
            self.end += 1;
            *place = self.end;
            self.order.insert(self.end, key);
        }
        item
    }

    fn remove(&mut self, (key, path): &Self::Path, number: u64) -> Option<Q::Item> {
        self.take(key, |one| one.remove(path, number))
    }

    fn pop_longest(&mut self) -> Option<Q::Item> {
        // Of several, that which would be served last.
        let key = self.order.values().max_by_key(|key| self.length_of(key))?.clone();
        self.take(&key, Q::pop_longest)
    }

    fn make_room(&mut self, (key, path): &Self::Path) -> Option<Q::Item> {
        let longest = self.by_key.values().map(|(_, one)| one.length()).max()?;
        if self.length_of(key) + 1 < longest {
            return self.pop_longest();
        }
        self.take(key, |one| one.make_room(path))
    }
}
