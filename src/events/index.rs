use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::weak_list::WeakList;
use crate::domain::{EventName, Pattern};

/// Values that want events, by the names that they want. It may find some that do not want an event after all.
pub struct Index<T: ?Sized> {
    of_all: WeakList<T>,
    of_name: HashMap<EventName, WeakList<T>>,
    of_prefix: HashMap<Arc<str>, WeakList<T>>,
    /// How many prefixes of each length there are: only those need be looked up.
    prefix_lengths: BTreeMap<usize, usize>,
}

impl<T: ?Sized> Index<T> {
    /// An empty index.
    pub fn new() -> Self {
        let (of_name, of_prefix) = (HashMap::new(), HashMap::new());
        Self { of_all: WeakList::default(), of_name, of_prefix, prefix_lengths: BTreeMap::new() }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let lists = self.of_name.values().chain(self.of_prefix.values()).chain([&self.of_all]);
        lists.map(WeakList::len).sum::<usize>() + self.prefix_lengths.len()
    }

    /// Adds a value that wants the names that match the patterns, or all names.
    pub fn add(&mut self, patterns: Option<&[Pattern]>, one: &Weak<T>) {
        let Some(patterns) = patterns else { return self.of_all.push(one.clone()) };
        for pattern in patterns {
            let wanting = match pattern {
                Pattern::Exact(name) => self.of_name.entry(name.clone()).or_default(),
                Pattern::Prefix(prefix) => {
                    let wanting = self.of_prefix.entry(Arc::clone(prefix)).or_default();
                    if wanting.is_empty() {
                        *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                    }
                    wanting
                }
            };
            wanting.push(one.clone());
        }
    }

    /// Takes out a value that was added with these patterns: `one` if it is still there, or nothing if it is being dropped.
    pub fn remove(&mut self, patterns: Option<&[Pattern]>, one: Option<&Weak<T>>) {
        let forget = |wanting: &mut WeakList<T>| match one {
            Some(one) => wanting.remove(one),
            None => wanting.note_gone(),
        };
        let Some(patterns) = patterns else { return forget(&mut self.of_all) };
        for pattern in patterns {
            match pattern {
                Pattern::Exact(name) => {
                    let Some(wanting) = self.of_name.get_mut(name) else { continue };
                    forget(wanting);
                    if wanting.is_empty() {
                        self.of_name.remove(name);
                    }
                }
                Pattern::Prefix(prefix) => {
                    let Some(wanting) = self.of_prefix.get_mut(prefix) else { continue };
                    forget(wanting);
                    if wanting.is_empty() {
                        self.of_prefix.remove(prefix);
                        self.forget_length(prefix.len());
                    }
                }
            }
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

    /// The values that may want a name.
    pub fn wanting(&self, name: &str) -> impl Iterator<Item = Rc<T>> {
        let of_name = self.of_name.get(name).into_iter().flat_map(WeakList::iter);
        // A prefix consists of whole characters, so nothing is found if a length ends inside a character.
        let prefixes = self.prefix_lengths.keys().filter_map(move |length| name.get(..*length));
        let of_prefix = prefixes.filter_map(|prefix| self.of_prefix.get(prefix)).flat_map(WeakList::iter);
        self.of_all.iter().chain(of_name).chain(of_prefix)
    }
}
