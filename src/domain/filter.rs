use std::any::Any;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use super::{EventName, MAX_NAME_BYTES};
use crate::error::Error;

/// The most names or prefixes in one filter.
const MAX_PATTERNS: usize = 1000;
/// What a name or prefix in use takes beside its own bytes, with its place among what is looked through for each event.
const BYTES_OF_PATTERN: usize = 128;

/// What goes along with every copy of a filter, and by its end tells that the last one has gone.
pub type Holder = Arc<dyn Any + Send + Sync>;

/// Which events a subscriber wants: all, or names and prefixes (`news,chat/*`), but not some of them. Cheap to clone; equal
/// where the same is wanted in another order.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// `None` lets everything through.
    patterns: Option<Patterns>,
    /// What is left out all the same; `None` is nothing.
    except: Option<Patterns>,
    /// Not a part of what it is.
    holder: Option<Holder>,
}

/// Names and prefixes, apart from each other and in the order of the names: to look whether a name is among them costs a few
/// comparisons, however many they are. Cheap to clone; equal where the same is named in another order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Patterns(Arc<[Pattern]>);

/// One entry of a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This name and no other.
    Exact(EventName),
    /// Every name that begins so.
    Prefix(Arc<str>),
}

impl Pattern {
    /// Reads a name, or a prefix ended by `*`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('*') {
            Some(prefix) => (prefix.len() <= MAX_NAME_BYTES).then(|| Self::Prefix(prefix.into())),
            None => EventName::parse(text).ok().map(Self::Exact),
        }
    }

    /// Whether a name is one of those.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.as_str() == name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// What names begin with that it matches, and whether they end there.
    fn rank(&self) -> (&str, bool) {
        match self {
            Self::Prefix(prefix) => (prefix, false),
            Self::Exact(name) => (name.as_str(), true),
        }
    }
}

/// Reads `news,chat/*`: names, or prefixes ended by `*`, with commas between. White space around one is dropped.
fn parse_patterns(text: &str) -> Result<Patterns, Error> {
    let mut patterns = Vec::new();
    for part in text.split(',').map(str::trim) {
        let pattern = Pattern::parse(part).ok_or(Error::FilterInvalid)?;
        if patterns.len() == MAX_PATTERNS {
            return Err(Error::FilterInvalid);
        }
        patterns.push(pattern);
    }
    Ok(Patterns::new(patterns))
}

/// The same names, but each in one pattern only: in the order of the names, and apart from each other.
pub fn disjoint(mut patterns: Vec<Pattern>) -> Vec<Pattern> {
    // What begins alike stands together, and the shortest prefix of it first.
    patterns.sort_unstable_by(|one, other| one.rank().cmp(&other.rank()));
    patterns.dedup_by(|next, kept| match kept {
        Pattern::Prefix(prefix) => next.rank().0.starts_with(&**prefix),
        Pattern::Exact(_) => next == kept,
    });
    patterns
}

impl Patterns {
    /// Those, in whichever order they come.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(disjoint(patterns).into())
    }

    /// Whether a name is among them.
    pub fn matches(&self, name: &str) -> bool {
        // Whatever would stand between a name and the prefix that it is among begins with that prefix, too, and so is in it.
        let next = self.0.partition_point(|pattern| pattern.rank().0 <= name);
        next.checked_sub(1).is_some_and(|last| self.0[last].matches(name))
    }
}

impl Deref for Patterns {
    type Target = [Pattern];

    fn deref(&self) -> &[Pattern] {
        &self.0
    }
}

impl PartialEq for EventFilter {
    fn eq(&self, other: &Self) -> bool {
        (&self.patterns, &self.except) == (&other.patterns, &other.except)
    }
}

impl Eq for EventFilter {}

impl Hash for EventFilter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.patterns, &self.except).hash(state);
    }
}

impl EventFilter {
    /// Lets everything through.
    pub const ALL: Self = Self { patterns: None, except: None, holder: None };

    /// Reads `news,chat/*`: names, or prefixes ended by `*`, with commas between. White space around one is dropped.
    ///
    /// # Errors
    /// [`Error::FilterInvalid`] for an empty list or entry, something that cannot be an event's name, or too many.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let patterns = parse_patterns(text)?;
        // A star alone wants all, whatever stands beside it.
        let is_all = patterns.contains(&Pattern::Prefix("".into()));
        Ok(Self { patterns: (!is_all).then_some(patterns), ..Self::ALL })
    }

    /// The same without what another list names.
    ///
    /// # Errors
    /// As [`EventFilter::parse`].
    pub fn except(self, text: &str) -> Result<Self, Error> {
        Ok(Self { except: Some(parse_patterns(text)?), ..self })
    }

    /// Whether an event of this name passes.
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.as_ref().is_none_or(|patterns| patterns.matches(name))
            && !self.except.as_ref().is_some_and(|except| except.matches(name))
    }

    /// What it takes in memory while it is in use, in bytes.
    pub fn bytes(&self) -> usize {
        let patterns = self.patterns.iter().chain(&self.except).flat_map(|patterns| patterns.iter());
        patterns.map(|pattern| pattern.rank().0.len() + BYTES_OF_PATTERN).sum()
    }

    /// The same, for which somebody else is told when the last copy of it goes.
    pub fn held_by(self, holder: Holder) -> Self {
        Self { holder: Some(holder), ..self }
    }

    /// Who is told of that.
    pub fn holder(&self) -> Option<Holder> {
        self.holder.clone()
    }

    /// The same, of which nobody is told.
    pub fn unheld(self) -> Self {
        Self { holder: None, ..self }
    }

    /// The entries of what is wanted, or `None` where that is everything.
    pub fn patterns(&self) -> Option<&[Pattern]> {
        self.patterns.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_named(patterns: &[Pattern], name: &str) -> bool {
        patterns.iter().any(|pattern| pattern.matches(name))
    }

    #[test]
    fn a_filter_is_names_and_prefixes() {
        let filter = EventFilter::parse("news, chat/*").unwrap();
        assert!(filter.matches("news") && filter.matches("chat/1") && filter.matches("chat/"));
        assert!(!filter.matches("newsroom") && !filter.matches("chat"));
        assert!(EventFilter::parse("a,*").unwrap().matches("anything"));
    }

    #[test]
    fn the_same_wishes_in_another_order_are_the_same_filter() {
        assert_eq!(EventFilter::parse("a,b/*,a").unwrap(), EventFilter::parse(" b/*, a").unwrap());
        assert_ne!(EventFilter::parse("a").unwrap(), EventFilter::parse("a*").unwrap());
    }

    #[test]
    fn what_is_left_out_is_left_out_of_what_is_wanted() {
        let filter = EventFilter::parse("news,chat/*").unwrap().except("chat/1, secret*").unwrap();
        assert!(filter.matches("news") && filter.matches("chat/2"));
        assert!(!filter.matches("chat/1") && !filter.matches("other"));
        assert!(!EventFilter::ALL.except("a*").unwrap().matches("ab"));
        assert_ne!(filter, EventFilter::parse("news,chat/*").unwrap());
    }

    #[test]
    fn patterns_that_overlap_become_such_as_are_apart_and_match_the_same() {
        let patterns = |text: &str| -> Vec<_> { text.split(',').map(|part| Pattern::parse(part).unwrap()).collect() };
        for (given, expected) in [
            ("b,a,b", "a,b"),
            ("chat/1,chat/*,chat/1*,chatter,chat*", "chat*"),
            ("a/b,a,a/*,a/b/*,b", "a,a/*,b"),
            ("z,*,a", "*"),
            ("a*,ab,b*,ba*,a", "a*,b*"),
        ] {
            let apart = disjoint(patterns(given));
            assert_eq!(apart, patterns(expected), "{given}");
            for name in ["a", "a/", "a/b", "ab", "b", "ba", "c", "chat", "chat/1", "chatter", "z", "zz", "0"] {
                assert_eq!(
                    Patterns::new(apart.clone()).matches(name),
                    is_named(&patterns(given), name),
                    "{name} in {given}"
                );
            }
        }
        assert!(!Patterns::default().matches("a"));
    }

    #[test]
    fn what_could_match_nothing_is_refused() {
        for bad in ["", ",", "a,,b", "a\nb", "data:x"] {
            assert!(EventFilter::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_among_patterns_where_one_of_them_names_it(
            patterns in prop::collection::vec("[ab/]{0,4}[*]?", 1..12),
            name in "[ab/]{1,6}",
        ) {
            let patterns: Vec<_> = patterns.iter().filter_map(|pattern| Pattern::parse(pattern)).collect();
            prop_assert_eq!(Patterns::new(patterns.clone()).matches(&name), is_named(&patterns, &name));
        }
    }
}
