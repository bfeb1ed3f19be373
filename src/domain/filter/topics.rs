//! Guards filters that are sets of topic filters of MQTT: entries come and go one at a time, in any order.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::*;
use proptest::prelude::*;

/// A set of topic filters, separated by blanks.
fn topics(text: &str) -> EventFilter {
    EventFilter::topics(text.split_whitespace().filter_map(TopicFilter::parse)).unwrap()
}

#[test]
fn a_filter_is_a_set_of_topic_filters() {
    let filter = topics("news chat/# dev/+/state");
    for name in ["news", "chat", "chat/1", "chat/1/2", "dev/5/state"] {
        assert!(filter.matches(name), "{name}");
    }
    for name in ["newsroom", "news/1", "chatter", "dev/5", "dev/5/set", "chat/+", "dev/#/state", "$news"] {
        assert!(!filter.matches(name), "{name}");
    }
    assert!(!topics("").matches("a") && topics("#").matches("a") && !topics("#").matches("$a"));
    assert!(topics("# $a/#").matches("$a/b") && !topics("# $a/#").matches("$b"));
    // What is excluded stays so.
    let filter = topics("a/+ b").except("a/1,b*").unwrap();
    assert!(filter.matches("a/2") && !filter.matches("a/1") && !filter.matches("b"));
}

#[test]
fn a_filter_without_wildcards_is_the_name_and_is_found_as_quickly() {
    assert_eq!(topics("b a"), EventFilter::parse("a,b").unwrap());
    assert_ne!(topics("a/#"), EventFilter::parse("a,a/*").unwrap(), "it matches no name with a wildcard");
    // A filter that can be no name is one all the same.
    let odd = EventFilter::topics(TopicFilter::parse("data:x\n")).unwrap();
    assert_eq!(odd.patterns().map(<[_]>::len), Some(1));
    assert!(odd.is_within(&Patterns::default()), "it matches nothing");
}

#[test]
fn topic_filters_are_added_and_taken_out_and_what_others_match_is_still_wanted() {
    let all = ["a", "a/1", "a/2", "a/2/x", "b"];
    for (before, change, after, wanted) in [
        ("", FilterChange::Add(topics("a/#")), "a/#", "a a/1 a/2 a/2/x"),
        ("a/#", FilterChange::Add(topics("a/1 a/+ #")), "# a/# a/+ a/1", "a a/1 a/2 a/2/x b"),
        ("a/# a/1 a/+", FilterChange::Remove(topics("a/#")), "a/1 a/+", "a/1 a/2"),
        ("a/1 a/+", FilterChange::Remove(topics("a/+")), "a/1", "a/1"),
        ("a/# a", FilterChange::Remove(topics("a/#")), "a", "a"),
        ("a/# a", FilterChange::Remove(topics("a")), "a/#", "a a/1 a/2 a/2/x"),
        ("# b", FilterChange::Remove(topics("#")), "b", "b"),
        ("a/+", FilterChange::Remove(topics("a/1 a/#")), "a/+", "a/1 a/2"),
        ("a/+", FilterChange::Remove(topics("a/+")), "", ""),
        ("+ b", FilterChange::Replace(topics("+/+")), "+/+", "a/1 a/2"),
    ] {
        let (made, label) = (change.clone().of(&topics(before)).unwrap(), format!("{before} {change:?}"));
        assert_eq!(made, topics(after), "{label}");
        let matched: Vec<_> = all.into_iter().filter(|name| made.matches(name)).collect();
        assert_eq!(matched.join(" "), wanted, "{label}");
    }
    // Beside names and prefixes of another transport, too, also where one of them contains it.
    let mixed = FilterChange::Add(topics("a/+ #")).of(&EventFilter::parse("a/*").unwrap()).unwrap();
    assert!(mixed.matches("a/+/b") && mixed.matches("b") && !mixed.matches("+"));
    let all = FilterChange::Add(mixed).of(&EventFilter::ALL).unwrap();
    assert!(all.patterns().is_none() && all.matches("$a"));
    let left = FilterChange::Remove(EventFilter::ALL).of(&all).unwrap();
    assert_eq!(left, FilterChange::Remove(EventFilter::ALL).of(&left).unwrap());
    assert_eq!(FilterChange::Remove(EventFilter::parse("a/*").unwrap()).of(&left).unwrap(), topics("# a/+"));
}

#[test]
fn a_filter_has_so_many_topic_filters_and_one_more_is_refused() {
    let some = |numbers: std::ops::Range<usize>| {
        let filters: Vec<_> = numbers.map(|number| format!("dev/{number}/+")).collect();
        EventFilter::topics(filters.iter().filter_map(|filter| TopicFilter::parse(filter)))
    };
    let full = some(0..MAX_PATTERNS).unwrap();
    assert_eq!(some(0..MAX_PATTERNS + 1), Err(Error::FilterInvalid));
    assert_eq!(FilterChange::Add(topics("a")).of(&full), Err(Error::FilterInvalid));
    assert_eq!(FilterChange::Add(some(5..9).unwrap()).of(&full).as_ref(), Ok(&full), "they are there already");
    assert!(full.matches("dev/999/x") && !full.matches("dev/1000/x"));
    let texts: usize = (0..MAX_PATTERNS).map(|number| format!("dev/{number}/+").len()).sum();
    assert_eq!(full.bytes(), texts + MAX_PATTERNS * BYTES_OF_PATTERN);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_changes_leave_what_a_plain_set_has(
        changes in prop::collection::vec((0..3, prop::collection::vec("[ab+](/[ab+]){0,2}(/#)?|#", 0..4)), 1..24),
        names in prop::collection::vec("[ab$](/[ab+]){0,3}", 1..12),
    ) {
        let (mut filter, mut set) = (topics(""), BTreeSet::new());
        for (what, texts) in changes {
            let some = topics(&texts.join(" "));
            filter = match what {
                0 => {
                    set.retain(|text| !texts.contains(text));
                    FilterChange::Remove(some)
                }
                _ => {
                    set.extend(texts);
                    FilterChange::Add(some)
                }
            }.of(&filter).unwrap();
            let naive: Vec<_> = set.iter().filter_map(|text| TopicFilter::parse(text)).collect();
            for name in &names {
                prop_assert_eq!(filter.matches(name), naive.iter().any(|one| one.matches(name)), "{}", name);
            }
            // In another order it is the same.
            let other = EventFilter::topics(naive.into_iter().rev()).unwrap();
            prop_assert_eq!(&filter, &other);
            let hash = |filter: &EventFilter| BuildHasherDefault::<DefaultHasher>::new().hash_one(filter);
            prop_assert_eq!(hash(&filter), hash(&other));
        }
    }
}
