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

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub use pool::{Pool, Task};

/// Whether something may be refused, and displaced, where too much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It is counted, and may be.
    Refusable,
    /// It may not: whoever adds such things must not have more than a few at a time.
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
    groups: Turns<G, Turns<L, Lane<T>>>,
    /// How many threads wait for something to come: waking none costs nothing.
    idle: usize,
    is_closed: bool,
}

impl<G: Clone + Eq + Hash, L: Clone + Eq + Hash, T> Queue<G, L, T> {
    /// One in which so many that are refusable may wait.
    pub fn new(capacity: usize) -> Self {
        let state = State { groups: Turns::default(), idle: 0, is_closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), capacity }
    }

    /// Adds an item to a lane of a group. What had to make room for it is given back, for its owner to be told.
    ///
    /// # Errors
    /// The item itself, where too much waits or the queue is closed.
    pub fn push(&self, group: G, lane: L, item: T, patience: Patience) -> Result<Option<T>, T> {
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
        state.groups.push(path, item, patience);
        if state.idle > 0 {
            self.filled.notify_one();
        }
        Ok(displaced)
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
pub struct Lanes<K, T>(Turns<K, Lane<T>>);

impl<K, T> Default for Lanes<K, T> {
    fn default() -> Self {
        Self(Turns::default())
    }
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// Adds an item to a lane: at its end, or, if it is not to be refused, behind others of these.
    pub fn push(&mut self, lane: K, item: T, patience: Patience) {
        self.0.push((lane, ()), item, patience);
    }

    /// Takes the next item.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Whether there is another lane than this one.
    pub fn has_other(&self, lane: &K) -> bool {
        self.0.by_key.len() > usize::from(self.0.by_key.contains_key(lane))
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
    fn push(&mut self, path: Self::Path, item: Self::Item, patience: Patience);
    fn pop(&mut self) -> Option<Self::Item>;
    /// Takes the last refusable item of what is longest.
    fn pop_longest(&mut self) -> Option<Self::Item>;
    /// Takes one where there are at least two more than where a newcomer belongs: so it never puts the other into the place that
    /// it was in itself.
    fn make_room(&mut self, path: &Self::Path) -> Option<Self::Item>;
}

/// One lane: first come, first served, and first of all what cannot be refused.
struct Lane<T> {
    unbounded: VecDeque<T>,
    refusable: VecDeque<T>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self { unbounded: VecDeque::new(), refusable: VecDeque::new() }
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

    fn push(&mut self, (): (), item: T, patience: Patience) {
        match patience {
            Patience::Refusable => self.refusable.push_back(item),
            Patience::Unbounded => self.unbounded.push_back(item),
        }
    }

    fn pop(&mut self) -> Option<T> {
        self.unbounded.pop_front().or_else(|| self.refusable.pop_front())
    }

    fn pop_longest(&mut self) -> Option<T> {
        self.refusable.pop_back()
    }

    fn make_room(&mut self, (): &()) -> Option<T> {
        None
    }
}

/// Several of them, served in turn. None of them is empty.
struct Turns<K, Q> {
    by_key: HashMap<K, Q>,
    /// Each key once, the next one first.
    order: VecDeque<K>,
    length: usize,
}

impl<K, Q> Default for Turns<K, Q> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), order: VecDeque::new(), length: 0 }
    }
}

impl<K: Clone + Eq + Hash, Q: Level> Level for Turns<K, Q> {
    type Path = (K, Q::Path);
    type Item = Q::Item;

    fn length(&self) -> usize {
        self.length
    }

    fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn push(&mut self, (key, path): Self::Path, item: Q::Item, patience: Patience) {
        let one = self.by_key.entry(key).or_insert_with_key(|key| {
            self.order.push_back(key.clone());
            Q::default()
        });
        let before = one.length();
        one.push(path, item, patience);
        self.length += one.length() - before;
    }

    fn pop(&mut self) -> Option<Q::Item> {
        let key = self.order.pop_front()?;
        let one = self.by_key.get_mut(&key)?;
        let before = one.length();
        let item = one.pop();
        self.length -= before - one.length();
        if one.is_empty() {
            self.by_key.remove(&key);
        } else {
            self.order.push_back(key);
        }
        item
    }

    fn pop_longest(&mut self) -> Option<Q::Item> {
        // Of several, that which would be served last.
        let length = |key: &&K| self.by_key.get(*key).map_or(0, Level::length);
        let key = self.order.iter().max_by_key(length)?.clone();
        let one = self.by_key.get_mut(&key)?;
        let item = one.pop_longest()?;
        self.length -= 1;
        if one.is_empty() {
            self.by_key.remove(&key);
            self.order.retain(|other| *other != key);
        }
        Some(item)
    }

    fn make_room(&mut self, (key, path): &Self::Path) -> Option<Q::Item> {
        let own = self.by_key.get(key).map_or(0, Level::length);
        let longest = self.by_key.values().map(Level::length).max()?;
        if own + 1 < longest {
            return self.pop_longest();
        }
        let item = self.by_key.get_mut(key)?.make_room(path)?;
        self.length -= 1;
        Some(item)
    }
}
