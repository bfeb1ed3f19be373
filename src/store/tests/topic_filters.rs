//! Guards reading by topic filters of MQTT: names and events, of which the store finds more by the beginning of a filter.

use super::*;
use crate::domain::{FilterChange, Scope, TopicFilter};

fn topics(filters: &[&str]) -> EventFilter {
    EventFilter::topics(filters.iter().filter_map(|filter| TopicFilter::parse(filter))).unwrap()
}

/// A view of a user with these scopes to see.
fn view(filter: EventFilter, scopes: &[&str]) -> View {
    let scopes: Vec<_> = scopes.iter().map(|scope| Scope::parse(&format!("{scope}:get")).unwrap()).collect();
    let (rights, own) = Authorize::Scopes.to_see(&Username::parse("u").unwrap(), &scopes);
    View { filter, rights, own }
}

/// The positions that a replay gives.
fn read(store: &Store, mut replay: Replay) -> Vec<u64> {
    let mut given = Vec::new();
    let mut each = |event: StoredEvent<'_>| {
        given.push(event.position.get());
        0
    };
    while replay.next(store, 100, &mut each).unwrap() {}
    given
}

#[test]
fn only_names_with_the_beginning_of_a_filter_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let many: Vec<String> = (0..3000).map(|number| format!("many/{number}/x")).collect();
    insert(&mut committer, "a", &many.iter().map(String::as_str).collect::<Vec<_>>());
    insert(&mut committer, "a", &["dev", "dev/1/x", "dev/2/x", "dev/2/y", "dev/+/x", "devil/1/x"]);
    for (filter, names) in [
        (&["dev/+/x"][..], &["dev/1/x", "dev/2/x"][..]),
        (&["dev/#"], &["dev", "dev/1/x", "dev/2/x", "dev/2/y"]),
        (&["dev/2/+", "dev/1/x", "dev/#"], &["dev", "dev/1/x", "dev/2/x", "dev/2/y"]),
        (&["dev", "none/+"], &["dev"]),
        (&["dev/+/z", " odd", "\n"], &[]),
    ] {
        let mut latest = LatestEvents::new(tenant("a"), view(topics(filter), &["*"]));
        let mut found = Vec::new();
        // All in one step, which would not get through the other names.
        let more = latest.next(&store, usize::MAX, |event| {
            found.push(event.name.to_owned());
            Ok(false)
        });
        assert_eq!(
            (more.unwrap(), found.as_slice()),
            (false, names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().as_slice()),
            "{filter:?}"
        );
        let wanted = Wanted::Of(Box::new(view(topics(filter), &["*"])));
        let mut replay = Replay::snapshot(tenant("a"), wanted, Position::START, store.head());
        assert!(!replay.next(&store, usize::MAX, |_| 0).unwrap(), "{filter:?}");
    }
    // One that begins with a wildcard is looked for among the names that may be seen.
    let mut latest = LatestEvents::new(tenant("a"), view(topics(&["+/+/x", "#"]), &["dev/1/*", "dev/2/*"]));
    let mut found = 0;
    let more = latest.next(&store, usize::MAX, |_| {
        found += 1;
        Ok(false)
    });
    assert!(!more.unwrap());
    assert_eq!(found, 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn snapshots_resumptions_and_changes_of_a_filter_give_what_the_filters_match(
        runs in prop::collection::vec(prop::collection::vec("[ab$](/[ab]?){0,3}|a/[+]", 1..6), 1..6),
        filters in prop::collection::vec("[ab+](/[ab+]?){0,2}(/#)?|#|[$]/#", 0..6),
        before in prop::collection::vec("[ab+](/[ab+]?){0,2}(/#)?|#", 0..3),
        scopes in prop::sample::select(vec![&["*"][..], &["a*"], &["a/*", "b"], &[]]),
        resumes: bool,
        shortened: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
        let mut events = Vec::new();
        for names in runs {
            let inserted = insert(&mut committer, "a", &names.iter().map(String::as_str).collect::<Vec<_>>());
            events.extend(inserted.into_iter().map(|event| (event.position.get(), event.name.to_string())));
        }
        if shortened {
            shorten(&store, &mut committer, "a", 1);
        }
        let [view, had] = [filters, before].map(|filters| {
            view(topics(&filters.iter().map(String::as_str).collect::<Vec<_>>()), scopes)
        });
        let is_latest = |at: u64, name: &str| !events.iter().any(|(later, other)| *later > at && other == name);
        let expected = |is_wanted: &dyn Fn(&str) -> bool, after: u64, only_latest: bool| -> Vec<_> {
            let wanted = events.iter().filter(|(at, name)| is_wanted(name) && *at > after && (!only_latest || is_latest(*at, name)));
            wanted.map(|(at, _)| *at).collect()
        };
        let after = if resumes { 1 } else { 0 };
        let of = || Wanted::Of(Box::new(view.clone()));
        let given = if resumes {
            read(&store, Replay::events(tenant("a"), of(), Position::new(after), store.head()))
        } else {
            read(&store, Replay::snapshot(tenant("a"), of(), Position::START, store.head()))
        };
        prop_assert_eq!(given, expected(&|name| view.matches(name), after, !resumes || shortened));
        // A filter in the place of another, and entries in addition to its own.
        let wider = FilterChange::Add(had.filter.clone()).of(&view.filter).unwrap();
        for now in [had.clone(), View { filter: wider, ..view.clone() }] {
            let new = Wanted::New(Box::new(now.clone()), Box::new(view.clone()));
            let given = read(&store, Replay::snapshot(tenant("a"), new, Position::START, store.head()));
            let is_new = |name: &str| now.matches(name) && !view.matches(name);
            prop_assert_eq!(given, expected(&is_new, 0, true));
        }
    }
}
