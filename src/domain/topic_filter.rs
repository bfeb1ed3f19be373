use std::fmt;
use std::sync::Arc;

use super::MAX_NAME_BYTES;

/// The wildcard for one level of a topic.
const ONE_LEVEL: &str = "+";
/// The wildcard for all levels from here on, and for none.
const ALL_LEVELS: &str = "#";

/// How many levels a filter with `+` has at most, without `#`. In a tree of filters, a name goes on by its own level and by `+`: so
/// with each level there are twice as many ways to go, and this bounds what a name costs, whatever filters there are.
pub const MAX_LEVELS_WITH_PLUS: usize = 8;

/// A topic filter of MQTT (MQTT 5.0, 4.7): the topics that a client subscribes to, where `+` stands for one level and `#` for all
/// that follow. Topics are event names. Cheap to clone.
///
/// Names that have a `+` or `#` in them match none: they come from other transports, and no client of MQTT can be sent one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

/// A topic filter of which the events go to one member of a group each (MQTT 5.0, 4.8.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedFilter {
    /// What the group is called.
    pub group: Arc<str>,
    /// The events that its members share.
    pub filter: TopicFilter,
}

/// The first level, and what follows the `/` after it.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, below)| (level, Some(below)))
}

/// Whether a text has a character in it that is a wildcard in a filter, and may not be in a topic (MQTT 5.0, 4.7.1.1).
pub(super) fn has_wildcard(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Whether the levels of a filter, or its last ones, match those of a name that has no wildcards, or its last ones.
fn levels_match(mut filter: &str, mut name: &str) -> bool {
    loop {
        let ((wanted, filter_below), (level, below)) = (split(filter), split(name));
        if wanted == ALL_LEVELS {
            return true;
        }
        if wanted != ONE_LEVEL && wanted != level {
            return false;
        }
        match (filter_below, below) {
            (Some(filter_below), Some(below)) => (filter, name) = (filter_below, below),
            // `a/#` matches `a`, too.
            (filter_below, None) => return filter_below.is_none_or(|below| below == ALL_LEVELS),
            (None, Some(_)) => return false,
        }
    }
}

impl TopicFilter {
    /// Parses a topic filter: 1 to 256 bytes without U+0000, where `#` is the last level or nowhere, and `+` is a whole level, and one of
    /// [`MAX_LEVELS_WITH_PLUS`]. It need not match anything that can be an event name.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_NAME_BYTES || text.contains('\0') {
            return None;
        }
        let above = text.strip_suffix(ALL_LEVELS).map_or(Some(text), |above| match above {
            "" => Some(above),
            _ => above.strip_suffix('/'),
        })?;
        let has_few_levels = !above.contains(ONE_LEVEL) || above.split('/').count() <= MAX_LEVELS_WITH_PLUS;
        let are_levels = above.split('/').all(|level| level == ONE_LEVEL || !has_wildcard(level));
        (has_few_levels && are_levels).then(|| Self(text.into()))
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches a name. One that begins with a wildcard matches no name that begins with `$` (MQTT 5.0, 4.7.2-1).
    pub fn matches(&self, name: &str) -> bool {
        let is_hidden = self.begins_with_wildcard() && name.starts_with('$');
        !is_hidden && !has_wildcard(name) && levels_match(&self.0, name)
    }

    /// Whether its levels from a byte on match those of a name without wildcards, or its last ones.
    pub fn matches_from(&self, at: usize, name: &str) -> bool {
        levels_match(&self.0[at..], name)
    }

    /// Whether it has a wildcard. Without any it matches one name at most.
    pub fn has_wildcard(&self) -> bool {
        has_wildcard(&self.0)
    }

    /// Whether it matches all names but those that begin with `$`.
    pub fn is_all(&self) -> bool {
        &*self.0 == ALL_LEVELS
    }

    fn begins_with_wildcard(&self) -> bool {
        self.0.starts_with(['+', '#'])
    }

    /// The text before the first wildcard, if there is one. All names that it matches begin with that, apart from its
    /// [`Self::parent`].
    pub(super) fn literal(&self) -> Option<&str> {
        self.0.find(['+', '#']).map(|at| &self.0[..at])
    }

    /// The name `a` of a filter `a/#` without other wildcards, which it matches, too.
    pub(super) fn parent(&self) -> Option<&str> {
        self.0.strip_suffix("/#").filter(|parent| !has_wildcard(parent))
    }

    /// The beginning of the names that it matches.
    pub(super) fn beginning(&self) -> &str {
        self.parent().or(self.literal()).unwrap_or(&self.0)
    }

    /// Whether it matches every name that another filter matches.
    pub fn covers(&self, other: &Self) -> bool {
        if self.begins_with_wildcard() && other.0.starts_with('$') {
            return false;
        }
        let (mut own, mut others) = (&*self.0, &*other.0);
        loop {
            let ((wanted, below), (level, others_below)) = (split(own), split(others));
            if wanted == ALL_LEVELS {
                return true;
            }
            if level == ALL_LEVELS || (wanted != ONE_LEVEL && wanted != level) {
                return false;
            }
            match (below, others_below) {
                (Some(below), Some(others_below)) => (own, others) = (below, others_below),
                (below, None) => return below.is_none_or(|below| below == ALL_LEVELS),
                (None, Some(_)) => return false,
            }
        }
    }

    /// Whether some name may match it and another filter.
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_apart = |one: &Self, other: &Self| one.begins_with_wildcard() && other.0.starts_with('$');
        if is_apart(self, other) || is_apart(other, self) {
            return false;
        }
        let (mut own, mut others) = (&*self.0, &*other.0);
        loop {
            let ((one, below), (level, others_below)) = (split(own), split(others));
            if one == ALL_LEVELS || level == ALL_LEVELS {
                return true;
            }
            if one != ONE_LEVEL && level != ONE_LEVEL && one != level {
                return false;
            }
            match (below, others_below) {
                (Some(below), Some(others_below)) => (own, others) = (below, others_below),
                (None, None) => return true,
                (Some(below), None) | (None, Some(below)) => return below == ALL_LEVELS,
            }
        }
    }

    /// Whether it may match a name that begins with a text.
    pub fn overlaps_prefix(&self, prefix: &str) -> bool {
        if has_wildcard(prefix) || (self.begins_with_wildcard() && prefix.starts_with('$')) {
            return false;
        }
        let (mut filter, mut prefix) = (&*self.0, prefix);
        loop {
            let ((wanted, filter_below), (level, below)) = (split(filter), split(prefix));
            if wanted == ALL_LEVELS {
                return true;
            }
            match (filter_below, below) {
                // The name may go on after the prefix as it likes.
                (_, None) => return wanted == ONE_LEVEL || wanted.starts_with(level),
                (Some(filter_below), Some(below)) if wanted == ONE_LEVEL || wanted == level => {
                    (filter, prefix) = (filter_below, below);
                }
                _ => return false,
            }
        }
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SharedFilter {
    /// What a shared subscription begins with, and no other subscription of MQTT 5.0 may begin with.
    pub const BEGINNING: &'static str = "$share/";

    /// Parses `$share/<group>/<filter>`: the group is 1 to 256 bytes without U+0000, `/`, `+` and `#` (MQTT 5.0, 4.8.2).
    pub fn parse(text: &str) -> Option<Self> {
        let (group, filter) = text.strip_prefix(Self::BEGINNING)?.split_once('/')?;
        let is_group = !group.is_empty() && group.len() <= MAX_NAME_BYTES && !group.contains('\0');
        let filter = TopicFilter::parse(filter).filter(|_| is_group && !has_wildcard(group))?;
        Some(Self { group: group.into(), filter })
    }
}

#[cfg(test)]
mod tests;
