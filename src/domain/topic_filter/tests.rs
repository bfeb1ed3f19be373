//! Guards what a topic filter of MQTT matches, by the examples of MQTT 5.0, 4.7 and 4.8.2, and against a matcher that is as plain as can
//! be.

use super::*;
use crate::domain::{EventFilter, Pattern, Patterns};
use proptest::prelude::*;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

/// Whether a filter matches a name by its levels, with neither of the rules on `$` and on wildcards in names.
fn matches_levels(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, name @ ..]) => matches_levels(filter, name),
        ([wanted, filter @ ..], [level, name @ ..]) => wanted == level && matches_levels(filter, name),
        _ => false,
    }
}

fn naive(filter: &str, name: &str) -> bool {
    let [levels, of_name]: [Vec<_>; 2] = [filter, name].map(|text| text.split('/').collect());
    let is_hidden = name.starts_with('$') && filter.starts_with(['+', '#']);
    !name.contains(['+', '#']) && !is_hidden && matches_levels(&levels, &of_name)
}

/// Every text of up to so many characters.
fn all_texts(alphabet: &str, characters: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut from = 0;
    for _ in 0..characters {
        let longer: Vec<_> =
            all[from..].iter().flat_map(|text| alphabet.chars().map(move |last| format!("{text}{last}"))).collect();
        from = all.len();
        all.extend(longer);
    }
    all.remove(0);
    all
}

#[test]
fn the_filters_of_the_specification_match_the_topics_that_it_says() {
    for (filter_text, matched, others) in [
        // 4.7.1.2
        (
            "sport/tennis/player1/#",
            &["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"][..],
            &["sport/tennis/player2", "sport/tennis", "sport/tennis/player11"][..],
        ),
        ("sport/#", &["sport", "sport/", "sport/tennis/player1"], &["sports", "Sport"]),
        ("#", &["sport", "/", "/finance", "sport/tennis"], &["$SYS", "$SYS/"]),
        ("sport/tennis/#", &["sport/tennis", "sport/tennis/"], &["sport"]),
        // 4.7.1.3
        (
            "sport/tennis/+",
            &["sport/tennis/player1", "sport/tennis/player2", "sport/tennis/"],
            &["sport/tennis/player1/ranking", "sport/tennis"],
        ),
        ("sport/+", &["sport/"], &["sport", "sport/tennis/player1"]),
        ("+", &["sport", "finance"], &["/finance", "sport/", "$SYS"]),
        ("+/tennis/#", &["sport/tennis", "/tennis/x"], &["tennis", "$x/tennis"]),
        ("sport/+/player1", &["sport/tennis/player1", "sport//player1"], &["sport/player1", "sport/a/b/player1"]),
        ("+/+", &["/finance", "a/b"], &["finance", "a/b/c"]),
        ("/+", &["/finance", "/"], &["finance", "a/finance"]),
        ("/#", &["/finance", "/", "/a/b"], &["finance", "a/"]),
        ("+/#", &["a", "a/b", "/", "/a/b"], &["$a", "$a/b"]),
        // 4.7.2
        ("+/monitor/Clients", &["x/monitor/Clients"], &["$SYS/monitor/Clients"]),
        ("$SYS/#", &["$SYS", "$SYS/monitor/Clients"], &["SYS"]),
        ("$SYS/monitor/+", &["$SYS/monitor/Clients"], &["$SYS/monitor"]),
        ("$SYS/+/$x", &["$SYS/a/$x"], &["$SYS/$x"]),
        ("a/+/b", &["a/$x/b"], &[]),
        // 4.7.3
        ("ACCOUNTS", &["ACCOUNTS"], &["Accounts"]),
        ("Accounts payable", &["Accounts payable"], &["Accounts"]),
        ("/finance", &["/finance"], &["finance"]),
    ] {
        let filter = filter(filter_text);
        assert!(matched.iter().all(|name| filter.matches(name)), "{filter_text}");
        assert!(!others.iter().any(|name| filter.matches(name)), "{filter_text}");
    }
}

#[test]
fn a_text_that_the_specification_forbids_is_no_filter() {
    let (longest, longer) = ("x".repeat(MAX_NAME_BYTES), "x".repeat(MAX_NAME_BYTES + 1));
    for good in
        ["#", "+", "/", "//", "/#", "+/#", "/+", "a/+/b/#", " ", " a", "a\nb", "data:", "$share", "ä/+", &longest]
    {
        assert_eq!(TopicFilter::parse(good).map(|filter| filter.to_string()).as_deref(), Some(good));
    }
    for bad in
        ["", "sport/tennis#", "sport/tennis/#/ranking", "#/", "##", "sport+", "+a", "a/b+/c", "+#", "a\0", &longer]
    {
        assert_eq!(TopicFilter::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn a_filter_with_plus_has_few_levels_and_one_without_has_any() {
    let levels = |level: &str, levels: usize, end: &str| format!("{}{end}", vec![level; levels].join("/"));
    for good in
        [levels("+", 8, ""), levels("+", 8, "/#"), levels("a", 7, "/+"), levels("a", 120, "/#"), levels("", 200, "")]
    {
        assert!(TopicFilter::parse(&good).is_some(), "{good}");
    }
    for bad in [
        levels("+", 9, ""),
        levels("a", 8, "/+"),
        levels("a", 8, "/+/#"),
        levels("", 9, "/+"),
        levels("+", 1, "////////"),
    ] {
        assert_eq!(TopicFilter::parse(&bad), None, "{bad}");
    }
}

#[test]
fn a_name_with_a_wildcard_is_matched_by_no_filter() {
    for name in ["+", "#", "a/+", "a/#", "a+", "a/b#c"] {
        for text in ["#", "+", "a/#", "a/+", "+/+"] {
            assert!(!filter(text).matches(name), "{text} {name}");
        }
    }
}

#[test]
fn a_shared_filter_has_a_group_and_a_filter() {
    let taken = |text| SharedFilter::parse(text).map(|shared| (shared.group.to_string(), shared.filter.to_string()));
    for (text, group, of_group) in [
        // The examples of 4.8.2.
        ("$share/consumer1//finance", "consumer1", "/finance"),
        ("$share/consumer1/sport/tennis/+", "consumer1", "sport/tennis/+"),
        ("$share/g/#", "g", "#"),
        ("$share/ /$share/a/b", " ", "$share/a/b"),
        ("$share/g//", "g", "/"),
    ] {
        assert_eq!(taken(text), Some((group.to_owned(), of_group.to_owned())), "{text}");
    }
    let long = format!("$share/{}/a", "g".repeat(MAX_NAME_BYTES + 1));
    for bad in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/#/a", "$share/a+/b"] {
        assert_eq!(taken(bad), None, "{bad}");
    }
    for bad in ["$share/g/a#", "$share/g\0/a", "share/g/a", "a", "$SHARE/g/a", &long] {
        assert_eq!(taken(bad), None, "{bad}");
    }
}

#[test]
fn filters_of_a_few_characters_match_the_names_that_a_plain_matcher_does() {
    let filters: Vec<_> = all_texts("a/+#$", 5).iter().filter_map(|text| TopicFilter::parse(text)).collect();
    let names = all_texts("a/+#$", 4);
    assert!(filters.len() > 200, "{}", filters.len());
    for filter in &filters {
        for name in &names {
            assert_eq!(filter.matches(name), naive(filter.as_str(), name), "{filter} {name}");
        }
    }
}

/// Whether two filters have a name in common, or one covers the other, shows with names of these few characters.
#[test]
fn filters_cover_and_overlap_others_if_names_say_so() {
    let filters: Vec<_> = all_texts("a/+#$", 3).iter().filter_map(|text| TopicFilter::parse(text)).collect();
    let names = all_texts("ax/$", 4);
    let matched: Vec<Vec<_>> =
        filters.iter().map(|filter| names.iter().map(|name| filter.matches(name)).collect()).collect();
    for (one, of_one) in filters.iter().zip(&matched) {
        for (other, of_other) in filters.iter().zip(&matched) {
            let both = of_one.iter().zip(of_other);
            let overlap = both.clone().any(|(one, other)| *one && *other);
            // Of an empty name, which is none, nothing can tell.
            if !(one.overlaps(other) && [one, other].iter().any(|filter| filter.matches(""))) {
                assert_eq!(one.overlaps(other), overlap, "{one} {other}");
            }
            let covers = both.clone().all(|(one, other)| *one || !*other);
            assert!(!one.covers(other) || covers, "{one} {other}");
            // `+/#` is as much as `#`, and the like, which need not be known.
            let is_plain = !one.as_str().contains("+/#") && !other.as_str().contains('$');
            assert!(!is_plain || one.covers(other) || !covers || other.parent() == Some(""), "{one} {other}");
        }
        for prefix in all_texts("a/$", 2) {
            let overlaps = names.iter().zip(of_one).any(|(name, matches)| *matches && name.starts_with(&prefix));
            assert_eq!(one.overlaps_prefix(&prefix), overlaps, "{one} {prefix}");
        }
        assert!(one.overlaps_prefix("") || one.as_str().contains('$'));
    }
}

fn any_filter() -> impl Strategy<Value = TopicFilter> {
    "[ab+$]?(/[ab+]?){0,4}(/#)?|#".prop_filter_map("no filter", |text| TopicFilter::parse(&text))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// More of them than are compared one after the other, and names and prefixes beside them.
    #[test]
    fn a_set_matches_a_name_if_one_of_its_entries_does(
        filters in prop::collection::vec(any_filter(), 0..80),
        names in prop::collection::vec("[ab]{1,2}(/[ab]){0,2}[*]?", 0..4),
        asked in prop::collection::vec("[ab$+#]?(/[ab]?){0,4}", 1..40),
    ) {
        let patterns = || filters.iter().cloned().map(Pattern::from).chain(names.iter().filter_map(|name| Pattern::parse(name)));
        let (set, wanted) = (Patterns::new(patterns().collect()), EventFilter::topics(filters.iter().cloned()).unwrap());
        for name in asked.iter().filter(|name| !name.is_empty()) {
            let matches = filters.iter().any(|filter| naive(filter.as_str(), name));
            prop_assert_eq!(wanted.matches(name), matches, "{}", name);
            let is_named = matches || patterns().any(|pattern| pattern.matches(name));
            prop_assert_eq!(set.matches(name), is_named, "{}", name);
        }
        // Whatever contains a filter matches all that it matches, and whatever matches such a name overlaps with it.
        for filter in filters.iter().take(8) {
            for some in [&patterns().take(5).collect::<Vec<_>>(), &patterns().skip(2).collect()] {
                let some = Patterns::new(some.clone());
                let mut matched = asked.iter().filter(|name| naive(filter.as_str(), name)).peekable();
                prop_assert!(some.overlap(filter) || !matched.clone().any(|name| some.matches(name)));
                prop_assert!(!some.contain(&Pattern::from(filter.clone())) || matched.all(|name| some.matches(name)));
            }
        }
    }

    #[test]
    fn what_a_filter_matches_is_among_its_candidates(filter in any_filter(), name in "[ab$]?(/[ab]?){0,4}") {
        let candidates = crate::domain::candidates(&[Pattern::from(filter.clone())]);
        let is_candidate = candidates.is_none_or(|candidates| candidates.iter().any(|one| one.matches(&name)));
        prop_assert!(is_candidate || name.is_empty() || !filter.matches(&name));
    }
}
