mod damage;
mod reading;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::{Authorize, Event, EventFilter, EventName, Payload, TenantName, Timestamp, View};

fn tenant(name: &str) -> TenantName {
    TenantName::parse(name).unwrap()
}

fn insert(committer: &mut Committer, tenant_name: &str, names: &[&str]) -> Vec<Event> {
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    for name in names {
        let (name, user) = (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
        let data = Payload::from_valid_json("1").unwrap();
        transaction.insert_event(tenant(tenant_name), user, name, data).unwrap();
    }
    transaction.commit().unwrap().reveal()
}

/// Shortens a tenant's tail to so many events, as is done in the background.
fn shorten(store: &Store, committer: &mut Committer, tenant_name: &str, keep: usize) {
    loop {
        let length = store.tail_length(&tenant(tenant_name)).unwrap().0;
        let mut transaction = committer.begin(Timestamp::from_millis(2)).unwrap();
        let surplus = length.saturating_sub(keep);
        let shortened = transaction.shorten(&tenant(tenant_name), surplus, Timestamp::from_millis(1), 64).unwrap();
        drop(transaction.commit().unwrap().reveal());
        if shortened.is_done {
            return;
        }
    }
}

/// So small a journal that nearly every commit begins a checkpoint.
const SMALL: u64 = 1000;
/// One that none begins.
const LARGE: u64 = 64 << 20;

fn open(path: &Path) -> Result<(Store, Committer), OpenError> {
    open_with(path, SMALL)
}

/// Opens what may have been open in this process a moment ago: sled's own threads may hold on to it for another.
fn open_with(path: &Path, journal_bytes: u64) -> Result<(Store, Committer), OpenError> {
    loop {
        match Store::open(path, journal_bytes) {
            Err(OpenError::InUse(_)) => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// What somebody wants who may see everything.
fn wanted(filter: &str) -> Wanted {
    let (rights, own) = Authorize::Open.to_see(&Username::parse("u").unwrap(), &[]);
    Wanted::Of(Box::new(View { filter: EventFilter::parse(filter).unwrap(), rights, own }))
}

/// All that a subscriber after a position gets, in steps of a few bytes.
fn replay(store: &Store, tenant_name: &str, filter: &str, after: u64) -> Vec<(u64, String)> {
    let (tenant, wanted, after) = (tenant(tenant_name), wanted(filter), Position::new(after));
    let mut replay = match after {
        Position::START => Replay::snapshot(tenant, wanted, after, store.head()),
        _ => Replay::events(tenant, wanted, after, store.head()),
    };
    let mut events = Vec::new();
    while replay.next(store, 100, |event| events.push((event.position.get(), event.name.to_owned()))).unwrap() {}
    events
}

fn count(store: &Store, prefix: &[u8]) -> usize {
    let mut rows = 0;
    store
        .scan_prefix(prefix, &mut |_, _| {
            rows += 1;
            Ok(true)
        })
        .unwrap();
    rows
}

/// Writes past the committer.
fn smuggle(store: &Store, key: Vec<u8>, value: &'static [u8]) {
    store.overlay.apply([(key, overlay::Write::Put(value.into()))], transaction::Progress::default());
}

fn numbers(events: &[(u64, String)]) -> Vec<u64> {
    events.iter().map(|(number, _)| *number).collect()
}

#[test]
fn a_new_subscriber_gets_the_latest_of_each_name_and_one_who_was_here_gets_all_that_was_missed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &["x", "y", "x"]);
    insert(&mut committer, "b", &["x"]);
    insert(&mut committer, "a", &["x", "z"]);
    assert_eq!(numbers(&replay(&store, "a", "*", 0)), [2, 5, 6]);
    assert_eq!(numbers(&replay(&store, "a", "*", 1)), [2, 3, 5, 6]);
    assert!(replay(&store, "a", "*", 6).is_empty());
    assert_eq!(numbers(&replay(&store, "b", "*", 0)), [4]);
    assert_eq!(numbers(&replay(&store, "a", "x,x*,z", 0)), [5, 6]);
    assert_eq!(numbers(&replay(&store, "a", "x", 1)), [3, 5]);
}

const KEPT: usize = 1000;

#[test]
fn beyond_what_is_kept_the_names_that_changed_are_given_and_the_tail_stays_exact() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    // One name that never changes again, one that changed early, and a flood of another.
    insert(&mut committer, "a", &["old", "once"]);
    let flood = vec!["flood"; 500];
    for _ in 0..8 {
        insert(&mut committer, "a", &flood);
    }
    insert(&mut committer, "a", &["once"]);
    shorten(&store, &mut committer, "a", KEPT);
    let head = store.head().get();
    assert_eq!(replay(&store, "a", "*", 0), [(1, "old".into()), (head - 1, "flood".into()), (head, "once".into())]);
    // From before the floor: what changed since, not what is left of the flood.
    assert_eq!(numbers(&replay(&store, "a", "*", 1)), [head - 1, head]);
    // Within what is kept: everything.
    let kept = head - KEPT as u64;
    assert_eq!(numbers(&replay(&store, "a", "*", kept)), (kept + 1..=head).collect::<Vec<_>>());
    // What is superseded and beyond the tail is gone from the disk too.
    let rows = count(&store, b"e");
    assert_eq!(rows, KEPT + 1);

    // The same after opening anew, where the tail is counted again.
    drop((store, committer));
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &flood);
    shorten(&store, &mut committer, "a", 10);
    assert_eq!(replay(&store, "a", "old,once", 0), [(1, "old".into()), (head, "once".into())]);
    assert_eq!(count(&store, b"e"), 12);
}

#[test]
fn what_is_not_yet_on_disk_is_shown_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &["x", "z"]);
    // As between a batch's application and its sync.
    let late = keys::event(&tenant("a"), Position::new(3));
    let value = store.get(&keys::event(&tenant("a"), Position::new(1))).unwrap().unwrap();
    store.tree.insert(late, &*value).unwrap();
    store.tree.insert(keys::name(&tenant("a"), "y"), &3_u64.to_be_bytes()).unwrap();
    assert_eq!(numbers(&replay(&store, "a", "*", 0)), [1, 2]);
    assert_eq!(numbers(&replay(&store, "a", "*", 1)), [2]);
    assert!(replay(&store, "a", "*", 2).is_empty());
}

#[test]
fn an_id_of_another_database_or_of_the_future_is_not_a_position_here() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, mut committer) = open(one.path()).unwrap();
    insert(&mut committer, "a", &["x"]);
    let id = store.event_id(Position::new(1));
    assert_eq!(store.position_of(id), Some(Position::new(1)));
    assert_eq!(store.position_of(store.event_id(Position::new(2))), None);
    let (other, mut committer) = open(two.path()).unwrap();
    insert(&mut committer, "a", &["x"]);
    // One in a million is the same.
    if other.event_id(Position::new(1)) != id {
        assert_eq!(other.position_of(id), None);
    }
}

/// Copies a database that nobody has open.
fn copy(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn an_id_of_what_a_restored_copy_lacks_is_none_however_far_the_copy_goes_on() {
    // Copied while there is nothing, in between, and after a start without an insert.
    for (before, is_started) in [(0, false), (0, true), (3, false), (3, true)] {
        let directory = tempfile::tempdir().unwrap();
        let [path, backup] = ["db", "backup"].map(|name| directory.path().join(name));
        let mut common = vec![Position::START];
        for number in 1..=before {
            let (store, mut committer) = open(&path).unwrap();
            insert(&mut committer, "a", &["x"]);
            common.push(store.head());
            assert_eq!(store.head(), Position::new(number));
        }
        if is_started || before == 0 {
            drop(open(&path).unwrap());
        }
        copy(&path, &backup);
        let (store, mut committer) = open(&path).unwrap();
        insert(&mut committer, "a", &["x", "y"]);
        let ids =
            |store: &Store| -> Vec<_> { (0..=store.head().get()).map(|n| store.event_id(Position::new(n))).collect() };
        let seen = ids(&store);
        drop((store, committer));
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::rename(&backup, &path).unwrap();

        for _ in 0..2 {
            let (store, mut committer) = open(&path).unwrap();
            insert(&mut committer, "a", &["x", "y"]);
            for id in &seen {
                let is_common = common.contains(&id.position) && before > 0;
                assert_eq!(store.position_of(*id).is_some(), is_common, "{id:?} of {common:?}");
            }
            // And its own stay what they are.
            let own = ids(&store);
            drop((store, committer));
            assert_eq!(ids(&open(&path).unwrap().0), own);
        }
    }
}

#[test]
fn a_newer_format_is_refused_and_the_database_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (store, committer) = open(directory.path()).unwrap();
    store.tree.insert(keys::setting("format"), &4_u32.to_be_bytes()).unwrap();
    store.tree.flush().unwrap();
    drop((store, committer));
    for _ in 0..2 {
        let refused = open(directory.path()).err().unwrap();
        assert!(matches!(refused, OpenError::TooNew(_, 4)), "{refused}");
        assert!(refused.to_string().contains("format 4"), "{refused}");
    }
}

#[test]
fn a_database_that_is_open_is_not_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    assert!(matches!(Store::open(directory.path(), SMALL).err(), Some(OpenError::InUse(_))));
    drop(first);
    open(directory.path()).unwrap();
}

#[test]
fn what_a_killed_opening_left_does_not_stop_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &["x"]);
    drop((store, committer));
    std::fs::write(directory.path().join("snap.000000000000ABCD.generating"), b"half").unwrap();
    let (store, _committer) = open(directory.path()).unwrap();
    assert_eq!(numbers(&replay(&store, "a", "*", 0)), [1]);

    let fresh = tempfile::tempdir().unwrap();
    std::fs::write(fresh.path().join("conf"), b"segment_size: 16777216\nuse_comp").unwrap();
    open(fresh.path()).unwrap();
}

#[test]
fn a_damaged_value_is_an_error_that_names_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &["x"]);
    smuggle(&store, keys::event(&tenant("a"), Position::new(1)), b"short");
    let mut reading = Replay::snapshot(tenant("a"), Wanted::All, Position::START, store.head());
    let Err(Error::Storage(why)) = reading.next(&store, 100, |_| {}) else { panic!("it was read") };
    assert!(why.contains(r"e\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01"), "{why}");

    let username = Username::parse("zoe").unwrap();
    smuggle(&store, keys::user(&username), b"{}");
    let Err(Error::Storage(why)) = store.user(&username) else { panic!("it was read") };
    assert!(why.contains("uzoe"), "{why}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever was inserted, in whatever batches: the replay from each position is what a list in memory says.
    #[test]
    fn a_replay_is_what_a_list_in_memory_would_give(
        batches in prop::collection::vec(prop::collection::vec((0..3_usize, 0..4_usize), 1..12), 1..12),
        after in 0..60_u64,
    ) {
        const TENANTS: [&str; 3] = ["a", "a_b", "b"];
        const NAMES: [&str; 4] = ["c", "b_c", "chat/1", "chat/2"];
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open(directory.path()).unwrap();
        let mut model = Vec::new();
        for batch in batches {
            for (t, n) in batch {
                insert(&mut committer, TENANTS[t], &[NAMES[n]]);
                model.push((TENANTS[t], NAMES[n]));
            }
        }
        let after = after.min(model.len() as u64);
        let all: BTreeMap<u64, _> = (1_u64..).zip(&model).collect();
        for name in TENANTS {
            let own: Vec<_> = all.iter().filter(|(_, (t, _))| *t == name).map(|(p, (_, n))| (*p, (*n).to_owned())).collect();
            let mut names = BTreeSet::new();
            let mut latest: Vec<_> = own.iter().rev().filter(|(_, n)| names.insert(n.clone())).cloned().collect();
            latest.reverse();
            prop_assert_eq!(replay(&store, name, "*", 0), latest.clone());
            let chat: Vec<_> = latest.into_iter().filter(|(_, n)| n.starts_with("chat/")).collect();
            prop_assert_eq!(replay(&store, name, "chat/*", 0), chat);
            if after > 0 {
                let missed: Vec<_> = own.into_iter().filter(|(p, _)| *p > after).collect();
                prop_assert_eq!(replay(&store, name, "*", after), missed);
            }
        }
    }
}

#[test]
fn a_range_that_ends_before_it_begins_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["x"]);
    for (from, to) in [(&b"f"[..], &b"e"[..]), (b"e", b"e"), (b"z", b"")] {
        store.scan(from, to, &mut |key, _| panic!("{key:?} is in it")).unwrap();
    }
    // As it is where the floor is beyond the end.
    smuggle(&store, keys::floor(&tenant("a")), &[0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(store.tail_length(&tenant("a")).unwrap().0, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever is in the journal, in sled, or half way between: it is one database, and the same after opening anew.
    #[test]
    fn a_database_that_is_opened_anew_has_every_commit_wherever_its_checkpoints_were(
        commits in prop::collection::vec(prop::collection::vec(0..9_usize, 1..9), 1..40),
        journal_bytes in 200..4000_u64,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(directory.path(), journal_bytes).unwrap();
        let mut model: Vec<(u64, String)> = Vec::new();
        let names: Vec<String> = (0..9).map(|number| format!("name{number}")).collect();
        for commit in commits {
            let wanted: Vec<_> = commit.iter().map(|name| names[*name].as_str()).collect();
            let events = insert(&mut committer, "a", &wanted);
            model.extend(events.iter().map(|event| (event.position.get(), event.name.to_string())));
        }
        let mut seen = BTreeSet::new();
        let mut latest: Vec<_> = model.iter().rev().filter(|(_, name)| seen.insert(name.clone())).cloned().collect();
        latest.reverse();
        prop_assert_eq!(&replay(&store, "a", "*", 0), &latest);
        drop((store, committer));
        let (store, _committer) = open_with(directory.path(), LARGE).unwrap();
        prop_assert_eq!(replay(&store, "a", "*", 0), latest);
        prop_assert_eq!(replay(&store, "a", "*", 1), &model[1..]);
    }
}

#[test]
fn the_largest_insert_writes_no_more_than_is_reckoned_and_may_be_written_at_once() {
    const EVENTS: usize = 1000;
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let tenant = "t".repeat(256);
    let user = Username::parse(&"u".repeat(256)).unwrap();
    let data = format!("\"{}\"", "x".repeat(1840));
    // The second takes the place of the first, below the floor.
    for _ in 0..2 {
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        for number in 0..EVENTS {
            let name = EventName::parse(&format!("{number:0256}")).unwrap();
            let data = Payload::from_valid_json(&data).unwrap();
            let event = transaction.insert_event(self::tenant(&tenant), user.clone(), name, data).unwrap();
            transaction.expire(&event, Timestamp::from_millis(9));
            transaction.bind(&event, 7);
        }
        transaction.remember_answer(&user, &"k".repeat(255), [7; 32], Position::new(1), EVENTS as u64);
        let (written, reckoned) = (transaction.written(), bytes_of_insert(EVENTS, EVENTS * data.len()));
        assert!(written <= reckoned && reckoned <= MAX_CHANGE_BYTES, "{written} of {reckoned}");
        drop(transaction.commit().unwrap().reveal());
        shorten(&store, &mut committer, &tenant, 0);
    }
}
