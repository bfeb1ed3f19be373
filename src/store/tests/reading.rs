//! Guards reading name by name, and reading the history of one name.

use std::collections::VecDeque;
use std::thread;

use super::*;
use crate::domain::Pattern;

/// A view of some patterns, of a user that may see everything.
fn view(filter: &str, except: Option<&str>) -> View {
    let (rights, own) = Authorize::Open.to_see(&Username::parse("u").unwrap(), &[]);
    let filter = EventFilter::parse(filter).unwrap();
    View { filter: except.map_or(Ok(filter.clone()), |except| filter.except(except)).unwrap(), rights, own }
}

/// The names and positions that `LatestEvents` gives, and in how many steps.
fn listed(store: &Store, view: View, bytes: usize) -> (Vec<(String, u64)>, usize) {
    let (mut latest, mut events, mut steps) = (LatestEvents::new(tenant("a"), view), Vec::new(), 0);
    loop {
        let more = latest.next(store, bytes, |event| {
            events.push((event.name.to_owned(), event.position.get()));
            Ok(false)
        });
        steps += 1;
        assert!(steps < 1000, "it goes on for ever: {events:?}");
        if !more.unwrap() {
            return (events, steps);
        }
    }
}

fn names(events: &[(String, u64)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn a_step_that_ends_on_a_name_is_followed_by_the_name_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &["big", "b", "bigger", "c"]);
    for (filter, expected) in [
        ("big", &["big"][..]),
        ("c,big,b", &["b", "big", "c"]),
        ("b*,big", &["b", "big", "bigger"]),
        ("big,big*,c", &["big", "bigger", "c"]),
        ("*", &["b", "big", "bigger", "c"]),
        ("none,c,zero", &["c"]),
    ] {
        // Every event fills a step.
        let (events, steps) = listed(&store, view(filter, None), 1);
        assert_eq!(names(&events), expected, "{filter}");
        assert!(steps <= expected.len() + 1, "{filter}: {steps} steps");
    }
}

#[test]
fn a_step_that_finds_nothing_is_short_too() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let all: Vec<String> = (0..5000).map(|number| format!("name{number:04}")).collect();
    insert(&mut committer, "a", &all.iter().map(String::as_str).collect::<Vec<_>>());
    let (events, steps) = listed(&store, view("*", Some("name0*,name1*,name2*,name3*,name49*")), 64 << 10);
    assert_eq!(names(&events), all[4000..4900]);
    assert!((19..23).contains(&steps), "{steps}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn each_wanted_name_is_read_once_and_in_order_for_all_patterns_and_steps(
        present in prop::collection::btree_set("[ab/]{1,4}", 1..24),
        patterns in prop::collection::vec("[ab/]{1,4}[*]?|[*]", 1..8),
        except in prop::option::of(prop::collection::vec("[ab/]{1,4}[*]?", 1..3)),
        others in prop::collection::vec("[ab/]{1,4}", 0..4),
        bytes in 1..400_usize,
        journal_bytes in prop::sample::select(vec![SMALL, LARGE]),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(directory.path(), journal_bytes).unwrap();
        insert(&mut committer, "a", &present.iter().map(String::as_str).collect::<Vec<_>>());
        insert(&mut committer, "ab", &others.iter().map(String::as_str).collect::<Vec<_>>());
        let matches = |patterns: &[String], name: &str| {
            patterns.iter().any(|pattern| Pattern::parse(pattern).unwrap().matches(name))
        };
        let is_wanted = |name: &&String| {
            matches(&patterns, name) && !except.as_ref().is_some_and(|except| matches(except, name))
        };
        let expected: Vec<_> = present.iter().filter(is_wanted).map(String::as_str).collect();
        let view = view(&patterns.join(","), except.as_ref().map(|except| except.join(",")).as_deref());
        let (events, _) = listed(&store, view, bytes);
        prop_assert_eq!(names(&events), expected);
    }
}

/// Commits inserts and removals without revealing them.
fn unrevealed(committer: &mut Committer, names: &[&str], removed: &[&str]) -> Durable {
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let name = |name: &&str| (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
    for (name, user) in names.iter().map(name) {
        let data = Payload::from_valid_json("2").unwrap();
        transaction.insert_event(Draft::value(tenant("a"), user, name, data)).unwrap();
    }
    for (name, user) in removed.iter().map(name) {
        transaction.insert_event(Draft::removal(tenant("a"), user, name)).unwrap();
    }
    transaction.commit().unwrap()
}

/// The positions of a page of history, read in steps of one event if the budget allows it.
fn page(store: &Store, query: &HistoryQuery, budget: Option<usize>) -> (Vec<u64>, Option<Position>) {
    let mut history =
        budget.map_or_else(|| History::new(query.clone()), |looks| history::History::within(query.clone(), looks));
    let mut positions = Vec::new();
    loop {
        let before = positions.len();
        let page = history.next(store, 1, |event| {
            assert_eq!(event.name, query.name.as_str());
            positions.push(event.position.get());
            Ok(())
        });
        assert!(positions.len() - before <= 1, "a step of one byte is one event");
        if let Page::Ends(next) = page.unwrap() {
            return (positions, next);
        }
    }
}

/// Checks that the log has named one damaged value, with this reason.
fn was_told(store: &Store, why: &str) {
    let told = store.damage_told();
    assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
}

fn query(name: &str, limit: usize, oldest_first: bool) -> HistoryQuery {
    let (after, before) = (Position::START, Position::END);
    HistoryQuery { tenant: tenant("a"), name: EventName::parse(name).unwrap(), after, before, limit, oldest_first }
}

#[test]
fn an_unrevealed_commit_is_in_no_reading_and_the_events_that_it_replaced_still_are() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["changes", "goes", "stays"]);
    let late = unrevealed(&mut committer, &["changes", "changes", "new"], &["goes"]);
    let before = [("changes".to_owned(), 1), ("goes".to_owned(), 2), ("stays".to_owned(), 3)];
    assert_eq!(listed(&store, view("*", None), 1).0, before);
    for oldest_first in [false, true] {
        assert_eq!(page(&store, &query("changes", 9, oldest_first), None), (vec![1], None));
        assert_eq!(page(&store, &query("goes", 9, oldest_first), None), (vec![2], None));
        assert_eq!(page(&store, &query("new", 9, oldest_first), None), (vec![], None));
    }
    drop(late.reveal());
    let after = [("changes".to_owned(), 5), ("new".to_owned(), 6), ("stays".to_owned(), 3)];
    assert_eq!(listed(&store, view("*", None), 1).0, after);
    assert_eq!(page(&store, &query("changes", 9, false), None), (vec![5, 4, 1], None));
}

/// Up to the floor, only the latest event of a name is kept. It is removed in the commit that replaces it, before that
/// commit may be shown.
#[test]
fn a_name_whose_only_event_is_being_replaced_is_not_missing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["doc", "x", "x"]);
    shorten(&store, &mut committer, "a", 1);
    let late = unrevealed(&mut committer, &["doc"], &[]);
    let reading = {
        let store = store.clone();
        thread::spawn(move || (listed(&store, view("doc", None), 1).0, page(&store, &query("doc", 9, false), None)))
    };
    thread::yield_now();
    drop(late.reveal());
    assert_eq!(reading.join().unwrap(), (vec![("doc".to_owned(), 4)], (vec![4], None)));
}

#[test]
fn a_name_whose_event_is_missing_is_left_out_and_logged_and_ends_every_reading() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["gone", "there"]);
    store
        .overlay
        .apply([(keys::event(&tenant("a"), Position::new(1)), overlay::Write::Remove)], progress::Progress::default());
    assert_eq!(listed(&store, view("*", None), 1).0, [("there".to_owned(), 2)]);
    for oldest_first in [false, true] {
        assert_eq!(page(&store, &query("gone", 9, oldest_first), None), (vec![], None));
        assert_eq!(page(&store, &query("there", 9, oldest_first), None), (vec![2], None));
    }
    was_told(&store, "is missing");
}

#[test]
fn an_event_that_says_it_comes_before_itself_is_left_out_and_makes_no_history_endless() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["x", "x", "x"]);
    let key = keys::event(&tenant("a"), Position::new(2));
    let mut value = store.get(&key).unwrap().unwrap().to_vec();
    // The position of the previous event comes after a timestamp and two lengths.
    value[12..20].copy_from_slice(&3_u64.to_be_bytes());
    store.overlay.apply([(key, overlay::Write::Put(value.into()))], progress::Progress::default());
    // The events before it are found without it.
    assert_eq!(page(&store, &query("x", 9, false), None), (vec![3, 1], None));
    assert_eq!(page(&store, &query("x", 9, true), None), (vec![1, 3], None));
    assert_eq!(store.was_used(&tenant("a"), "x", Position::START, &mut 9), Ok(None));
    was_told(&store, "comes after");
}

/// Damages each event in turn, and then each name, for every reading and every position.
#[test]
fn one_damaged_row_hides_nothing_else_from_any_reader() {
    let names = ["x", "y", "x", "z", "x", "y"];
    for (damaged, is_name) in (1..=6).map(|position| (position, false)).chain([(5, true), (6, true), (4, true)]) {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
        insert(&mut committer, "a", &names);
        let (name_damaged, at) = (names[damaged - 1], Position::new(damaged as u64));
        let key = if is_name { keys::name(&tenant("a"), name_damaged) } else { keys::event(&tenant("a"), at) };
        store.smuggle(key, b"?");
        let what = format!("{damaged} {is_name}");
        let is_left = |position: u64| is_name || position != damaged as u64;
        for name in ["x", "y", "z"] {
            let of_name = |position: &u64| names[*position as usize - 1] == name && is_left(*position);
            let mut expected: Vec<_> = (1..=6).filter(of_name).collect();
            assert_eq!(page(&store, &query(name, 9, true), None).0, expected, "{what}: {name}, oldest first");
            expected.reverse();
            assert_eq!(page(&store, &query(name, 9, false), None).0, expected, "{what}: {name}, newest first");
            let latest: Vec<_> = listed(&store, view(name, None), 1).0.into_iter().map(|(_, at)| at).collect();
            let newest = (1..=6).rfind(|position| names[*position as usize - 1] == name).unwrap();
            let is_there = if is_name { name != name_damaged } else { newest != damaged as u64 };
            assert_eq!(latest, if is_there { vec![newest] } else { vec![] }, "{what}: {name}, the latest");
            for filter in [name, "*"] {
                // A snapshot, and a resumption, whose reader is told of the gap.
                let mut snapshot = Replay::snapshot(tenant("a"), wanted(filter), Position::START, Position::new(6));
                let given = read(&store, &mut snapshot);
                assert!(is_there == given.contains(&newest), "{what}: {filter}, {given:?}");
                let mut events = Replay::events(tenant("a"), wanted(filter), Position::START, Position::new(6));
                let given = read(&store, &mut events);
                let is_wanted = |position: &u64| filter == "*" || names[*position as usize - 1] == filter;
                assert_eq!(
                    given,
                    (1..=6).filter(|at| is_wanted(at) && is_left(*at)).collect::<Vec<_>>(),
                    "{what}: {filter}"
                );
                assert!(is_name || events.has_gap(), "{what}: {filter}");
            }
        }
        assert_eq!(store.damage_told().len(), 1, "{what}: {:?}", store.damage_told());
    }
}

fn wanted(filter: &str) -> Wanted {
    Wanted::Of(Box::new(view(filter, None)))
}

/// The positions that a replay gives.
fn read(store: &Store, replay: &mut Replay) -> Vec<u64> {
    let mut given = Vec::new();
    let mut each = |event: StoredEvent<'_>| {
        given.push(event.position.get());
        0
    };
    while replay.next(store, 1, &mut each).unwrap() {}
    given
}

#[test]
fn whether_a_name_was_used_is_looked_for_no_longer_than_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["x"; 10]);
    let was_used = |by: u64, mut looks: usize| {
        let was_used = store.was_used(&tenant("a"), "x", Position::new(by), &mut looks).unwrap();
        (was_used, looks)
    };
    assert_eq!(was_used(1, 20), (Some(true), 11));
    assert_eq!(was_used(1, 9), (Some(true), 0));
    assert_eq!(was_used(1, 8), (None, 0));
    assert_eq!(was_used(0, 20), (Some(false), 10));
    assert_eq!(was_used(10, 0), (Some(true), 0));
}

/// Reads a history page by page, from the position in the query.
fn pages(store: &Store, mut query: HistoryQuery, looks: usize) -> Vec<u64> {
    let mut positions = Vec::new();
    loop {
        let (page, next) = page(store, &query, Some(looks));
        assert!(page.len() <= query.limit);
        let last = page.last().copied();
        positions.extend(page);
        let Some(next) = next else { return positions };
        assert!(last.is_none_or(|last| if query.oldest_first { next.get() >= last } else { next.get() <= last }));
        if query.oldest_first {
            assert!(next > query.after && next < query.before, "{next:?} after {query:?}");
            query.after = next;
        } else {
            assert!(next < query.before && next > query.after, "{next:?} before {query:?}");
            query.before = next;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Every name, from every position to every other, in pages of every size, with every budget.
    #[test]
    fn pages_of_a_history_hold_each_kept_event_of_the_name_once(
        runs in prop::collection::vec((0..3_usize, prop::sample::select(vec![1, 1, 3, 70, 130])), 1..16),
        keep in prop::sample::select(vec![0_usize, 200, 400, 2000]),
        bounds in (0..2000_u64, 0..2000_u64),
        limit in prop::sample::select(vec![1_usize, 2, 7, 1000]),
        looks in prop::sample::select(vec![1_usize, 3, 20, 20_000]),
        oldest_first: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
        let mut model = Vec::new();
        for (name, count) in runs {
            // The positions between belong to another tenant.
            let (owner, name) = [("a", "x"), ("a", "y"), ("b", "x")][name];
            let events = insert(&mut committer, owner, &vec![name; count]);
            model.extend(events.iter().map(|event| (event.position.get(), owner, name)));
        }
        shorten(&store, &mut committer, "a", keep);
        let floor = store.floor(&tenant("a")).unwrap().get();
        let head = store.head().get();
        // Most begin at the start.
        let (after, before) = (if bounds.0 < 1000 { 0 } else { bounds.0 % (head + 1) }, bounds.1 % (head + 2));
        for name in ["x", "y", "z"] {
            let of_name: Vec<_> =
                model.iter().filter(|(_, owner, of)| *owner == "a" && *of == name).map(|(at, ..)| *at).collect();
            let kept = |at: &u64| *at > floor || Some(at) == of_name.last();
            let mut expected: VecDeque<_> = VecDeque::new();
            for at in of_name.iter().copied().filter(kept).filter(|at| *at > after && (before == 0 || *at < before)) {
                if oldest_first { expected.push_back(at) } else { expected.push_front(at) }
            }
            let before = if before == 0 { Position::END } else { Position::new(before) };
            let query = HistoryQuery { after: Position::new(after), before, ..query(name, limit, oldest_first) };
            prop_assert_eq!(pages(&store, query, looks), Vec::from(expected), "{}", name);
        }
    }
}
