//! Which of many holds most: what a shared limit on memory is enforced by, so that a client that fills it does not keep others out.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Bytes by key, and the key with the most.
pub struct Ranked<K> {
    bytes: HashMap<K, usize>,
    ranks: BTreeSet<(usize, K)>,
}

impl<K> Default for Ranked<K> {
    fn default() -> Self {
        Self { bytes: HashMap::new(), ranks: BTreeSet::new() }
    }
}

impl<K: Clone + Ord + Hash> Ranked<K> {
    /// Changes the bytes of a key. A key with none is removed.
    pub fn change(&mut self, key: &K, change: impl FnOnce(usize) -> usize) {
        let before = self.bytes.get(key).copied().unwrap_or_default();
        let now = change(before);
        self.ranks.remove(&(before, key.clone()));
        if now == 0 {
            self.bytes.remove(key);
        } else {
            self.bytes.insert(key.clone(), now);
            self.ranks.insert((now, key.clone()));
        }
    }

    /// The key with the most bytes; `None` if none has any.
    pub fn largest(&self) -> Option<&K> {
        self.ranks.last().map(|(_, key)| key)
    }

    /// Whether no key has any bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.ranks.is_empty()
    }
}
