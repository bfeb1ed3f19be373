use std::collections::BTreeMap;

/// A map in the order of its keys that takes no memory of its own for a single entry: most of these have one, and a few have very
/// many.
#[derive(Default)]
pub enum SmallMap<K, V> {
    /// Nothing.
    #[default]
    Empty,
    /// One entry.
    One(K, V),
    /// At least one entry.
    Many(BTreeMap<K, V>),
}

impl<K: Ord, V> SmallMap<K, V> {
    /// Adds an entry, in place of the one with the same key.
    pub fn insert(&mut self, key: K, value: V) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(key, value),
            Self::One(other, _) if other == key => Self::One(key, value),
            Self::One(other, of_other) => Self::Many(BTreeMap::from([(other, of_other), (key, value)])),
            Self::Many(mut entries) => {
                entries.insert(key, value);
                Self::Many(entries)
            }
        };
    }

    /// Takes out the entry of a key.
    pub fn remove(&mut self, key: &K) {
        match self {
            Self::One(one, _) if one == key => *self = Self::Empty,
            Self::Empty | Self::One(..) => {}
            Self::Many(entries) => {
                entries.remove(key);
                if entries.is_empty() {
                    *self = Self::Empty;
                }
            }
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => 1,
            Self::Many(entries) => entries.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.entries().map(|(_, value)| value)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.entries().map(|(key, _)| key)
    }

    /// The entries, in the order of their keys.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(key, value) => (Some((key, value)), None),
            Self::Many(entries) => (None, Some(entries)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_the_order_of_their_keys_until_they_are_taken_out() {
        let mut map = SmallMap::default();
        let all = |map: &SmallMap<u8, char>| map.values().collect::<String>();
        assert!(map.is_empty());
        map.insert(2, 'x');
        map.insert(2, 'b');
        map.remove(&1);
        assert_eq!((all(&map).as_str(), map.len()), ("b", 1));
        map.insert(3, 'c');
        map.insert(1, 'a');
        map.insert(1, 'A');
        assert_eq!((all(&map).as_str(), map.len()), ("Abc", 3));
        assert_eq!(map.values().next_back(), Some(&'c'));
        for (key, left) in [(2, "Ac"), (2, "Ac"), (1, "c"), (3, "")] {
            map.remove(&key);
            assert_eq!(all(&map), left);
        }
        assert!(matches!(map, SmallMap::Empty));
    }
}
