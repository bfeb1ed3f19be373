use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::small_map::SmallMap;
use super::topic_index::TopicIndex;
use crate::domain::{EventFilter, EventName, Pattern, Rights, difference};

/// Groups or subscriptions, found by the names of the events that they want, and each known by a key. It may also name some that do
/// not want an event after all.
pub struct Index<K, T: ?Sized> {
    of_all: SmallMap<K, Weak<T>>,
    of_name: HashMap<EventName, SmallMap<K, Weak<T>>>,
    of_prefix: HashMap<Arc<str>, SmallMap<K, Weak<T>>>,
    /// How many prefixes of each length there are: only those need be looked up.
    prefix_lengths: BTreeMap<usize, usize>,
    of_topic: TopicIndex<K, Weak<T>>,
}

impl<K: Ord + Copy, T: ?Sized> Index<K, T> {
    /// An empty one.
    pub fn new() -> Self {
        let (of_name, of_prefix) = (HashMap::new(), HashMap::new());
        let of_topic = TopicIndex::new();
        Self { of_all: SmallMap::default(), of_name, of_prefix, prefix_lengths: BTreeMap::new(), of_topic }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let lists = self.of_name.values().chain(self.of_prefix.values()).chain([&self.of_all]);
        lists.map(SmallMap::len).sum::<usize>() + self.prefix_lengths.len() + self.of_topic.len()
    }

    /// How many places of the tree of topic filters were looked at since this was asked last.
    #[cfg(test)]
    pub fn take_topic_steps(&self) -> usize {
        self.of_topic.steps.swap(0, std::sync::atomic::Ordering::Relaxed)
    }

    /// Adds one that wants the events that the patterns name, or all.
    pub fn add(&mut self, patterns: Option<&[Pattern]>, key: K, one: &Weak<T>) {
        match patterns {
            None => self.of_all.insert(key, one.clone()),
            Some(patterns) => patterns.iter().for_each(|pattern| self.add_pattern(pattern, key, one)),
        }
    }

    /// Takes out one that was added with these patterns.
    pub fn remove(&mut self, patterns: Option<&[Pattern]>, key: K) {
        match patterns {
            None => self.of_all.remove(&key),
            Some(patterns) => patterns.iter().for_each(|pattern| self.remove_pattern(pattern, key)),
        }
    }

    /// The same as to take out one and add it with other patterns, at the cost of those that differ.
    pub fn replace(&mut self, before: Option<&[Pattern]>, now: Option<&[Pattern]>, key: K, one: &Weak<T>) {
        if let (Some(before), Some(now)) = (before, now) {
            difference(before, now).for_each(|pattern| self.remove_pattern(pattern, key));
            difference(now, before).for_each(|pattern| self.add_pattern(pattern, key, one));
        } else {
            self.remove(before, key);
            self.add(now, key, one);
        }
    }

    fn add_pattern(&mut self, pattern: &Pattern, key: K, one: &Weak<T>) {
        let wanting = match pattern {
            Pattern::Exact(name) => self.of_name.entry(name.clone()).or_default(),
            Pattern::Prefix(prefix) => {
                let wanting = self.of_prefix.entry(Arc::clone(prefix)).or_default();
                if wanting.is_empty() {
                    *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                }
                wanting
            }
            Pattern::Topic(filter) => return self.of_topic.add(filter, key, one.clone()),
        };
        wanting.insert(key, one.clone());
    }

    fn remove_pattern(&mut self, pattern: &Pattern, key: K) {
        match pattern {
            Pattern::Exact(name) => {
                let Some(wanting) = self.of_name.get_mut(name) else { return };
                wanting.remove(&key);
                if wanting.is_empty() {
                    self.of_name.remove(name);
                }
            }
            Pattern::Prefix(prefix) => {
                let Some(wanting) = self.of_prefix.get_mut(prefix) else { return };
                wanting.remove(&key);
                if wanting.is_empty() {
                    self.of_prefix.remove(prefix);
                    self.forget_length(prefix.len());
                }
            }
            Pattern::Topic(filter) => self.of_topic.remove(filter, key),
        }
    }

    fn forget_length(&mut self, length: usize) {
        if let Some(prefixes) = self.prefix_lengths.get_mut(&length) {
            *prefixes -= 1;
            if *prefixes == 0 {
                self.prefix_lengths.remove(&length);
            }
        }
    }

    /// Those that may want the events of a name, each once, in the order of their keys.
    pub fn wanting(&self, name: &str) -> Vec<Rc<T>> {
        let of_name = self.of_name.get(name).into_iter();
        // A prefix is whole characters, so one that ends inside a character is none.
        let prefixes = self.prefix_lengths.keys().filter_map(|length| name.get(..*length));
        let of_prefix = prefixes.filter_map(|prefix| self.of_prefix.get(prefix));
        let lists = [&self.of_all].into_iter().chain(of_name).chain(of_prefix);
        let listed = lists.flat_map(SmallMap::entries).map(|(key, one)| (*key, one));
        let mut wanting: Vec<_> = listed.chain(self.of_topic.wanting(name)).collect();
        // Several patterns of one may match. Lists that are in order are merged quickly by this sort.
        wanting.sort_by_key(|(key, _)| *key);
        wanting.dedup_by_key(|(key, _)| *key);
        wanting.into_iter().filter_map(|(_, one)| one.upgrade()).collect()
    }
}

/// Patterns outside of which nothing is wanted that may be seen.
pub fn patterns_of<'a>(filter: &'a EventFilter, rights: &'a Rights) -> Option<&'a [Pattern]> {
    match rights {
        // The rights say more than a filter that matches everything.
        Rights::Of(patterns) if filter.patterns().is_none() || filter.has_all_topics() => Some(patterns),
        _ => filter.patterns(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_patterns_until_it_is_taken_out_and_leaves_nothing() {
        let filters = ["a,a,b*", "b*,bc*", "bcd,a", "*"].map(|filter| EventFilter::parse(filter).unwrap());
        let there: Vec<_> = (0..filters.len()).map(Rc::new).collect();
        let mut index = Index::new();
        let found =
            |index: &Index<usize, usize>, name: &str| index.wanting(name).iter().map(|one| **one).collect::<Vec<_>>();
        for one in &there {
            index.add(filters[**one].patterns(), **one, &Rc::downgrade(one));
        }
        assert_eq!(
            ["a", "b", "bcd", "c"].map(|name| found(&index, name)),
            [vec![0, 2, 3], vec![0, 1, 3], vec![0, 1, 2, 3], vec![3]]
        );
        index.remove(filters[0].patterns(), 0);
        index.remove(filters[3].patterns(), 3);
        assert_eq!(["a", "b", "bcd", "c"].map(|name| found(&index, name)), [vec![2], vec![1], vec![1, 2], vec![]]);
        // As if it had been taken out, and added with the other's patterns.
        for (before, now) in [(1, 0), (0, 3), (3, 2), (2, 1)] {
            index.replace(filters[before].patterns(), filters[now].patterns(), 1, &Rc::downgrade(&there[1]));
            let mut anew = Index::new();
            anew.add(filters[now].patterns(), 1, &Rc::downgrade(&there[1]));
            anew.add(filters[2].patterns(), 2, &Rc::downgrade(&there[2]));
            for name in ["a", "b", "bc", "bcd", "c"] {
                assert_eq!(found(&index, name), found(&anew, name), "{before} to {now}: {name}");
            }
            assert_eq!(index.len(), anew.len());
        }
        index.remove(filters[1].patterns(), 1);
        index.remove(filters[2].patterns(), 2);
        assert_eq!(index.len(), 0);
    }
}
