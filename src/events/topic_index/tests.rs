//! Guards that subscribers are found by their topic filters, each once, at a cost that no filters can drive up, and that none is left
//! once it is taken out.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::domain::{EventFilter, MAX_LEVELS_WITH_PLUS, Patterns, Rights};
use crate::events::index::{Index, patterns_of};

fn topics(filters: &[String]) -> EventFilter {
    EventFilter::topics(filters.iter().filter_map(|filter| TopicFilter::parse(filter))).unwrap()
}

fn found(index: &Index<usize, usize>, name: &str) -> Vec<usize> {
    index.wanting(name).iter().map(|one| **one).collect()
}

#[test]
fn filters_are_found_by_their_levels() {
    let mut index = TopicIndex::new();
    let there: Vec<usize> = (0..1000).collect();
    let [of_device, of_user] = [("dev/", "/+"), ("+/", "/x")].map(|(before, after)| {
        there.iter().map(|one| TopicFilter::parse(&format!("{before}{one}{after}")).unwrap()).collect::<Vec<_>>()
    });
    for (filters, one) in of_device.iter().zip(&of_user).zip(&there) {
        index.add(filters.0, *one, ());
        index.add(filters.1, *one + 1000, ());
    }
    // Beside the filters, what they begin with: nothing, `dev`, `+`, and two levels each.
    assert_eq!(index.len(), 2000 + 3 + 2000);
    let wanting = |index: &TopicIndex<usize, ()>, name| index.wanting(name).map(|(key, _)| key).collect();
    let some: Vec<usize> = wanting(&index, "dev/77/x");
    assert_eq!(some, [77, 1077]);
    let some: [Vec<usize>; 4] = ["dev/5/y", "a/5/x", "a/5", "dev/5/x/y"].map(|name| wanting(&index, name));
    assert_eq!(some, [vec![5], vec![1005], vec![], vec![]]);
    for (filters, one) in of_device.iter().zip(&of_user).zip(&there) {
        index.remove(filters.0, *one);
        index.remove(filters.0, *one);
        index.remove(filters.1, *one + 1000);
    }
    assert_eq!(index.len(), 0);
}

/// All filters of so many levels, each of which is `a` or `+`, with something behind them.
fn all_ways(levels: usize, behind: &str) -> Vec<String> {
    let level = |bits: usize, number: usize| if bits >> number & 1 == 0 { "a/" } else { "+/" };
    (0..1 << levels).map(|bits| (0..levels).map(|number| level(bits, number)).collect::<String>() + behind).collect()
}

#[test]
fn no_filters_make_a_name_cost_more_than_its_levels_and_the_ways_that_filters_may_go() {
    let most = MAX_LEVELS_WITH_PLUS;
    let there: Vec<_> = (0..60).map(Rc::new).collect();
    let mut index = Index::new();
    for one in &there {
        // They match all levels of the name but the last one, which is another for each.
        let mut near = all_ways(most - 1, &format!("b{one}"));
        near.extend((1..120).map(|levels| format!("{}x/#", "a/".repeat(levels))));
        index.add(topics(&near).patterns(), **one, &Rc::downgrade(one));
    }
    let filters = index.len();
    assert!(filters > 60 * 128, "{filters}");
    for levels in [most, most + 1, 120] {
        let name = vec!["a"; levels].join("/");
        assert_eq!(found(&index, &name), [] as [usize; 0]);
        let steps = index.take_topic_steps();
        assert!(steps <= (2 << most) + levels, "{steps} for {levels} levels");
    }
    // Whoever has a thousand that match is asked once.
    let all = topics(&all_ways(most, "#"));
    assert_eq!(all.patterns().map(<[_]>::len), Some(1 << most));
    index.add(all.patterns(), 7, &Rc::downgrade(&there[7]));
    assert_eq!(found(&index, &vec!["a"; most].join("/")), [7]);
    let steps = index.take_topic_steps();
    assert!(steps <= 2 << most, "{steps}");
}

#[test]
fn of_two_that_want_the_same_one_stays_when_the_other_is_taken_out() {
    let (one, mut index) = (Rc::new(0), Index::new());
    let both = topics(&["a/+/b".to_owned(), "a/+/c".to_owned(), "a/+/#".to_owned()]);
    index.add(both.patterns(), 0, &Rc::downgrade(&one));
    index.add(both.patterns(), 1, &Rc::downgrade(&one));
    index.replace(both.patterns(), topics(&["a/+/c".to_owned()]).patterns(), 0, &Rc::downgrade(&one));
    let keys = |index: &Index<usize, usize>, name| found(index, name).len();
    assert_eq!(["a/x/c", "a/x/b", "a/x", "a/+", "$a/x/c"].map(|name| keys(&index, name)), [2, 1, 1, 0, 0]);
    index.remove(both.patterns(), 1);
    assert_eq!(["a/x/c", "a/x/b", "a/x"].map(|name| keys(&index, name)), [1, 0, 0]);
    index.remove(topics(&["a/+/c".to_owned()]).patterns(), 0);
    assert_eq!(index.len(), 0);
}

#[test]
fn whoever_wants_all_topics_is_found_by_what_they_may_see() {
    let rights = Rights::Of(Patterns::new(vec![crate::domain::Pattern::parse("news").unwrap()]));
    let [all, some] = [&["a/+", "#"][..], &["a/+", "b"]]
        .map(|texts| topics(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()));
    for filter in [&all, &EventFilter::ALL] {
        assert_eq!(patterns_of(filter, &rights), Some(rights_patterns(&rights)));
    }
    assert_eq!(patterns_of(&some, &rights), some.patterns());
    assert_eq!(patterns_of(&all, &Rights::All), all.patterns());
    assert_eq!(patterns_of(&EventFilter::ALL, &Rights::All), None);
}

fn rights_patterns(rights: &Rights) -> &[crate::domain::Pattern] {
    match rights {
        Rights::Of(patterns) => patterns,
        Rights::All => &[],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn those_are_found_whose_filters_match_whatever_was_added_replaced_and_taken_out(
        steps in prop::collection::vec(
            (0..5_usize, prop::collection::vec("[ab+$]?(/[ab+]?){0,3}(/#)?|#|([a+]/){7}[ab+]|(a/){9,12}#", 0..6)), 1..24,
        ),
        names in prop::collection::vec("[ab$+]?(/[ab]?){0,4}|(a/){7,12}[ab]", 1..12),
    ) {
        let there: Vec<_> = (0..5).map(Rc::new).collect();
        let (mut index, mut filters) = (Index::new(), BTreeMap::<usize, EventFilter>::new());
        for (who, texts) in steps {
            let one = Rc::downgrade(&there[who]);
            let before = filters.remove(&who);
            let now = (!texts.is_empty()).then(|| topics(&texts));
            match (&before, &now) {
                (Some(before), Some(now)) => index.replace(before.patterns(), now.patterns(), who, &one),
                (Some(before), None) => index.remove(before.patterns(), who),
                (None, Some(now)) => index.add(now.patterns(), who, &one),
                (None, None) => {}
            }
            filters.extend(now.map(|now| (who, now)));
            let mut anew = Index::new();
            filters.iter().for_each(|(who, now)| anew.add(now.patterns(), *who, &Rc::downgrade(&there[*who])));
            prop_assert_eq!(index.len(), anew.len());
            for name in names.iter().filter(|name| !name.is_empty()) {
                let wanting = filters.iter().filter(|(_, now)| now.matches(name)).map(|(who, _)| *who);
                prop_assert_eq!(found(&index, name), wanting.collect::<Vec<_>>(), "{}", name);
            }
        }
        for (who, filter) in filters {
            index.remove(filter.patterns(), who);
        }
        prop_assert_eq!(index.len(), 0);
    }
}
