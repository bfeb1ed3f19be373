//! A fair queue: no crowd can fill it for others. And threads that work through it.
//!
//! Items wait in *lanes*, and lanes of the same kind form a *group*: the users of a tenant, or the accounts that are
//! tried from a network. Groups are served in turn, and so are the lanes in each group. So a client with one item waits
//! for one item of each other group, however many others have put there. The number of waiting items is bounded for all
//! groups together. In a full queue, a new item replaces the last item of the longest lane of the longest group, if its
//! own lane is shorter by two or more. Otherwise the new item is refused.

mod pool;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub use pool::{Pool, Task};

/// Whether an item may be refused or displaced if too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// The item is counted, and may be refused or displaced.
    Refusable,
    /// The item may not. There are as many as clients that have one at a time, and a client that leaves removes its
    /// item.
    Unbounded,
}

/// A queue of `T`s by groups `G` and lanes `L`, for threads that wait for items. Empty lanes and groups take no memory.
pub struct Queue<G, L, T> {
    state: Mutex<State<G, L, T>>,
    filled: Condvar,
    /// How many refusable items may wait.
    capacity: usize,
}

struct State<G, L, T> {
    groups: RoundRobin<G, RoundRobin<L, Lane<T>>>,
    /// How many items were added, which is the number of the next one.
    added: u64,
    /// How many threads wait for an item. If there are none, none need be woken.
    idle: usize,
    is_closed: bool,
}

impl<G: Clone + Eq + Hash, L: Clone + Eq + Hash, T> Queue<G, L, T> {
    /// A queue in which this many refusable items may wait.
    pub fn new(capacity: usize) -> Self {
        let state = State { groups: RoundRobin::default(), added: 0, idle: 0, is_closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), capacity }
    }

    /// Adds an item to a lane of a group. Returns its number, and the item that it displaced, whose owner must be told.
    ///
    /// # Errors
    /// The item itself, if too many wait or the queue is closed.
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

    /// Removes an item that is not wanted any more, if it still waits.
    pub fn remove(&self, group: &G, lane: &L, number: u64) -> Option<T> {
        let path = (group.clone(), (lane.clone(), ()));
        self.lock().groups.remove(&path, number)
    }

    /// Waits for the next item; `None` after the queue is closed.
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

    /// How many refusable items wait.
    pub fn waiting(&self) -> usize {
        self.lock().groups.length()
    }

    /// Drops all waiting items, and ends the waits of all threads.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        // They are dropped outside the lock, because dropping an item may call this queue.
        let rest = mem::take(&mut state.groups);
        drop(state);
        self.filled.notify_all();
        drop(rest);
    }

    fn lock(&self) -> MutexGuard<'_, State<G, L, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lanes that are served in turn, for one thread. Empty lanes take no memory.
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
    /// Adds an item at the end of a lane. Returns its number.
    pub fn push(&mut self, lane: K, item: T) -> u64 {
        self.added += 1;
        self.lanes.push((lane, ()), self.added, item, Patience::Refusable);
        self.added
    }

    /// Takes the next item.
    pub fn pop(&mut self) -> Option<T> {
        self.lanes.pop()
    }

    /// Removes an item, if it still waits.
    pub fn remove(&mut self, lane: &K, number: u64) -> Option<T> {
        self.lanes.remove(&(lane.clone(), ()), number)
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

/// A lane, or a round robin of lanes or groups.
trait Level: Default {
    /// The place of an item in it.
    type Path;
    type Item;
    /// How many refusable items there are.
    fn length(&self) -> usize;
    fn is_empty(&self) -> bool;
    /// Adds an item. Numbers increase, and each is used once.
    fn push(&mut self, path: Self::Path, number: u64, item: Self::Item, patience: Patience);
    fn pop(&mut self) -> Option<Self::Item>;
    fn remove(&mut self, path: &Self::Path, number: u64) -> Option<Self::Item>;
    /// Takes the last refusable item of the longest part.
    fn pop_longest(&mut self) -> Option<Self::Item>;
    /// Takes an item of a part that has at least two more than the part of the new item. So a displaced item never ends
    /// up in the position that the new one had.
    fn make_room(&mut self, path: &Self::Path) -> Option<Self::Item>;
}

/// One lane: first in, first out. Refusable and other items alternate, so that neither kind makes the other wait
/// forever.
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

/// Several parts that are served in turn. None of them is empty.
struct RoundRobin<K, Q> {
    /// Each part, with its place in the order.
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
    /// Takes an item from one of the parts, and removes the part if it is empty then.
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
        // If several are longest, the one that would be served last.
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
