//! Guards transient events: they are in the order, in the history and in a resumption, and are never the latest of their
//! name.

mod world;

use super::*;
use crate::store::history::Page;

#[test]
fn a_reader_that_looks_at_everything_since_many_names_changed_is_given_no_transient_event() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let names: Vec<String> = (0..3000).map(|number| format!("name{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    insert(&mut committer, "a", &names);
    shorten(&store, &mut committer, "a", 1000);
    drop(unrevealed(&mut committer, &names[1500..2500], &["new"]).reveal());
    let expected: Vec<_> = (2..=3000).chain([4001]).collect();
    assert_eq!(numbers(&replay(&store, "a", "*", 1)), expected);
    assert_eq!(numbers(&replay(&store, "a", "*", 0)), (1..=3000).chain([4001]).collect::<Vec<_>>());
    assert_eq!(replay(&store, "a", "*", 2000).len(), 2001, "above the floor they are");
}

#[test]
fn a_large_one_that_expires_while_it_is_read_is_gone_as_a_whole_and_hides_nothing_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    drop(unrevealed(&mut committer, &["x", "x"], &[]).reveal());
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let (name, user, at) = (EventName::parse("x").unwrap(), Username::parse("u").unwrap(), Timestamp::from_millis(2));
    let large = Payload::from_valid_json(&format!("\"{}\"", "x".repeat(300 << 10))).unwrap();
    for data in [large, Payload::null()] {
        let draft = Draft::transient(tenant("a"), user.clone(), name.clone(), data);
        transaction.insert_event(Draft { expires_at: Some(at), ..draft }).unwrap();
    }
    drop(transaction.commit().unwrap().reveal());
    let newest = store.newest_event(&tenant("a"), "x").unwrap().unwrap();
    let found_before = store.event_before(&tenant("a"), "x", &newest).unwrap().unwrap();
    assert!(found_before.event(&store, &tenant("a")).unwrap().is_some());
    let (after, before) = (Position::START, Position::END);
    let query = HistoryQuery { tenant: tenant("a"), name, after, before, limit: 9, oldest_first: false };
    let (mut history, mut positions, mut keys) = (History::new(query), Vec::new(), Vec::new());
    // They expire in the middle of a page.
    let page = history.next(&store, 1 << 20, |event| {
        positions.push(event.position.get());
        keys = found(&store, &Search::for_expired(), 9).keys;
        let mut transaction = committer.begin(Timestamp::from_millis(9)).unwrap();
        transaction.remove_expired(std::mem::take(&mut keys)).unwrap();
        drop(transaction.commit().unwrap().reveal());
        Ok(())
    });
    assert_eq!((page, positions), (Ok(Page::Ends(None)), vec![4, 2, 1]));
    assert!(found_before.event(&store, &tenant("a")).unwrap().is_none());
    assert!(store.damage_told().is_empty(), "{:?}", store.damage_told());
}

/// Commits transient events without revealing them, and then latest ones.
fn unrevealed(committer: &mut Committer, transient: &[&str], latest: &[&str]) -> Durable {
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let name = |name: &&str| (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
    for (name, user) in transient.iter().map(name) {
        transaction.insert_event(Draft::transient(tenant("a"), user, name, Payload::null())).unwrap();
    }
    for (name, user) in latest.iter().map(name) {
        transaction.insert_event(Draft::value(tenant("a"), user, name, Payload::null())).unwrap();
    }
    transaction.commit().unwrap()
}

/// The position of the latest event of a name, and those of its history.
fn shown(store: &Store, name: &str) -> (Option<u64>, Vec<u64>) {
    let latest = store.latest_event(&tenant("a"), name).unwrap().map(|link| link.position.get());
    let name = EventName::parse(name).unwrap();
    let (after, before) = (Position::START, Position::END);
    let query = HistoryQuery { tenant: tenant("a"), name, after, before, limit: 9999, oldest_first: true };
    let (mut history, mut positions) = (History::new(query), Vec::new());
    while let Page::GoesOn = history
        .next(store, 1 << 20, |event| {
            positions.push(event.position.get());
            Ok(())
        })
        .unwrap()
    {}
    (latest, positions)
}

#[test]
fn a_transient_event_that_is_not_revealed_is_in_no_reading_and_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["x", "old", "old"]);
    shorten(&store, &mut committer, "a", 0);
    drop(unrevealed(&mut committer, &["x", "x", "only"], &[]).reveal());
    let late = unrevealed(&mut committer, &["x", "new", "only", "old"], &[]);
    assert_eq!(shown(&store, "x"), (Some(1), vec![1, 4, 5]));
    assert_eq!(shown(&store, "old"), (Some(3), vec![3]));
    assert_eq!((shown(&store, "new"), shown(&store, "only")), ((None, vec![]), (None, vec![6])));
    drop(late.reveal());
    assert_eq!((shown(&store, "x"), shown(&store, "new")), ((Some(1), vec![1, 4, 5, 7]), (None, vec![8])));
}

#[test]
fn a_value_behind_a_flood_of_transient_events_is_found_when_the_next_one_is_revealed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["x"]);
    drop(unrevealed(&mut committer, &["x"; 3000], &[]).reveal());
    let late = unrevealed(&mut committer, &[], &["x"]);
    let reading = std::thread::spawn({
        let store = store.clone();
        move || store.latest_event(&tenant("a"), "x").unwrap().map(|link| link.position.get())
    });
    std::thread::yield_now();
    drop(late.reveal());
    assert_eq!(reading.join().unwrap(), Some(3002));
}

#[test]
fn a_damaged_transient_event_hides_nothing_else_and_expires_without_being_read() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["x"]);
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let (name, user) = (EventName::parse("x").unwrap(), Username::parse("u").unwrap());
    for _ in 0..3 {
        let (user, name, at) = (user.clone(), name.clone(), Timestamp::from_millis(5));
        let draft = Draft::transient(tenant("a"), user, name, Payload::null());
        transaction.insert_event(Draft { expires_at: Some(at), ..draft }).unwrap();
    }
    drop(transaction.commit().unwrap().reveal());
    let key = keys::event(&tenant("a"), Position::new(3));
    store.smuggle(key.clone(), b"?");
    assert_eq!(shown(&store, "x"), (Some(1), vec![1, 2, 4]));
    // The floor passes it, and it stays. When it expires, it goes.
    shorten(&store, &mut committer, "a", 1);
    assert_eq!((shown(&store, "x"), count(&store, b"e"), count(&store, b"x")), ((Some(1), vec![1, 4]), 3, 2));
    let Found { keys, .. } = found(&store, &Search::for_expired(), 9);
    let mut transaction = committer.begin(Timestamp::from_millis(9)).unwrap();
    assert_eq!(transaction.remove_expired(keys), Ok(0));
    drop(transaction.commit().unwrap().reveal());
    assert_eq!((shown(&store, "x"), count(&store, b"e"), count(&store, b"x")), ((Some(1), vec![1]), 2, 0));
    assert!(store.get(&key).unwrap().is_none());
}
