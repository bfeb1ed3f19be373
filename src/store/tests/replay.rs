//! Guards replays: the changes from one position to another.

use super::*;

#[test]
fn a_new_subscriber_gets_a_snapshot_and_a_resuming_one_every_missed_event() {
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

#[test]
fn a_step_is_as_many_events_as_its_bytes_allow_by_what_is_stored_and_by_what_is_made_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &["x", "y", "z"].repeat(4));
    let next = |replay: &mut Replay, bytes: usize, made: usize| {
        let mut given = 0;
        let each = |_: StoredEvent<'_>| {
            given += 1;
            made
        };
        replay.next(&store, bytes, each).unwrap();
        given
    };
    // By the events themselves, and by the names if only the latest of few are wanted.
    let tail = || Replay::events(tenant("a"), wanted("*"), Position::new(1), store.head());
    let few = || Replay::snapshot(tenant("a"), wanted("x,y,z"), Position::START, store.head());
    for (made, [of_tail, of_few]) in [(0, [11, 3]), (500, [2, 2]), (2000, [1, 1])] {
        assert_eq!([next(&mut tail(), 1000, made), next(&mut few(), 1000, made)], [of_tail, of_few], "{made}");
    }
    assert_eq!([next(&mut tail(), 1, 0), next(&mut few(), 1, 0)], [1, 1]);
}

const KEPT: usize = 1000;

#[test]
fn beyond_retention_the_changed_names_are_given_and_the_tail_stays_exact() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    // One name never changes again, one changed early, and another is flooded.
    insert(&mut committer, "a", &["old", "once"]);
    let flood = vec!["flood"; 500];
    for _ in 0..8 {
        insert(&mut committer, "a", &flood);
    }
    insert(&mut committer, "a", &["once"]);
    shorten(&store, &mut committer, "a", KEPT);
    let head = store.head().get();
    assert_eq!(replay(&store, "a", "*", 0), [(1, "old".into()), (head - 1, "flood".into()), (head, "once".into())]);
    // From before the floor: the names that changed since, not the rest of the flood.
    assert_eq!(numbers(&replay(&store, "a", "*", 1)), [head - 1, head]);
    // Within the tail: everything.
    let kept = head - KEPT as u64;
    assert_eq!(numbers(&replay(&store, "a", "*", kept)), (kept + 1..=head).collect::<Vec<_>>());
    // Superseded events beyond the tail are removed from the disk.
    let rows = count(&store, b"e");
    assert_eq!(rows, KEPT + 1);

    // The same after a restart, when the tail is counted again.
    drop((store, committer));
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &flood);
    shorten(&store, &mut committer, "a", 10);
    assert_eq!(replay(&store, "a", "old,once", 0), [(1, "old".into()), (head, "once".into())]);
    assert_eq!(count(&store, b"e"), 12);
}

#[test]
fn an_event_that_is_not_yet_on_disk_is_shown_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &["x", "z"]);
    // As between the application of a batch and its sync.
    let late = keys::event(&tenant("a"), Position::new(3));
    let value = store.get(&keys::event(&tenant("a"), Position::new(1))).unwrap().unwrap();
    store.tree.insert(late, &*value).unwrap();
    store.tree.insert(keys::name(&tenant("a"), "y"), &3_u64.to_be_bytes()).unwrap();
    assert_eq!(numbers(&replay(&store, "a", "*", 0)), [1, 2]);
    assert_eq!(numbers(&replay(&store, "a", "*", 1)), [2]);
    assert!(replay(&store, "a", "*", 2).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// For any inserts in any batches: the replay from each position is the same as that of a list in memory.
    #[test]
    fn a_replay_equals_a_list_in_memory(
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
    // The floor is beyond the end.
    store.smuggle(keys::floor(&tenant("a")), &[0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(tail_length(&store, "a").0, 0);
}
