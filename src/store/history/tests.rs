//! Guards searches of the history: each step stays short, whatever the events are like.

use super::query::STEP_LOOKED_AT_BYTES;
use super::*;
use crate::domain::{EventName, Payload, TenantName, Timestamp, Username};
use crate::store::{Draft, keys};

fn tenant() -> TenantName {
    TenantName::parse("a").unwrap()
}

/// A database with runs of events, each of a name, a count and a size.
fn filled(events: &[(&str, usize, usize)]) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = Store::open(directory.path(), 1 << 30).unwrap();
    for (name, count, bytes) in events {
        for done in (0..*count).step_by(100) {
            let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
            for _ in done..(done + 100).min(*count) {
                let (user, name) = (Username::parse("u").unwrap(), EventName::parse(name).unwrap());
                let data = Payload::from_valid_json(&format!("\"{}\"", "x".repeat(*bytes))).unwrap();
                transaction.insert_event(Draft::value(tenant(), user, name, data)).unwrap();
                transaction.keep().unwrap();
            }
            drop(transaction.commit().unwrap().reveal());
        }
    }
    (directory, store)
}

fn query(oldest_first: bool, before: Position) -> HistoryQuery {
    let name = EventName::parse("x").unwrap();
    HistoryQuery { tenant: tenant(), name, after: Position::START, before, limit: 2000, oldest_first }
}

#[test]
fn a_search_that_comes_from_small_events_to_large_ones_stays_short() {
    let (_directory, store) = filled(&[("x", 1, 1), ("large", 200, 50_000), ("small", 600, 1), ("x", 70, 1)]);
    let mut history = History::new(query(false, Position::new(801)));
    let (mut found, mut steps) = (Vec::new(), 0);
    loop {
        let before = history.left.looked_at_bytes;
        let page = history.next(&store, 1 << 20, |event| {
            found.push(event.position.get());
            Ok(())
        });
        let looked_at = before - history.left.looked_at_bytes;
        assert!(looked_at < 3 * STEP_LOOKED_AT_BYTES, "{looked_at} bytes in a step");
        steps += 1;
        if page == Ok(Page::Ends(None)) {
            break;
        }
        assert!(steps < 100, "it comes to no end");
    }
    assert_eq!(found, [1]);
}

#[test]
fn events_that_cannot_be_read_end_no_page_and_take_no_long_step() {
    let (_directory, store) = filled(&[("x", 3000, 1)]);
    for number in 1..=2500 {
        store.smuggle(keys::event(&tenant(), Position::new(number)), b"?");
    }
    let mut history = History::within(query(true, Position::END), 2000);
    let (mut found, mut ends) = (Vec::new(), Vec::new());
    for step in 0.. {
        let before = history.left.looks;
        let page = history.next(&store, 1 << 20, |event| {
            found.push(event.position.get());
            Ok(())
        });
        assert!(before - history.left.looks <= STEP_LOOKS);
        match page.unwrap() {
            Page::GoesOn => {}
            Page::Ends(Some(next)) => {
                ends.push(next.get());
                history = History::within(HistoryQuery { after: next, ..query(true, Position::END) }, 2000);
            }
            Page::Ends(None) => break,
        }
        assert!(step < 10, "it comes to no end");
    }
    assert!(found.iter().copied().eq(2501..=3000), "{} are found", found.len());
    assert_eq!(ends, [2000]);
}
