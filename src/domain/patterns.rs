use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use super::{EventName, MAX_NAME_BYTES};

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

    /// The pattern that matches every name.
    pub fn all() -> Self {
        Self::Prefix("".into())
    }

    /// Whether the pattern matches a name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.as_str() == name,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }

    /// The beginning of the names that it matches.
    pub fn beginning(&self) -> &str {
        self.rank().0
    }

    /// The beginning of the names that it matches, and whether it is the whole name.
    fn rank(&self) -> (&str, bool) {
        match self {
            Self::Prefix(prefix) => (prefix, false),
            Self::Exact(name) => (name.as_str(), true),
        }
    }
}

/// By the beginning of the names; a prefix comes before the name that is the same text.
impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The same names, each in one pattern only: in the order of the names, without overlap.
pub fn disjoint(mut patterns: Vec<Pattern>) -> Vec<Pattern> {
    // Patterns with the same beginning are next to each other, and the shortest prefix comes first.
    patterns.sort();
    patterns.dedup_by(|next, kept| match kept {
        Pattern::Prefix(prefix) => next.beginning().starts_with(&**prefix),
        Pattern::Exact(_) => next == kept,
    });
    patterns
}

/// Those of some patterns that are not among others. Both are in order; it looks at each once.
pub fn difference<'a>(patterns: &'a [Pattern], others: &'a [Pattern]) -> impl Iterator<Item = &'a Pattern> {
    let mut others = others.iter().peekable();
    patterns.iter().filter(move |pattern| {
        while others.next_if(|other| other < pattern).is_some() {}
        others.peek() != Some(pattern)
    })
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
        let next = self.0.partition_point(|pattern| pattern.beginning() <= name);
        self.0.get(next.checked_sub(1)?)
    }
}

impl Deref for Patterns {
    type Target = [Pattern];

    fn deref(&self) -> &[Pattern] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_named(patterns: &[Pattern], name: &str) -> bool {
        patterns.iter().any(|pattern| pattern.matches(name))
    }

    fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
        let patterns = prop::collection::vec("[ab/]{0,4}[*]?", 0..12);
        patterns.prop_map(|texts| texts.iter().filter_map(|text| Pattern::parse(text)).collect())
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

    proptest! {
        #[test]
        fn patterns_match_a_name_if_one_of_them_does(patterns in patterns(), name in "[ab/]{1,6}") {
            prop_assert_eq!(Patterns::new(patterns.clone()).matches(&name), is_named(&patterns, &name));
        }

        #[test]
        fn the_difference_is_what_is_in_one_and_not_in_the_other(mut one in patterns(), mut other in patterns()) {
            one.sort();
            other.sort();
            let expected: Vec<_> = one.iter().filter(|pattern| !other.contains(pattern)).collect();
            prop_assert_eq!(difference(&one, &other).collect::<Vec<_>>(), expected);
        }
    }
}
