//! Guards maintenance: it finds and removes expired events, events of ended streams, and the oldest of a tail.

use super::*;

#[test]
fn events_of_a_clock_that_was_ahead_do_not_keep_later_events() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let ahead = 400 * 24 * 60 * 60 * 1000;
    for (millis, count) in [(10, 3), (ahead, 20), (20, 30), (1000, 5)] {
        for _ in 0..count {
            insert_at(&mut committer, millis, "x", |_, _| {});
        }
    }
    let [now, before] = [1000, 500].map(Timestamp::from_millis);
    shorten_by(&store, &mut committer, "a", Excess { surplus: 0, before, now, at_most: 4 });
    assert_eq!(count(&store, b"e"), 5);
    // The events after it are not old yet, so it is unknown whether it is.
    for (millis, count) in [(ahead, 3), (1000, 1)] {
        for _ in 0..count {
            insert_at(&mut committer, millis, "x", |_, _| {});
        }
    }
    let [now, before] = [2000, 1000].map(Timestamp::from_millis);
    shorten_by(&store, &mut committer, "a", Excess { surplus: 0, before, now, at_most: 4 });
    assert_eq!(count(&store, b"e"), 9);
}

/// How many rows a search would look at, removed ones included.
fn looks(store: &Store, search: &Search, now: u64) -> usize {
    let (from, until) = search.range(Timestamp::from_millis(now));
    let (from, until) = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Excluded(&until[..]));
    store.overlay.next_rows(from, until, usize::MAX).0.len()
}

/// Inserts an event that expires at a moment.
fn insert_expiring(committer: &mut Committer, name: &str, millis: u64) {
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let (name, user, expires_at) = (EventName::parse(name).unwrap(), Username::parse("u").unwrap(), millis);
    let draft = Draft::value(tenant("a"), user, name, Payload::null());
    transaction.insert_event(Draft { expires_at: Some(Timestamp::from_millis(expires_at)), ..draft }).unwrap();
    drop(transaction.commit().unwrap().reveal());
}

#[test]
fn a_search_for_expired_events_does_not_look_at_removed_ones_again() {
    const COUNT: usize = 500;
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    for number in 0..COUNT {
        insert_expiring(&mut committer, &format!("name{number}"), number as u64);
    }
    // As after a checkpoint: from now on, a removed key stays in the overlay as removed.
    store.overlay.freeze();
    let mut search = Search::for_expired();
    let mut removed = 0;
    loop {
        let Found { keys, is_more, rest } = found(&store, &search, 1000);
        let mut transaction = committer.begin(Timestamp::from_millis(1000)).unwrap();
        removed += transaction.remove_expired(keys).unwrap();
        drop(transaction.commit().unwrap().reveal());
        search = rest;
        assert_eq!(looks(&store, &search, 1000), COUNT - removed);
        if !is_more {
            break;
        }
    }
    assert_eq!((removed, looks(&store, &Search::for_expired(), 1000)), (COUNT, COUNT));
    assert!(found(&store, &search, 2000).keys.is_empty());

    // The clock was set back.
    insert_expiring(&mut committer, "early", 300);
    assert!(found(&store, &search, 2000).keys.is_empty());
    search.go_back(store.activity().take_due().expiry);
    assert_eq!(found(&store, &search, 2000).keys.len(), 1);
}

#[test]
fn the_events_of_an_ended_stream_are_removed_in_steps_and_its_end_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    for number in 0..200 {
        insert_at(&mut committer, 1, &format!("name{number}"), |transaction, event| {
            transaction.bind(event, 7).unwrap();
        });
    }
    insert_at(&mut committer, 1, "of another", |transaction, event| transaction.bind(event, 8).unwrap());
    let streams =
        |store: &Store| -> Vec<_> { store.bound_streams().unwrap().into_iter().map(|(stream, ..)| stream).collect() };
    assert_eq!(streams(&store), [7, 8]);
    let (mut search, mut removed) = (Search::for_bound(7, None), Vec::new());
    loop {
        let Found { keys, is_more, rest } = found(&store, &search, 1);
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        removed.push(transaction.remove_bound(7, None, keys, !is_more).unwrap());
        drop(transaction.commit().unwrap().reveal());
        search = rest;
        assert_eq!((streams(&store), store.ended_streams().unwrap().len()), (vec![8], usize::from(is_more)));
        if !is_more {
            break;
        }
    }
    assert_eq!(removed, [64, 64, 64, 8]);
    let user = Username::parse("u").unwrap();
    assert_eq!(committer.begin(Timestamp::from_millis(1)).unwrap().bound_of(&user), Ok(1));
}

#[test]
fn noted_activity_is_counted_before_it_is_revealed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let (user, name) = (Username::parse("u").unwrap(), EventName::parse("x").unwrap());
    for _ in 0..3 {
        transaction.insert_event(Draft::value(tenant("a"), user.clone(), name.clone(), Payload::null())).unwrap();
    }
    let durable = transaction.commit().unwrap();
    let heard = store.activity().take().remove(&tenant("a")).unwrap();
    assert_eq!((heard.len(), store.head().get()), (3, 0));
    assert_eq!(tail_length(&store, "a"), (3, heard[2]));
    drop(durable.reveal());
}

#[test]
fn a_long_tail_is_counted_in_steps_and_again_if_it_was_shortened_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    for _ in 0..10 {
        insert(&mut committer, "a", &["x"; 1000]);
    }
    let mut count = TailCount::new(&store, tenant("a")).unwrap();
    assert_eq!((count.step(&store), count.step(&store)), (Ok(None), Ok(None)));
    assert_eq!(count.step(&store), Ok(Some((10_000, Position::new(10_000)))));
    let mut count = TailCount::new(&store, tenant("a")).unwrap();
    assert_eq!(count.step(&store), Ok(None));
    shorten(&store, &mut committer, "a", 3000);
    insert(&mut committer, "a", &["x"; 7]);
    assert_eq!(count.step(&store), Ok(Some((3007, Position::new(10_007)))));
}

#[test]
fn a_step_of_maintenance_is_bounded_in_bytes_too() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let long = tenant(&"t".repeat(256));
    for first in (0..3000).step_by(1000) {
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        for number in first..first + 1000 {
            let (name, user) = (EventName::parse(&format!("{number:0256}")).unwrap(), Username::parse("u").unwrap());
            let data = Payload::from_valid_json("1").unwrap();
            let expires_at = Some(Timestamp::from_millis(2));
            transaction.insert_event(Draft { expires_at, ..Draft::value(long.clone(), user, name, data) }).unwrap();
        }
        drop(transaction.commit().unwrap().reveal());
    }
    let found = store.find(&Search::for_expired(), Timestamp::from_millis(9), usize::MAX).unwrap();
    assert!(found.is_more && !found.keys.is_empty() && found.keys.len() < 3000, "{}", found.keys.len());
    let now = Timestamp::from_millis(1);
    let excess = Excess { surplus: usize::MAX, before: now, now, at_most: usize::MAX };
    let oldest = store.oldest(&long, excess).unwrap();
    assert!(!oldest.is_all && !oldest.is_empty());
}
