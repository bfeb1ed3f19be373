use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher, RandomState};

use super::small_map::SmallMap;
use crate::domain::TopicFilter;

/// Groups, subscriptions or sessions, found by the topic filters of MQTT that match a name, and each known by a key. With each there is
/// something that the index does not look at.
///
/// It is a tree of the levels of filters. A name goes down in it by its own levels and by `+`, wherever filters go on so. What a name
/// costs is so bounded by its levels, and by the few that filters with `+` may have ([`TopicFilter::parse`]), however many filters
/// there are.
pub struct TopicIndex<K, T> {
    /// By the place of a filter. Different filters may have the same place, if rarely. So a filter is a part of the key.
    wanting: ByPlace<SmallMap<(K, TopicFilter), T>>,
    /// How filters go on, by the place of what they begin with.
    branches: ByPlace<Branch>,
    hasher: RandomState,
    /// How many places were looked at.
    #[cfg(test)]
    pub steps: std::sync::atomic::AtomicUsize,
}

/// Where a filter stands, or what it begins with: the hash of its levels. So all places of the tree are in one table, without pointers.
type Place = DefaultHasher;

/// What is known of places, by their hashes.
type ByPlace<V> = HashMap<u64, V, BuildHasherDefault<AsItIs>>;

/// A key that is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How many filters go on after the levels that they begin with.
#[derive(Default)]
struct Branch {
    /// By a level without a wildcard.
    named: u32,
    /// By `+`.
    one: u32,
    /// By `#`.
    all: u32,
}

impl Branch {
    /// How many go on by a level.
    fn by(&mut self, level: &str) -> &mut u32 {
        match level {
            "+" => &mut self.one,
            "#" => &mut self.all,
            _ => &mut self.named,
        }
    }

    fn is_empty(&self) -> bool {
        (self.named, self.one, self.all) == (0, 0, 0)
    }
}

/// The place below another.
fn below(place: &Place, level: &str) -> Place {
    let mut below = place.clone();
    level.hash(&mut below);
    below
}

impl<K: Ord + Copy, T> TopicIndex<K, T> {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            wanting: HashMap::default(),
            branches: HashMap::default(),
            hasher: RandomState::new(),
            #[cfg(test)]
            steps: std::sync::atomic::AtomicUsize::default(),
        }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.wanting.values().map(SmallMap::len).sum::<usize>() + self.branches.len()
    }

    fn place(&self, filter: &TopicFilter) -> u64 {
        filter.as_str().split('/').fold(self.hasher.build_hasher(), |place, level| below(&place, level)).finish()
    }

    /// Adds one that wants the events that a filter matches. Without a wildcard that is none: one that matches a name is no filter here.
    pub fn add(&mut self, filter: &TopicFilter, key: K, one: T) {
        if !filter.has_wildcard() {
            return;
        }
        let place = self.place(filter);
        let wanting = self.wanting.entry(place).or_default();
        let before = wanting.len();
        wanting.insert((key, filter.clone()), one);
        if wanting.len() > before {
            self.count(filter, 1);
        }
    }

    /// Takes out one that was added with this filter.
    pub fn remove(&mut self, filter: &TopicFilter, key: K) {
        let place = self.place(filter);
        let Some(wanting) = self.wanting.get_mut(&place) else { return };
        let before = wanting.len();
        wanting.remove(&(key, filter.clone()));
        let is_removed = wanting.len() < before;
        if wanting.is_empty() {
            self.wanting.remove(&place);
        }
        if is_removed {
            self.count(filter, -1);
        }
    }

    /// Counts one more or less wherever a filter goes along.
    fn count(&mut self, filter: &TopicFilter, change: i32) {
        let mut place = self.hasher.build_hasher();
        for level in filter.as_str().split('/') {
            let at = place.finish();
            let branch = self.branches.entry(at).or_default();
            let filters = branch.by(level);
            *filters = filters.saturating_add_signed(change);
            if branch.is_empty() {
                self.branches.remove(&at);
            }
            level.hash(&mut place);
        }
    }

    /// Those that want the events of a name, once for each of their filters that matches it.
    pub fn wanting(&self, name: &str) -> impl Iterator<Item = (K, &T)> {
        let mut found = Vec::new();
        // Most tenants have no client of MQTT. Names with wildcards come from other transports, and no filter matches them.
        if !self.branches.is_empty() && !name.contains(['+', '#']) {
            // Filters that begin with a wildcard match no name that begins with `$` (MQTT 5.0, 4.7.2-1).
            self.find(&self.hasher.build_hasher(), Some(name), !name.starts_with('$'), &mut found);
        }
        found.into_iter().flat_map(SmallMap::entries).map(|((key, _), one)| (*key, one))
    }

    /// Finds the filters below a place that match what a name has from there on, if it has more.
    fn find<'a>(
        &'a self,
        place: &Place,
        name: Option<&str>,
        by_wildcards: bool,
        found: &mut Vec<&'a SmallMap<(K, TopicFilter), T>>,
    ) {
        #[cfg(test)]
        self.steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let Some(branch) = self.branches.get(&place.finish()) else { return };
        // `a/#` matches `a`, too.
        if branch.all > 0 && by_wildcards {
            found.extend(self.wanting.get(&below(place, "#").finish()));
        }
        let Some(name) = name else { return };
        let (level, rest) = name.split_once('/').map_or((name, None), |(level, rest)| (level, Some(rest)));
        for (level, is_there) in [(level, branch.named > 0), ("+", branch.one > 0 && by_wildcards)] {
            if is_there {
                let place = below(place, level);
                if rest.is_none() {
                    found.extend(self.wanting.get(&place.finish()));
                }
                self.find(&place, rest, true, found);
            }
        }
    }
}

#[cfg(test)]
mod tests;
