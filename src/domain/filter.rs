use std::any::Any;
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::patterns::{Pattern, Patterns, difference};
use super::{EventName, Position, TopicFilter};
use crate::error::Error;

/// How many names, prefixes and topic filters one filter may have.
pub const MAX_PATTERNS: usize = 1000;
/// The memory that a name, prefix or topic filter takes in addition to its bytes, with its entry in the index of filters.
const BYTES_OF_PATTERN: usize = 128;

/// A value that every copy of a filter holds. It is dropped with the last copy, and so tells that the filter is unused.
pub type Holder = Arc<dyn Any + Send + Sync>;

/// The events that a subscriber wants: all, or names and prefixes (`news,chat/*`), or topic filters of MQTT, except for some of them.
/// Cheap to clone. Filters with the same entries in another order are equal.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// `None` matches everything.
    patterns: Option<Patterns>,
    /// The entries in order, if some of them are contained in others: when those are taken out, these are left. `None` if the
    /// patterns are the entries.
    entries: Option<Arc<[Pattern]>>,
    /// The names that are excluded; `None` excludes nothing.
    except: Option<Patterns>,
    /// Not a part of the filter's value.
    holder: Option<Holder>,
}

/// Another filter for a subscriber, or a part of the one that it has.
#[derive(Clone, Debug)]
pub enum FilterChange {
    /// This one in its place.
    Replace(EventFilter),
    /// The entries of this one in addition.
    Add(EventFilter),
    /// As [`FilterChange::Add`]; and the latest events of some names are given, whether these are new or not.
    Subscribe {
        /// The names that are added.
        add: EventFilter,
        /// The names of which the latest events are given.
        give: EventFilter,
        /// Up to here they are, at least: the subscriber wants what comes later only as it comes.
        until: Position,
        /// What the subscriber knows this by, in the order in which it asks.
        number: u32,
    },
    /// The entries of this one are taken out. A name that another entry matches is still wanted.
    Remove(EventFilter),
}

impl FilterChange {
    /// The filter that it makes of another.
    ///
    /// # Errors
    /// [`Error::FilterInvalid`] if that would have more than [`MAX_PATTERNS`] entries.
    pub fn of(self, before: &EventFilter) -> Result<EventFilter, Error> {
        match self {
            Self::Replace(filter) => Ok(filter),
            Self::Add(filter) | Self::Subscribe { add: filter, .. } => {
                let mut entries = before.entries().into_owned();
                entries.extend_from_slice(&filter.entries());
                before.with_entries(entries)
            }
            Self::Remove(filter) => {
                before.with_entries(difference(&before.entries(), &filter.entries()).cloned().collect())
            }
        }
    }
}

/// Parses `news,chat/*`: names, or prefixes that end with `*`, separated by commas. White space around an entry is
/// dropped.
fn parse_entries(text: &str) -> Result<Vec<Pattern>, Error> {
    let mut patterns = Vec::new();
    for part in text.split(',').map(str::trim) {
        let pattern = Pattern::parse(part).ok_or(Error::FilterInvalid)?;
        if patterns.len() == MAX_PATTERNS {
            return Err(Error::FilterInvalid);
        }
        patterns.push(pattern);
    }
    Ok(patterns)
}

impl PartialEq for EventFilter {
    fn eq(&self, other: &Self) -> bool {
        (&self.patterns, &self.entries, &self.except) == (&other.patterns, &other.entries, &other.except)
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
    pub const ALL: Self = Self { patterns: None, entries: None, except: None, holder: None };

    /// Parses `news,chat/*`: names, or prefixes that end with `*`, separated by commas. White space around an entry is
    /// dropped.
    ///
    /// # Errors
    /// [`Error::FilterInvalid`] for an empty list or entry, for an entry that cannot be an event name, or for too many.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::ALL.with_entries(parse_entries(text)?)
    }

    /// The same filter with these entries, in any order.
    fn with_entries(&self, mut entries: Vec<Pattern>) -> Result<Self, Error> {
        entries.sort();
        entries.dedup();
        if entries.len() > MAX_PATTERNS {
            return Err(Error::FilterInvalid);
        }
        let patterns = Patterns::new(entries.clone());
        let entries = (patterns.len() < entries.len()).then(|| entries.into());
        // A star alone matches everything, whatever the other entries are.
        let is_all = patterns.first().is_some_and(|first| *first == Pattern::all());
        Ok(Self { patterns: (!is_all).then_some(patterns), entries, except: self.except.clone(), holder: None })
    }

    /// The entries, in order.
    fn entries(&self) -> Cow<'_, [Pattern]> {
        match (&self.entries, &self.patterns) {
            (Some(entries), _) => Cow::Borrowed(entries),
            (None, Some(patterns)) => Cow::Borrowed(patterns),
            (None, None) => Cow::Owned(vec![Pattern::all()]),
        }
    }

    /// The filter that two lists stand for: everything, or what the first names, without what the second names.
    ///
    /// # Errors
    /// As [`EventFilter::parse`].
    pub fn of_lists(events: Option<&str>, except: Option<&str>) -> Result<Self, Error> {
        let filter = events.map_or(Ok(Self::ALL), Self::parse)?;
        match except {
            Some(except) => filter.except(except),
            None => Ok(filter),
        }
    }

    /// A filter that matches these names alone. Without any it matches nothing, and entries can be added to it.
    pub fn names(names: impl IntoIterator<Item = EventName>) -> Self {
        let patterns = Patterns::new(names.into_iter().map(Pattern::Exact).collect());
        Self { patterns: Some(patterns), ..Self::ALL }
    }

    /// A filter that matches what these topic filters match. Without any it matches nothing, and entries can be added to it.
    ///
    /// # Errors
    /// [`Error::FilterInvalid`] if they are more than [`MAX_PATTERNS`].
    pub fn topics(filters: impl IntoIterator<Item = TopicFilter>) -> Result<Self, Error> {
        Self::ALL.with_entries(filters.into_iter().map(Pattern::from).collect())
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
        Ok(Self { except: Some(Patterns::new(parse_entries(text)?)), ..self })
    }

    /// Whether it matches nothing at all.
    pub fn is_nothing(&self) -> bool {
        self.patterns.as_ref().is_some_and(|patterns| patterns.is_empty())
    }

    /// Whether the filter matches a name.
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.as_ref().is_none_or(|patterns| patterns.matches(name))
            && !self.except.as_ref().is_some_and(|except| except.matches(name))
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let lists = [self.patterns.as_deref(), self.entries.as_deref(), self.except.as_deref()];
        let patterns = lists.into_iter().flatten().flatten();
        patterns.map(|pattern| pattern.text().len() + BYTES_OF_PATTERN).sum()
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

    /// Whether it excludes the same names as another.
    pub fn has_exceptions_of(&self, other: &Self) -> bool {
        self.except == other.except
    }

    /// Whether it matches all topics of MQTT, those alone or with others.
    pub fn has_all_topics(&self) -> bool {
        let is_all = |pattern: &Pattern| matches!(pattern, Pattern::Topic(filter) if filter.is_all());
        self.patterns().is_some_and(|patterns| patterns.iter().any(is_all))
    }

    /// The wanted patterns, where only topic filters may overlap; `None` if everything is wanted.
    pub fn patterns(&self) -> Option<&[Pattern]> {
        self.patterns.as_deref()
    }
}

#[cfg(test)]
mod topics;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(text: &str) -> EventFilter {
        if text.is_empty() { EventFilter::names([]) } else { EventFilter::parse(text).unwrap() }
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

    #[test]
    fn entries_are_added_and_taken_out_and_what_they_contained_is_left() {
        let all = ["a", "a/1", "a/2", "b", "c/1"];
        for (before, change, after, wanted) in [
            ("", FilterChange::Add(filter("a/1")), "a/1", "a/1"),
            ("a/1", FilterChange::Add(filter("b,a/*")), "a/1,a/*,b", "a/1 a/2 b"),
            ("a/1,a/*,b", FilterChange::Remove(filter("a/*")), "a/1,b", "a/1 b"),
            ("a/1,a/*,b", FilterChange::Remove(filter("a/1")), "a/*,b", "a/1 a/2 b"),
            ("a/*", FilterChange::Remove(filter("a/1,c")), "a/*", "a/1 a/2"),
            ("b", FilterChange::Remove(filter("b")), "", ""),
            ("*", FilterChange::Add(filter("b")), "b,*", "a a/1 a/2 b c/1"),
            ("b,*", FilterChange::Remove(filter("*")), "b", "b"),
            ("a,b", FilterChange::Replace(filter("c*")), "c*", "c/1"),
        ] {
            let (made, label) = (change.clone().of(&filter(before)).unwrap(), format!("{before} {change:?}"));
            assert_eq!(made, filter(after), "{label}");
            let matched: Vec<_> = all.into_iter().filter(|name| made.matches(name)).collect();
            assert_eq!(matched.join(" "), wanted, "{label}");
        }
    }

    #[test]
    fn what_is_excluded_stays_so_as_entries_come_and_go() {
        let before = filter("a*").except("ab*,c").unwrap();
        let made = FilterChange::Add(filter("c*,ab1")).of(&before).unwrap();
        assert!(made.matches("aa") && made.matches("cc"));
        assert!(!made.matches("ab1") && !made.matches("c"));
    }

    #[test]
    fn a_filter_has_so_many_entries_and_one_more_is_refused() {
        let names = |numbers: std::ops::Range<usize>| {
            let names: Vec<_> = numbers.map(|number| format!("n{number}")).collect();
            filter(&names.join(","))
        };
        let full = FilterChange::Add(names(1..MAX_PATTERNS)).of(&names(0..1)).unwrap();
        assert_eq!(FilterChange::Add(names(0..10)).of(&full).unwrap(), full, "they are there already");
        assert_eq!(FilterChange::Add(filter("one more")).of(&full), Err(Error::FilterInvalid));
        // Also where it is contained in another.
        assert_eq!(FilterChange::Add(filter("n*")).of(&full), Err(Error::FilterInvalid));
        assert_eq!(FilterChange::Remove(full.clone()).of(&full).unwrap(), EventFilter::names([]));
    }

    proptest! {
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
            let is_within = names.into_iter().all(|name| !filter.matches(&name) || patterns.iter().any(|one| one.matches(&name)));
            prop_assert_eq!(filter.is_within(&Patterns::new(patterns)), is_within);
        }
    }
}
