//! Guards opening: ids across restarts and restores, formats, and every commit after a restart.

use super::*;

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

#[test]
fn a_database_is_locked_until_the_last_reader_is_gone_and_its_files_are_not_touched_before() {
    let directory = tempfile::tempdir().unwrap();
    let (store, committer) = open(directory.path()).unwrap();
    let unfinished = directory.path().join("snap.1.generating");
    std::fs::write(&unfinished, "").unwrap();
    drop(committer);
    assert!(matches!(Store::open(directory.path(), 64 << 20), Err(OpenError::InUse(_))));
    assert!(unfinished.exists(), "sled may be writing it");
    drop(store);
    drop(open(directory.path()).unwrap());
    assert!(!unfinished.exists());
}

/// Copies a database that is not open.
fn copy(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn an_id_of_an_event_that_a_restored_copy_lacks_is_never_valid() {
    // The copy is made of an empty database, in between, or after a start without an insert.
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
            // Its own ids stay as they are.
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
    store.tree.insert(keys::setting("format"), &6_u32.to_be_bytes()).unwrap();
    store.tree.flush().unwrap();
    drop((store, committer));
    for _ in 0..2 {
        let refused = open(directory.path()).err().unwrap();
        assert!(matches!(refused, OpenError::TooNew(_, 6)), "{refused}");
        assert!(refused.to_string().contains("format 6"), "{refused}");
    }
}

#[test]
fn an_earlier_format_is_raised_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    insert(&mut committer, "a", &["x"]);
    store.tree.insert(keys::setting("format"), &3_u32.to_be_bytes()).unwrap();
    store.tree.flush().unwrap();
    drop((store, committer));
    // An opening that is killed here leaves one format or the other, and rows that both have.
    let (store, committer) = open(directory.path()).unwrap();
    let format = store.tree.get(keys::setting("format")).unwrap().unwrap();
    assert_eq!(&*format, open_error::FORMAT.to_be_bytes());
    drop((store, committer));
    assert_eq!(numbers(&replay(&open(directory.path()).unwrap().0, "a", "*", 0)), [1]);
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
fn the_files_of_a_killed_opening_do_not_stop_the_next_one() {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whether rows are in the journal, in sled, or half way between: the database is the same, also after it is opened
    /// again.
    #[test]
    fn a_reopened_database_has_every_commit_wherever_its_checkpoints_were(
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
