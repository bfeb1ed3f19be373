//! Guards events with data that is stored in chunks.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::domain::MAX_EVENT_BYTES;
use crate::store::chunks::{self, CHUNK_BYTES, MAX_INLINE_BYTES};
use crate::store::sizes::ROW_HEAD_BYTES;

/// JSON of this many bytes, all of one letter.
fn data_of(bytes: usize, letter: char) -> String {
    format!("\"{}\"", letter.to_string().repeat((bytes - 2) / letter.len_utf8()))
}

fn insert_data(committer: &mut Committer, name: &str, data: &str) -> Position {
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let (name, user) = (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
    let data = Payload::from_valid_json(data).unwrap();
    transaction.insert_event(Draft::value(tenant("a"), user, name, data)).unwrap();
    transaction.commit().unwrap().reveal()[0].position
}

fn remove(committer: &mut Committer, name: &str) {
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let (name, user) = (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
    transaction.insert_event(Draft::removal(tenant("a"), user, name)).unwrap();
    drop(transaction.commit().unwrap().reveal());
}

fn history_of(name: &str, oldest_first: bool) -> HistoryQuery {
    let (tenant, name) = (tenant("a"), EventName::parse(name).unwrap());
    HistoryQuery { tenant, name, after: Position::START, before: Position::END, limit: 1000, oldest_first }
}

type Events = Vec<(u64, String)>;
/// A way of reading events.
type Read = fn(&Store) -> Result<Events, Error>;

fn history(store: &Store, name: &str, oldest_first: bool) -> Result<Events, Error> {
    let (mut events, mut query) = (Vec::new(), history_of(name, oldest_first));
    loop {
        let (mut history, mut page_bytes) = (History::new(query.clone()), 0);
        let next = loop {
            let mut step_bytes = 0;
            let page = history.next(store, 64 << 10, |event| {
                assert!(step_bytes < 64 << 10, "a step is one event more than asked for at most");
                step_bytes += event.data.len();
                events.push((event.position.get(), event.data.into_owned()));
                Ok(())
            })?;
            page_bytes += step_bytes;
            if let Page::Ends(next) = page {
                break next;
            }
        };
        assert!(page_bytes <= 5 << 20, "a page is 4 MiB and an event at most");
        match next {
            Some(position) if oldest_first => query.after = position,
            Some(position) => query.before = position,
            None => return Ok(events),
        }
    }
}

fn replayed(store: &Store, mut replay: Replay) -> Result<Events, Error> {
    let mut events = Vec::new();
    let mut each = |event: StoredEvent<'_>| {
        events.push((event.position.get(), event.data.into_owned()));
        0
    };
    while replay.next(store, 1, &mut each)? {}
    Ok(events)
}

fn snapshot(store: &Store, filter: &str) -> Result<Events, Error> {
    replayed(store, Replay::snapshot(tenant("a"), wanted(filter), Position::START, store.head()))
}

fn latest(store: &Store, filter: &str) -> Result<Events, Error> {
    let Wanted::Of(view) = wanted(filter) else { panic!() };
    let (mut latest, mut events) = (LatestEvents::new(tenant("a"), *view), Vec::new());
    while latest.next(store, 1, |event| {
        events.push((event.position.get(), event.data.into_owned()));
        Ok(false)
    })? {}
    Ok(events)
}

/// Data with the lengths at which the storage changes, and with characters across the end of a chunk.
fn at_boundaries() -> Vec<String> {
    let mut all = Vec::new();
    for bytes in [MAX_INLINE_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES, MAX_EVENT_BYTES - 1] {
        all.extend([bytes - 1, bytes, bytes + 1].map(|bytes| data_of(bytes, 'x')));
    }
    all.extend(['é', '日', '😀'].map(|letter| data_of(3 * CHUNK_BYTES, letter)));
    all
}

#[test]
fn data_of_any_length_is_read_whole_in_every_way_and_no_row_is_too_large_for_sled() {
    for journal_bytes in [SMALL, LARGE] {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(directory.path(), journal_bytes).unwrap();
        let all = at_boundaries();
        let mut expected: Events = Vec::new();
        for data in &all {
            expected.push((insert_data(&mut committer, "x", data).get(), data.clone()));
        }
        let chunks: usize = all.iter().map(|data| usize::from(chunks::count(data.len()))).sum();
        assert!(chunks > 60);
        let check = |store: &Store| {
            assert_eq!(history(store, "x", true).unwrap(), expected);
            let mut newest = history(store, "x", false).unwrap();
            newest.reverse();
            assert_eq!(newest, expected);
            let all = Replay::events(tenant("a"), wanted("*"), Position::START, store.head());
            assert_eq!(replayed(store, all).unwrap(), expected);
            let last = &expected[expected.len() - 1..];
            assert_eq!(
                [snapshot(store, "*").unwrap(), snapshot(store, "x").unwrap(), latest(store, "*").unwrap()],
                [last, last, last]
            );
            assert_eq!(count(store, b"p"), chunks);
            store
                .scan_prefix(b"", &mut |key, value| {
                    assert!(key.len() + value.len() < 128 << 10);
                    Ok(true)
                })
                .unwrap_or_default();
        };
        check(&store);
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        for (position, data) in &expected {
            let event = transaction.event(&tenant("a"), Position::new(*position)).unwrap().unwrap();
            assert!(event.data.as_str() == data);
        }
        // Events that refusals show count, or a thousand of them would share one commit.
        assert!(transaction.is_full());
        drop(transaction);
        drop((store, committer));
        let (store, _committer) = open_with(directory.path(), journal_bytes).unwrap();
        check(&store);
        let blobs = std::fs::read_dir(directory.path().join("blobs")).unwrap();
        assert_eq!(blobs.count(), 0, "sled never syncs those");
    }
}

#[test]
fn nothing_is_left_of_large_events_that_are_gone_however_they_went() {
    for journal_bytes in [SMALL, 1 << 20, LARGE] {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, mut committer) = open_with(directory.path(), journal_bytes).unwrap();
        let (large, small) = (data_of(3 * CHUNK_BYTES, 'x'), data_of(9, 'y'));
        // In the tail, and removed from it.
        for name in ["superseded", "superseded", "shrunk", "removed", "kept"] {
            insert_data(&mut committer, name, &large);
        }
        insert_data(&mut committer, "shrunk", &small);
        remove(&mut committer, "removed");
        assert_eq!(count(&store, b"p"), 5 * 3);
        shorten(&store, &mut committer, "a", 0);
        assert_eq!((count(&store, b"p"), count(&store, b"e")), (2 * 3, 3));
        // Up to the floor, each event removes the previous one: large, small and a removal.
        insert_data(&mut committer, "superseded", &large);
        insert_data(&mut committer, "superseded", &small);
        assert_eq!((count(&store, b"p"), count(&store, b"e")), (2 * 3, 4));
        shorten(&store, &mut committer, "a", 0);
        assert_eq!((count(&store, b"p"), count(&store, b"e")), (3, 3));
        // The same after a restart.
        drop((store, committer));
        (store, committer) = open_with(directory.path(), journal_bytes).unwrap();
        assert_eq!((count(&store, b"p"), count(&store, b"e")), (3, 3));
        assert_eq!(history(&store, "kept", true).unwrap().len(), 1);
        insert_data(&mut committer, "kept", &large);
        assert_eq!((count(&store, b"p"), count(&store, b"e")), (3, 3));
        for name in ["superseded", "shrunk", "kept"] {
            remove(&mut committer, name);
        }
        shorten(&store, &mut committer, "a", 0);
        assert_eq!([b"p", b"e", b"n"].map(|prefix| count(&store, prefix)), [0; 3]);
    }
}

#[test]
fn an_event_that_is_removed_while_it_is_read_is_gone_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert_data(&mut committer, "x", &data_of(MAX_EVENT_BYTES, 'a'));
    shorten(&store, &mut committer, "a", 0);
    let found = store.latest_event(&tenant("a"), "x").unwrap().unwrap();
    assert!(found.event(&store, &tenant("a")).unwrap().is_some());
    insert_data(&mut committer, "x", &data_of(MAX_EVENT_BYTES, 'b'));
    assert!(found.event(&store, &tenant("a")).unwrap().is_none());
}

#[test]
fn readers_beside_a_writer_get_whole_events_and_miss_no_name() {
    for journal_bytes in [1 << 20, LARGE] {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(directory.path(), journal_bytes).unwrap();
        let letters = ['a', 'b', 'c'].map(|letter| data_of(5 * CHUNK_BYTES, letter));
        insert_data(&mut committer, "x", &letters[0]);
        let ended = AtomicBool::new(false);
        let is_whole = |events: &Events| events.iter().all(|(_, data)| letters.contains(data));
        std::thread::scope(|scope| {
            let readers: [Read; 5] = [
                |store| snapshot(store, "*"),
                |store| snapshot(store, "x"),
                |store| latest(store, "*"),
                |store| history(store, "x", true),
                |store| history(store, "x", false),
            ];
            let readers = readers.map(|read| {
                let (store, ended) = (&store, &ended);
                scope.spawn(move || {
                    let (mut reads, mut found) = (0, 0);
                    while !ended.load(Ordering::Relaxed) || reads < 3 {
                        let events = read(store).unwrap();
                        assert!(is_whole(&events));
                        (reads, found) = (reads + 1, found + usize::from(!events.is_empty()));
                    }
                    (reads, found)
                })
            });
            for round in 0..60 {
                insert_data(&mut committer, "x", &letters[round % 3]);
                shorten(&store, &mut committer, "a", 0);
            }
            ended.store(true, Ordering::Relaxed);
            let [_, _, latest, oldest, newest] = readers.map(|reader| reader.join().unwrap());
            // A snapshot leaves out an event that is overwritten while it is read. The others report that.
            for (reads, found) in [latest, oldest, newest] {
                assert_eq!(reads, found);
            }
        });
        assert_eq!(count(&store, b"p"), 5);
    }
}

#[test]
fn a_missing_or_damaged_chunk_damages_its_event_only() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let large = data_of(3 * CHUNK_BYTES, 'x');
    let [bad, good] = ["bad", "good"].map(|name| insert_data(&mut committer, name, &large));
    let replace = |number, write: overlay::Write| {
        store.overlay.apply([(keys::chunk(bad, number), write)], progress::Progress::default());
    };
    let bytes = |bytes: &[u8]| overlay::Write::Put(bytes.into());
    let (missing, short, not_utf8) = (overlay::Write::Remove, bytes(b"x"), bytes(&[0xff; CHUNK_BYTES]));
    for (number, write) in [(0, missing.clone()), (2, missing), (1, short), (1, not_utf8)] {
        replace(number, write);
        for read in [snapshot(&store, "bad"), latest(&store, "bad"), history(&store, "bad", true)] {
            assert_eq!(read.unwrap(), []);
        }
        let told = store.damage_told();
        assert!(told.iter().all(|why| why.contains(r"e\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01")), "{told:?}");
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        assert!(matches!(transaction.event(&tenant("a"), bad), Err(Error::Damaged(_))));
        drop(transaction);
        for number in 0..3 {
            replace(number, bytes(&large.as_bytes()[CHUNK_BYTES * usize::from(number)..][..CHUNK_BYTES]));
        }
        assert_eq!(snapshot(&store, "bad").unwrap(), [(bad.get(), large.clone())]);
    }
    replace(1, overlay::Write::Remove);
    // The other events are read, and the damaged one can be overwritten.
    assert_eq!(snapshot(&store, "good").unwrap(), [(good.get(), large.clone())]);
    insert_data(&mut committer, "bad", &large);
    shorten(&store, &mut committer, "a", 0);
    assert_eq!((snapshot(&store, "*").unwrap().len(), count(&store, b"p")), (2, 6));
}

#[test]
fn large_events_write_no_more_than_was_reckoned_also_in_place_of_large_ones() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    for bytes in [MAX_INLINE_BYTES + 1, 2 * CHUNK_BYTES + 1, MAX_EVENT_BYTES] {
        for _ in 0..2 {
            let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
            let events = (2 << 20) / bytes;
            for number in 0..events {
                let (name, user) = (EventName::parse(&format!("{number}")).unwrap(), Username::parse("u").unwrap());
                let data = Payload::from_valid_json(&data_of(bytes, 'x')).unwrap();
                transaction.insert_event(Draft::value(tenant("a"), user, name, data)).unwrap();
            }
            let heads = ROW_HEAD_BYTES + keys::CHUNK_KEY_BYTES;
            let (written, data) = (transaction.written(), events * bytes);
            assert!(written > data + events * usize::from(chunks::count(bytes)) * heads);
            // As if the names were short.
            let reckoned = bytes_of_insert(0, data) + events * 300;
            assert!(written <= bytes_of_insert(events, data) && written <= reckoned, "{written} of {reckoned}");
            drop(transaction.commit().unwrap().reveal());
            shorten(&store, &mut committer, "a", 0);
        }
    }
}

#[test]
fn a_step_that_takes_large_events_away_is_bounded_too() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let large = data_of(MAX_EVENT_BYTES, 'x');
    for _ in 0..20 {
        insert_data(&mut committer, "x", &large);
    }
    let moment = Timestamp::from_millis(1);
    let oldest = store.oldest(&tenant("a"), Excess { surplus: 19, before: moment, now: moment, at_most: 64 }).unwrap();
    let mut transaction = committer.begin(moment).unwrap();
    assert_eq!(transaction.shorten(oldest).unwrap(), 19);
    let chunk_rows = 19 * chunks::MAX_CHUNKS * (ROW_HEAD_BYTES + keys::CHUNK_KEY_BYTES);
    assert!((chunk_rows..chunk_rows + 19 * 100).contains(&transaction.written()), "{}", transaction.written());
}

proptest! {
    #[test]
    fn as_many_chunks_are_counted_as_are_written(bytes in 0..=MAX_EVENT_BYTES) {
        let written = if bytes > MAX_INLINE_BYTES { vec![0; bytes].chunks(CHUNK_BYTES).count() } else { 0 };
        prop_assert_eq!(usize::from(chunks::count(bytes)), written);
        prop_assert!(written != 1 && written <= chunks::MAX_CHUNKS);
    }
}
