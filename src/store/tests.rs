mod damage;
mod large;
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

/// How long a tenant's tail is, and up to where it was counted.
fn tail_length(store: &Store, tenant_name: &str) -> (usize, Position) {
    let mut count = TailCount::new(store, tenant(tenant_name)).unwrap();
    loop {
        if let Some(counted) = count.step(store).unwrap() {
            return counted;
        }
    }
}

/// Shortens a tenant's tail to so many events, as is done in the background.
fn shorten(store: &Store, committer: &mut Committer, tenant_name: &str, keep: usize) {
    let length = tail_length(store, tenant_name).0;
    let moment = Timestamp::from_millis(1);
    let too_much = TooMuch { surplus: length.saturating_sub(keep), before: moment, now: moment, at_most: 64 };
    shorten_by(store, committer, tenant_name, too_much);
}

fn shorten_by(store: &Store, committer: &mut Committer, tenant_name: &str, mut too_much: TooMuch) {
    loop {
        let oldest = store.oldest(&tenant(tenant_name), too_much).unwrap();
        let is_all = oldest.is_all;
        let mut transaction = committer.begin(Timestamp::from_millis(2)).unwrap();
        let by = transaction.shorten(oldest).unwrap();
        assert!(by <= too_much.at_most);
        too_much.surplus = too_much.surplus.saturating_sub(by);
        drop(transaction.commit().unwrap().reveal());
        if is_all {
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
    store.smuggle(keys::event(&tenant("a"), Position::new(1)), b"short");
    let position = Position::new(1);
    let Err(Error::Damaged(why)) = store.event_of(&tenant("a"), "x", position) else { panic!("it was read") };
    assert!(why.contains(r"e\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01"), "{why}");

    let username = Username::parse("zoe").unwrap();
    store.smuggle(keys::user(&username), b"{}");
    let Err(Error::Damaged(why)) = store.user(&username) else { panic!("it was read") };
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
    store.smuggle(keys::floor(&tenant("a")), &[0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(tail_length(&store, "a").0, 0);
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
            transaction.expire(&event, Timestamp::from_millis(9)).unwrap();
            transaction.bind(&event, 7).unwrap();
        }
        let (idempotency_key, first, count) = ("k".repeat(255), Position::new(1), EVENTS as u64);
        let (of, fingerprint) = (self::tenant(&tenant), [7; 32]);
        let new =
            NewAnswer { username: &user, tenant: &of, idempotency_key: &idempotency_key, fingerprint, first, count };
        transaction.remember_answer(new, 1).unwrap();
        let (written, reckoned) = (transaction.written(), bytes_of_insert(EVENTS, EVENTS * data.len()));
        assert!(written <= reckoned && reckoned <= MAX_CHANGE_BYTES, "{written} of {reckoned}");
        drop(transaction.commit().unwrap().reveal());
        shorten(&store, &mut committer, &tenant, 0);
    }
}

/// Inserts an event at a moment, of which it may be said what becomes of it.
fn insert_at(committer: &mut Committer, millis: u64, name: &str, then: impl FnOnce(&mut Transaction<'_>, &Event)) {
    let mut transaction = committer.begin(Timestamp::from_millis(millis)).unwrap();
    let (name, user) = (EventName::parse(name).unwrap(), Username::parse("u").unwrap());
    let data = Payload::from_valid_json("1").unwrap();
    let event = transaction.insert_event(tenant("a"), user, name, data).unwrap();
    then(&mut transaction, &event);
    drop(transaction.commit().unwrap().reveal());
}

#[test]
fn what_is_bound_to_a_stream_is_forgotten_with_its_event() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let bind = |transaction: &mut Transaction<'_>, event: &Event| transaction.bind(event, 7).unwrap();
    for _ in 0..3 {
        for name in ["superseded", "removed", "kept", "elsewhere"] {
            insert_at(&mut committer, 1, name, bind);
        }
    }
    insert_at(&mut committer, 1, "superseded", |_, _| {});
    insert_at(&mut committer, 1, "elsewhere", |transaction, event| transaction.bind(event, 8).unwrap());
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let (name, user) = (EventName::parse("removed").unwrap(), Username::parse("u").unwrap());
    transaction.remove_event(tenant("a"), user, name).unwrap();
    drop(transaction.commit().unwrap().reveal());
    assert_eq!([7, 8].map(|stream| count(&store, &keys::bound_to(stream, None))), [1, 1]);
    let user = Username::parse("u").unwrap();
    assert_eq!(committer.begin(Timestamp::from_millis(1)).unwrap().bound_of(&user), Ok(2));
}

#[test]
fn a_tenant_whose_names_were_never_counted_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    insert(&mut committer, "a", &["x", "y", "z"]);
    // As an older format left it.
    store.overlay.apply([(keys::names(&tenant("a")), overlay::Write::Remove)], transaction::Progress::default());
    committer.counted.clear();
    let mut names = |is_refused: bool| {
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        let names = transaction.names(&tenant("a")).unwrap();
        if !is_refused {
            let (name, user) = (EventName::parse("new").unwrap(), Username::parse("u").unwrap());
            let data = Payload::from_valid_json("1").unwrap();
            transaction.insert_event(tenant("a"), user, name, data).unwrap();
        }
        drop(transaction.commit().unwrap().reveal());
        names
    };
    assert_eq!(names(true), 3);
    // Who looked at all of them again would find this.
    store.smuggle(keys::name(&tenant("a"), "smuggled"), &[0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!([names(true), names(false), names(true)], [3, 3, 4]);
}

#[test]
fn what_was_inserted_by_a_clock_that_was_ahead_does_not_keep_what_came_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let ahead = 400 * 24 * 60 * 60 * 1000;
    for (millis, count) in [(10, 3), (ahead, 20), (20, 30), (1000, 5)] {
        for _ in 0..count {
            insert_at(&mut committer, millis, "x", |_, _| {});
        }
    }
    let [now, before] = [1000, 500].map(Timestamp::from_millis);
    shorten_by(&store, &mut committer, "a", TooMuch { surplus: 0, before, now, at_most: 4 });
    assert_eq!(count(&store, b"e"), 5);
    // What came after it is not old yet, so nobody knows whether it is.
    for (millis, count) in [(ahead, 3), (1000, 1)] {
        for _ in 0..count {
            insert_at(&mut committer, millis, "x", |_, _| {});
        }
    }
    let [now, before] = [2000, 1000].map(Timestamp::from_millis);
    shorten_by(&store, &mut committer, "a", TooMuch { surplus: 0, before, now, at_most: 4 });
    assert_eq!(count(&store, b"e"), 9);
}

/// What a search finds in one step, which is not taken away.
fn found(store: &Store, search: &Search, now: u64) -> Found {
    store.find(search, Timestamp::from_millis(now), 64).unwrap()
}

/// How many rows a search would look at, those that have been removed among them.
fn looks(store: &Store, search: &Search, now: u64) -> usize {
    let (from, until) = search.range(Timestamp::from_millis(now));
    let (from, until) = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Excluded(&until[..]));
    store.overlay.next_rows(from, until, usize::MAX).0.len()
}

#[test]
fn a_search_for_what_has_expired_does_not_look_again_at_what_is_gone() {
    const COUNT: usize = 500;
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    for number in 0..COUNT {
        insert_at(&mut committer, 1, &format!("name{number}"), |transaction, event| {
            transaction.expire(event, Timestamp::from_millis(number as u64)).unwrap();
        });
    }
    // As after a checkpoint: what is removed from now on leaves a mark.
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

    // By a clock that was set back.
    insert_at(&mut committer, 1, "early", |transaction, event| {
        transaction.expire(event, Timestamp::from_millis(300)).unwrap();
    });
    assert!(found(&store, &search, 2000).keys.is_empty());
    search.go_back(store.activity().take_due().expiry);
    assert_eq!(found(&store, &search, 2000).keys.len(), 1);
}

#[test]
fn of_very_many_idempotency_keys_the_newest_are_remembered_and_nothing_is_left_of_the_others() {
    const ROWS: [&[u8]; 3] = [b"i", b"j", b"k"];
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let mut remember = |user: &str, number: u64, at_most: u64| {
        let mut transaction = committer.begin(Timestamp::from_millis(number)).unwrap();
        let (username, tenant) = (Username::parse(user).unwrap(), tenant("a"));
        let (idempotency_key, first) = (format!("k{number}"), Position::new(number));
        let new = NewAnswer {
            username: &username,
            tenant: &tenant,
            idempotency_key: &idempotency_key,
            fingerprint: [7; 32],
            first,
            count: 1,
        };
        transaction.remember_answer(new, at_most).unwrap();
        let known = |number| transaction.answered(&username, &format!("k{number}")).unwrap().is_some();
        let known: Vec<_> = (1..=number).filter(|number| known(*number)).collect();
        drop(transaction.commit().unwrap().reveal());
        known
    };
    let rows = |store: &Store| ROWS.map(|prefix| count(store, prefix));
    for number in 1..=50 {
        let known = remember("u", number, 10);
        assert_eq!(known, (number.saturating_sub(9).max(1)..=number).collect::<Vec<_>>());
    }
    assert_eq!(remember("other", 1, 10), [1], "each user has their own");
    assert_eq!(rows(&store), [11; 3]);
    // Used again: it is the newest.
    remember("u", 45, 10);
    for number in 51..=59 {
        remember("u", number, 10);
    }
    assert_eq!(remember("u", 59, 10).first(), Some(&51));
    // Where fewer are kept than before, what is too many goes too.
    for number in 60..70 {
        remember("u", number, 3);
    }
    assert_eq!(remember("u", 70, 3), [68, 69, 70]);
    assert_eq!(rows(&store), [4; 3]);

    // And after their day nothing is left.
    let late = 2 * 24 * 60 * 60 * 1000;
    let Found { keys, .. } = found(&store, &Search::for_old_answers(), late);
    let mut transaction = committer.begin(Timestamp::from_millis(late)).unwrap();
    transaction.forget_answers(keys).unwrap();
    drop(transaction.commit().unwrap().reveal());
    assert_eq!(rows(&store), [0; 3]);
}

#[test]
fn what_is_remembered_of_tenants_does_not_grow_with_their_number() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    for first in (0..20_000).step_by(1000) {
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        for number in first..first + 1000 {
            let (name, user) = (EventName::parse("x").unwrap(), Username::parse("u").unwrap());
            let data = Payload::from_valid_json("1").unwrap();
            transaction.insert_event(tenant(&format!("t{number}")), user, name, data).unwrap();
        }
        drop(transaction.commit().unwrap().reveal());
    }
    assert!(committer.floors.len() <= 16_384 && committer.counted.len() <= 16_384);
}

#[test]
fn the_end_of_a_stream_goes_in_steps_and_is_known_after_a_restart_until_it_is_done() {
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
fn what_was_noted_as_activity_is_counted_though_nobody_sees_it_yet() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let (user, name) = (Username::parse("u").unwrap(), EventName::parse("x").unwrap());
    for _ in 0..3 {
        transaction.insert_event(tenant("a"), user.clone(), name.clone(), Payload::null()).unwrap();
    }
    let durable = transaction.commit().unwrap();
    let heard = store.activity().take().remove(&tenant("a")).unwrap();
    assert_eq!((heard.len(), store.head().get()), (3, 0));
    assert_eq!(tail_length(&store, "a"), (3, heard[2]));
    drop(durable.reveal());
}

#[test]
fn a_long_tail_is_counted_in_steps_and_anew_where_it_was_shortened_meanwhile() {
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
fn a_step_of_what_goes_is_bounded_in_bytes_too() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
    let long = tenant(&"t".repeat(256));
    for first in (0..3000).step_by(1000) {
        let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
        for number in first..first + 1000 {
            let (name, user) = (EventName::parse(&format!("{number:0256}")).unwrap(), Username::parse("u").unwrap());
            let data = Payload::from_valid_json("1").unwrap();
            let event = transaction.insert_event(long.clone(), user, name, data).unwrap();
            transaction.expire(&event, Timestamp::from_millis(2)).unwrap();
        }
        drop(transaction.commit().unwrap().reveal());
    }
    let found = store.find(&Search::for_expired(), Timestamp::from_millis(9), usize::MAX).unwrap();
    assert!(found.is_more && !found.keys.is_empty() && found.keys.len() < 3000, "{}", found.keys.len());
    let now = Timestamp::from_millis(1);
    let too_much = TooMuch { surplus: usize::MAX, before: now, now, at_most: usize::MAX };
    let oldest = store.oldest(&long, too_much).unwrap();
    assert!(!oldest.is_all && !oldest.is_empty());
}
