//! Guards that subscribers are found by their topic filters, and that none is left once it is taken out.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::domain::{EventFilter, Patterns, Rights};
use crate::events::index::{Index, patterns_of};

fn topics(filters: &[String]) -> EventFilter {
    EventFilter::topics(filters.iter().filter_map(|filter| TopicFilter::parse(filter))).unwrap()
}

fn found(index: &Index<usize, usize>, name: &str) -> Vec<usize> {
    let mut found: Vec<_> = index.wanting(name).map(|one| *one).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn filters_are_found_by_their_shapes() {
    let mut index = TopicIndex::new();
    let there: Vec<_> = (0..1000).map(Rc::new).collect();
    let [of_device, of_user] = [("dev/", "/+"), ("+/", "/x")].map(|(before, after)| {
        there.iter().map(|one| TopicFilter::parse(&format!("{before}{one}{after}")).unwrap()).collect::<Vec<_>>()
    });
    for (filters, one) in of_device.iter().zip(&of_user).zip(&there) {
        index.add(filters.0, **one, &Rc::downgrade(one));
        index.add(filters.1, **one + 1000, &Rc::downgrade(one));
    }
    assert_eq!((index.shapes.len(), index.len()), (2, 2002));
    let wanting =
        |index: &TopicIndex<usize, usize>, name| index.wanting(name).map(|one| *one.upgrade().unwrap()).collect();
    let some: Vec<usize> = wanting(&index, "dev/77/x");
    assert_eq!(some, [77, 77]);
    let some: [Vec<usize>; 4] = ["dev/5/y", "a/5/x", "a/5", "dev/5/x/y"].map(|name| wanting(&index, name));
    assert_eq!(some, [vec![5], vec![5], vec![], vec![]]);
    for (filters, one) in of_device.iter().zip(&of_user).zip(&there) {
        index.remove(filters.0, **one);
        index.remove(filters.0, **one);
        index.remove(filters.1, **one + 1000);
    }
    assert_eq!(index.len(), 0);
}

#[test]
fn filters_that_differ_in_late_levels_alone_are_taken_out_one_at_a_time() {
    let deep = |end: &str| vec![format!("{}+/{end}", "a/".repeat(LEVELS))];
    let (one, mut index) = (Rc::new(0), Index::new());
    let both = topics(&[deep("b"), deep("c")].concat());
    index.add(both.patterns(), 0, &Rc::downgrade(&one));
    index.replace(both.patterns(), topics(&deep("c")).patterns(), 0, &Rc::downgrade(&one));
    let name = format!("{}x/c", "a/".repeat(LEVELS));
    assert_eq!(found(&index, &name), [0]);
    assert_eq!(found(&index, "a/a/x/c"), [] as [usize; 0]);
    index.remove(topics(&deep("c")).patterns(), 0);
    assert_eq!((index.len(), found(&index, &name)), (0, vec![]));
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
            (0..5_usize, prop::collection::vec("[ab+]?(/[ab+]?){0,3}(/#)?|#|(a/){9,12}[ab+]|[+](/a){10}/[ab]", 0..6)), 1..24,
        ),
        names in prop::collection::vec("[ab$]?(/[ab]?){0,4}|(a/){9,12}[ab]", 1..12),
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
                let (found, mut wanting) = (found(&index, name), filters.iter().filter(|(_, now)| now.matches(name)));
                prop_assert!(wanting.all(|(who, _)| found.contains(who)), "{} {:?}", name, found);
                // Nobody is found for nothing, but by a filter of very many levels, or one that begins with a wildcard.
                let is_short = name.split('/').count() < LEVELS && !name.starts_with('$');
                prop_assert!(!is_short || found.iter().all(|who| filters[who].matches(name)), "{} {:?}", name, found);
            }
        }
        for (who, filter) in filters {
            index.remove(filter.patterns(), who);
        }
        prop_assert_eq!(index.len(), 0);
    }
}
