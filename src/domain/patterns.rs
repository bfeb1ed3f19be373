use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use super::topic_filter::has_wildcard;
use super::{EventName, MAX_NAME_BYTES, TopicFilter};

/// Up to so many topic filters are compared one after the other: that is faster than to search, and bounds what filters cost that
/// differ only in their last levels.
const FEW_TOPICS: usize = 16;

/// Names and prefixes, without overlap, in the order of the names, and after them topic filters. A lookup costs a few comparisons,
/// however many they are. Cheap to clone. Sets with the same entries in another order are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Patterns(Arc<[Pattern]>);

/// One entry of a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This name only.
    Exact(EventName),
    /// Every name with this prefix.
    Prefix(Arc<str>),
    /// Every name that this topic filter matches. It has a wildcard, or is no event name.
    Topic(TopicFilter),
}

/// A filter without a wildcard is the name that it matches.
impl From<TopicFilter> for Pattern {
    fn from(filter: TopicFilter) -> Self {
        let name = EventName::parse(filter.as_str()).ok().filter(|_| !filter.has_wildcard());
        name.map_or(Self::Topic(filter), Self::Exact)
    }
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
            Self::Topic(filter) => filter.matches(name),
        }
    }

    /// The name, the prefix or the topic filter.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(name) => name.as_str(),
            Self::Prefix(prefix) => prefix,
            Self::Topic(filter) => filter.as_str(),
        }
    }

    /// The beginning of the names that it matches.
    pub fn beginning(&self) -> &str {
        match self {
            Self::Topic(filter) => filter.beginning(),
            Self::Exact(_) | Self::Prefix(_) => self.text(),
        }
    }

    /// Names and prefixes that contain every name that it matches: of a topic filter, what comes before its first wildcard.
    fn candidates(&self) -> impl Iterator<Item = Self> {
        let [one, other] = match self {
            Self::Exact(_) | Self::Prefix(_) => [Some(self.clone()), None],
            Self::Topic(filter) => {
                let parent = filter.parent().and_then(|parent| EventName::parse(parent).ok());
                [parent.map(Self::Exact), filter.literal().map(|literal| Self::Prefix(literal.into()))]
            }
        };
        one.into_iter().chain(other)
    }

    /// Whether it is a topic filter.
    fn is_topic(&self) -> bool {
        matches!(self, Self::Topic(_))
    }

    /// Whether some name may match it and a topic filter.
    fn overlaps(&self, filter: &TopicFilter) -> bool {
        match self {
            Self::Exact(name) => filter.matches(name.as_str()),
            Self::Prefix(prefix) => filter.overlaps_prefix(prefix),
            Self::Topic(own) => own.overlaps(filter),
        }
    }

    /// What its place among others depends on.
    fn rank(&self) -> (bool, &str, bool) {
        (self.is_topic(), self.text(), matches!(self, Self::Exact(_)))
    }
}

/// By the beginning of the names; a prefix comes before the name that is the same text, and topic filters come last.
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

/// Names and prefixes that contain every name that some patterns match; `None` if they would not narrow anything.
pub fn candidates(patterns: &[Pattern]) -> Option<Vec<Pattern>> {
    let candidates: Vec<_> = patterns.iter().flat_map(Pattern::candidates).collect();
    (!candidates.contains(&Pattern::all())).then_some(candidates)
}

/// The same names, each in one pattern only, in the order of the names, without overlap. Only topic filters, which come last, may
/// overlap with others.
pub fn disjoint(mut patterns: Vec<Pattern>) -> Vec<Pattern> {
    // Patterns with the same beginning are next to each other, and the shortest prefix comes first.
    patterns.sort();
    patterns.dedup_by(|next, kept| match kept {
        Pattern::Prefix(prefix) => next.beginning().starts_with(&**prefix),
        Pattern::Exact(_) | Pattern::Topic(_) => next == kept,
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

    /// The names and prefixes, and the topic filters.
    fn parts(&self) -> (&[Pattern], &[Pattern]) {
        match self.0.last() {
            Some(Pattern::Topic(_)) => self.0.split_at(self.0.partition_point(|pattern| !pattern.is_topic())),
            _ => (&self.0, &[]),
        }
    }

    /// Whether one of them matches a name.
    pub fn matches(&self, name: &str) -> bool {
        let (plain, topics) = self.parts();
        nearest(plain, name).is_some_and(|nearest| nearest.matches(name))
            || (!topics.is_empty() && one_topic_matches(topics, name))
    }

    /// Whether they match every name that another pattern matches. Of a name or a prefix, one of them alone must: two never share a
    /// name. A topic filter may be contained and not be recognised, if only several together match what it matches.
    pub fn contain(&self, other: &Pattern) -> bool {
        let (plain, topics) = self.parts();
        match other {
            Pattern::Exact(name) => self.matches(name.as_str()),
            Pattern::Prefix(prefix) => {
                let nearest = nearest(plain, prefix);
                nearest.is_some_and(|nearest| matches!(nearest, Pattern::Prefix(_)) && nearest.matches(prefix))
            }
            Pattern::Topic(filter) => {
                let covers = |topic: &Pattern| matches!(topic, Pattern::Topic(topic) if topic.covers(filter));
                other.candidates().all(|candidate| self.contain(&candidate)) || topics.iter().any(covers)
            }
        }
    }

    /// Whether some name may match one of them and a topic filter.
    pub fn overlap(&self, filter: &TopicFilter) -> bool {
        if filter.has_wildcard() {
            self.iter().any(|pattern| pattern.overlaps(filter))
        } else {
            self.matches(filter.as_str())
        }
    }
}

/// The last of some names and prefixes that does not begin after a name: any pattern between a name and a prefix that matches it would
/// have that prefix, too, and so be contained in it.
fn nearest<'a>(plain: &'a [Pattern], name: &str) -> Option<&'a Pattern> {
    let next = plain.partition_point(|pattern| pattern.text() <= name);
    plain.get(next.checked_sub(1)?)
}

/// Whether one of some topic filters, which are in order, matches a name.
fn one_topic_matches(topics: &[Pattern], name: &str) -> bool {
    // Those that begin with a wildcard match no name that begins with `$` (MQTT 5.0, 4.7.2-1).
    let topics = if name.starts_with('$') { going_on(topics, 0, "$") } else { topics };
    !has_wildcard(name) && one_goes_on(topics, 0, name)
}

/// Those of some patterns, which are in order and the same up to a byte, that go on with a text there.
fn going_on<'a>(topics: &'a [Pattern], at: usize, text: &str) -> &'a [Pattern] {
    let (_, topics) = topics.split_at(topics.partition_point(|topic| topic.text()[at..] < *text));
    topics.split_at(topics.partition_point(|topic| topic.text()[at..].starts_with(text))).0
}

/// Whether one of some topic filters, which are in order and the same up to a level that begins at a byte, matches what a name has
/// from that level on. In their order they are a tree of levels, in which this goes down.
fn one_goes_on(topics: &[Pattern], at: usize, name: &str) -> bool {
    #[cfg(test)]
    tests::STEPS.set(tests::STEPS.get() + 1);
    if topics.len() <= FEW_TOPICS {
        return topics.iter().any(|topic| matches!(topic, Pattern::Topic(filter) if filter.matches_from(at, name)));
    }
    if !going_on(topics, at, "#").is_empty() {
        return true;
    }
    let (level, below) = name.split_once('/').map_or((name, None), |(level, below)| (level, Some(below)));
    [level, "+"].into_iter().any(|level| {
        let (topics, at) = (going_on(topics, at, level), at + level.len());
        match below {
            Some(below) => one_goes_on(going_on(topics, at, "/"), at + 1, below),
            None => {
                topics.first().is_some_and(|first| first.text().len() == at) || !going_on(topics, at, "/#").is_empty()
            }
        }
    })
}

impl Deref for Patterns {
    type Target = [Pattern];

    fn deref(&self) -> &[Pattern] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::domain::MAX_LEVELS_WITH_PLUS;
    use proptest::prelude::*;

    thread_local! {
        /// How many places of the tree were looked at.
        pub static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn filters_that_go_every_way_cost_no_more_than_there_are_ways() {
        let level = |bits: usize, number: usize| if bits >> number & 1 == 0 { "a/" } else { "+/" };
        let way = |bits: usize| (0..MAX_LEVELS_WITH_PLUS - 1).map(|number| level(bits, number)).collect::<String>();
        let filters = (0..5120).filter_map(|one| TopicFilter::parse(&format!("{}b{one}", way(one / 40))));
        let patterns = Patterns::new(filters.map(Pattern::from).collect());
        assert_eq!(patterns.len(), 5120);
        assert!(!patterns.matches(&["a"; MAX_LEVELS_WITH_PLUS].join("/")));
        // Each node of the tree has two below it, one of which may turn out to be empty.
        let steps = STEPS.take();
        assert!((128..=2 << MAX_LEVELS_WITH_PLUS).contains(&steps), "{steps}");
    }

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
