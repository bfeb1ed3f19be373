use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::rc::Weak;

use super::small_map::SmallMap;
use crate::domain::TopicFilter;

/// How many levels of a filter count here. With the wildcards that they can have, they bound how much is looked up for a name,
/// whatever filters there are.
const LEVELS: usize = 10;

/// Groups or subscriptions, found by the topic filters of MQTT that match a name, and each known by a key.
///
/// Where the wildcards of a filter are is its shape. With the levels of a name, each shape makes one filter that matches that name, and
/// that filter is looked up. So what a name costs depends on how many shapes there are, and not on how many filters: subscribers mostly
/// differ in what stands between the wildcards.
pub struct TopicIndex<K, T: ?Sized> {
    /// By the hash of a shape, and of the levels without a wildcard. It may name some whose filters do not match after all: those that
    /// differ from others in later levels alone, or whose hashes happen to be the same. So a filter is a part of the key.
    wanting: HashMap<u64, SmallMap<(K, TopicFilter), Weak<T>>>,
    /// How many filters of each shape there are: only those need be looked up.
    shapes: BTreeMap<Shape, usize>,
    hasher: RandomState,
}

/// Where a filter has wildcards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shape {
    /// How many levels it has, without `#`.
    levels: usize,
    /// Which of them are `+`: a bit for each.
    any: u16,
    /// Whether further levels may follow: it ends with `#`, or has more levels than count.
    is_open: bool,
}

impl Shape {
    /// The shape of a filter; `None` if that has no wildcard, and so matches no name: one that matches a name is no filter here.
    fn of(filter: &TopicFilter) -> Option<Self> {
        let (levels, is_open) = filter.levels();
        let mut shape = Self { is_open, ..Self::default() };
        for (number, level) in levels.enumerate() {
            if number == LEVELS {
                shape.is_open = true;
                break;
            }
            shape.any |= u16::from(level == "+") << number;
            shape.levels += 1;
        }
        filter.has_wildcard().then_some(shape)
    }

    /// The place of the filter of this shape that matches a name with these levels, if there can be one.
    fn place_for(self, name: &[&str], hasher: &RandomState) -> Option<u64> {
        let fits = self.levels == name.len() || (self.is_open && self.levels < name.len());
        fits.then(|| self.place(name.iter().copied(), hasher))
    }

    /// The place of the filter of this shape that has these levels.
    fn place<'a>(self, levels: impl Iterator<Item = &'a str>, hasher: &RandomState) -> u64 {
        let is_named = |number: &usize| self.any >> number & 1 == 0;
        let named = levels.take(self.levels).enumerate().filter(|(number, _)| is_named(number));
        let mut state = hasher.build_hasher();
        self.hash(&mut state);
        named.for_each(|(_, level)| level.hash(&mut state));
        std::hash::Hasher::finish(&state)
    }
}

impl<K: Ord, T: ?Sized> TopicIndex<K, T> {
    /// An empty one.
    pub fn new() -> Self {
        Self { wanting: HashMap::new(), shapes: BTreeMap::new(), hasher: RandomState::new() }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.wanting.values().map(SmallMap::len).sum::<usize>() + self.shapes.len()
    }

    /// Adds one that wants the events that a filter matches.
    pub fn add(&mut self, filter: &TopicFilter, key: K, one: &Weak<T>) {
        let Some(shape) = Shape::of(filter) else { return };
        let wanting = self.wanting.entry(shape.place(filter.levels().0, &self.hasher)).or_default();
        let before = wanting.len();
        wanting.insert((key, filter.clone()), one.clone());
        *self.shapes.entry(shape).or_default() += wanting.len() - before;
    }

    /// Takes out one that was added with this filter.
    pub fn remove(&mut self, filter: &TopicFilter, key: K) {
        let Some(shape) = Shape::of(filter) else { return };
        let place = shape.place(filter.levels().0, &self.hasher);
        let Some(wanting) = self.wanting.get_mut(&place) else { return };
        let before = wanting.len();
        wanting.remove(&(key, filter.clone()));
        let removed = before - wanting.len();
        if wanting.is_empty() {
            self.wanting.remove(&place);
        }
        if let Some(filters) = self.shapes.get_mut(&shape) {
            *filters -= removed;
            if *filters == 0 {
                self.shapes.remove(&shape);
            }
        }
    }

    /// Those that may want the events of a name.
    pub fn wanting(&self, name: &str) -> impl Iterator<Item = &Weak<T>> {
        // Most tenants have no client of MQTT.
        let levels: Vec<_> = if self.shapes.is_empty() { Vec::new() } else { name.splitn(LEVELS + 1, '/').collect() };
        let places = self.shapes.keys().filter_map(move |shape| shape.place_for(&levels, &self.hasher));
        places.filter_map(|place| self.wanting.get(&place)).flat_map(SmallMap::values)
    }
}

#[cfg(test)]
mod tests;
