use std::any::Any;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use super::{EventName, MAX_NAME_BYTES};
use crate::error::Error;

/// How many names or prefixes one filter may have.
const MAX_PATTERNS: usize = 1000;
/// The memory that a name or prefix takes in addition to its bytes, with its entry in the index of filters.
const BYTES_OF_PATTERN: usize = 128;

/// A value that every copy of a filter holds. It is dropped with the last copy, and so tells that the filter is unused.
pub type Holder = Arc<dyn Any + Send + Sync>;

/// The events that a subscriber wants: all, or names and prefixes (`news,chat/*`), except for some of them. Cheap to
/// clone. Filters with the same entries in another order are equal.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// `None` matches everything.
    patterns: Option<Patterns>,
    /// The names that are excluded; `None` excludes nothing.
    except: Option<Patterns>,
    /// Not a part of the filter's value.
    holder: Option<Holder>,
}

/// Names and prefixes, without overlap, in the order of the names. A lookup costs a few comparisons, however many they
/// are. Cheap to clone. Sets with the same entries in another order are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Patterns(Arc<[Pattern]>);

/// One entry of a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This name only.
    Exact(EventName),
    /// Every name with this prefix.
    Prefix(Arc<str>),
}

impl Pattern {
    /// Parses a name, or a prefix that ends with `*`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('*') {
            Some(prefix) => (prefix.len() <= MAX_NAME_BYTES).then(|| Self::Prefix(prefix.into())),
            None => EventName::parse(text).ok().map(Self::Exact),
        }
    }

    /// Whether the pattern matches a name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.as_str() == name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// The beginning of the names that it matches, and whether they may go on after it.
    fn rank(&self) -> (&str, bool) {
        match self {
            Self::Prefix(prefix) => (prefix, false),
            Self::Exact(name) => (name.as_str(), true),
        }
    }
}

/// Parses `news,chat/*`: names, or prefixes that end with `*`, separated by commas. White space around an entry is
/// dropped.
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

/// The same names, each in one pattern only: in the order of the names, without overlap.
pub fn disjoint(mut patterns: Vec<Pattern>) -> Vec<Pattern> {
    // Patterns with the same beginning are next to each other, and the shortest prefix comes first.
    patterns.sort_unstable_by(|one, other| one.rank().cmp(&other.rank()));
    patterns.dedup_by(|next, kept| match kept {
        Pattern::Prefix(prefix) => next.rank().0.starts_with(&**prefix),
        Pattern::Exact(_) => next == kept,
    });
    patterns
}

impl Patterns {
    /// A set of patterns in any order.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(disjoint(patterns).into())
    }

    /// Whether one of them matches a name.
    pub fn matches(&self, name: &str) -> bool {
        self.nearest(name).is_some_and(|nearest| nearest.matches(name))
    }

    /// Whether they match every name that another pattern matches. One of them alone must: two never share a name.
    pub fn contain(&self, other: &Pattern) -> bool {
        let (beginning, is_exact) = other.rank();
        self.nearest(beginning).is_some_and(|nearest| match nearest {
            Pattern::Exact(_) => is_exact && nearest.matches(beginning),
            Pattern::Prefix(prefix) => beginning.starts_with(&**prefix),
        })
    }

    /// The last pattern that does not begin after a name: any pattern between a name and a prefix that matches it would have
    /// that prefix, too, and so be contained in it.
    fn nearest(&self, name: &str) -> Option<&Pattern> {
        let next = self.0.partition_point(|pattern| pattern.rank().0 <= name);
        self.0.get(next.checked_sub(1)?)
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
    /// A filter that matches everything.
    pub const ALL: Self = Self { patterns: None, except: None, holder: None };

    /// Parses `news,chat/*`: names, or prefixes that end with `*`, separated by commas. White space around an entry is
    /// dropped.
    ///
    /// # Errors
    /// [`Error::FilterInvalid`] for an empty list or entry, for an entry that cannot be an event name, or for too many.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let patterns = parse_patterns(text)?;
        // A star alone matches everything, whatever the other entries are.
        let is_all = patterns.contains(&Pattern::Prefix("".into()));
        Ok(Self { patterns: (!is_all).then_some(patterns), ..Self::ALL })
    }

    /// A filter that matches these names alone; none of them, nothing.
    pub fn names(names: impl IntoIterator<Item = EventName>) -> Self {
        let patterns = Patterns::new(names.into_iter().map(Pattern::Exact).collect());
        Self { patterns: Some(patterns), ..Self::ALL }
    }

    /// Whether it matches nothing that these patterns do not match.
    pub fn is_within(&self, patterns: &Patterns) -> bool {
        self.patterns.as_ref().is_some_and(|own| own.iter().all(|pattern| patterns.contain(pattern)))
    }

    /// The same filter without the names of another list.
    ///
    /// # Errors
    /// As [`EventFilter::parse`].
    pub fn except(self, text: &str) -> Result<Self, Error> {
        Ok(Self { except: Some(parse_patterns(text)?), ..self })
    }

    /// Whether the filter matches a name.
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.as_ref().is_none_or(|patterns| patterns.matches(name))
            && !self.except.as_ref().is_some_and(|except| except.matches(name))
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let patterns = self.patterns.iter().chain(&self.except).flat_map(|patterns| patterns.iter());
        patterns.map(|pattern| pattern.rank().0.len() + BYTES_OF_PATTERN).sum()
    }

    /// The same filter with a holder, which is dropped with the last copy.
    pub fn held_by(self, holder: Holder) -> Self {
        Self { holder: Some(holder), ..self }
    }

    /// The holder.
    pub fn holder(&self) -> Option<Holder> {
        self.holder.clone()
    }

    /// The same filter without a holder.
    pub fn unheld(self) -> Self {
        Self { holder: None, ..self }
    }

    /// The wanted entries; `None` if everything is wanted.
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
    fn excluded_names_are_excluded_from_a_filter() {
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
    fn a_filter_of_names_matches_these_alone() {
        let name = |name: &str| EventName::parse(name).unwrap();
        let filter = EventFilter::names(["b", "a,c", "a*"].map(name));
        assert!(["b", "a,c", "a*"].iter().all(|name| filter.matches(name)));
        assert!(!filter.matches("a") && !filter.matches("ab") && !filter.matches("c"));
        let nothing = EventFilter::names([]);
        assert!(!nothing.matches("a") && nothing.patterns().is_some_and(<[_]>::is_empty));
        assert!(nothing.is_within(&Patterns::default()) && !EventFilter::ALL.is_within(&Patterns::default()));
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_refused() {
        for bad in ["", ",", "a,,b", "a\nb", "data:x"] {
            assert!(EventFilter::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn patterns_match_a_name_if_one_of_them_does(
            patterns in prop::collection::vec("[ab/]{0,4}[*]?", 1..12),
            name in "[ab/]{1,6}",
        ) {
            let patterns: Vec<_> = patterns.iter().filter_map(|pattern| Pattern::parse(pattern)).collect();
            prop_assert_eq!(Patterns::new(patterns.clone()).matches(&name), is_named(&patterns, &name));
        }

        #[test]
        fn a_filter_is_within_patterns_if_they_match_whatever_it_may_match(
            wanted in prop::collection::vec("[ab]{1,2}[*]?", 1..4),
            patterns in prop::collection::vec("[ab]{0,2}[*]?", 1..6),
        ) {
            let filter = EventFilter::parse(&wanted.join(",")).unwrap();
            let patterns: Vec<_> = patterns.iter().filter_map(|pattern| Pattern::parse(pattern)).collect();
            // All that tells: each name of up to two letters, and a longer one that begins with it and with nothing else here.
            let short = ["a", "b", "aa", "ab", "ba", "bb"];
            let names = short.iter().flat_map(|name| [(*name).to_owned(), format!("{name}cc")]);
            // Two prefixes that together match as much as a shorter one do not count as one.
            let is_within = names.into_iter().all(|name| !filter.matches(&name) || is_named(&patterns, &name));
            prop_assert_eq!(filter.is_within(&Patterns::new(patterns)), is_within);
        }
    }
}
