//! Guards damaged or missing files: which are refused, and with which error.

use super::*;

/// A database of twenty commits in which a file, the journal or another, was damaged in the middle.
fn damaged(journal_bytes: u64, file: &str) -> (tempfile::TempDir, Vec<EventId>) {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(directory.path(), journal_bytes).unwrap();
    for _ in 0..20 {
        insert(&mut committer, "a", &["x", "y"]);
    }
    let ids = (0..41).map(|number| store.event_id(Position::new(number))).collect();
    drop((store, committer));
    damage(&directory.path().join(file));
    (directory, ids)
}

fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(file, bytes).unwrap();
}

const JOURNAL: &str = "journal.0000000000000001";

#[test]
fn a_database_that_lost_commits_is_refused_each_time_until_the_commit_watermark_is_removed() {
    let (directory, before) = damaged(LARGE, JOURNAL);
    for _ in 0..2 {
        let refused = open(directory.path()).err().unwrap();
        assert!(matches!(refused, OpenError::Lost(_, held, 20) if held < 20), "{refused}");
    }
    std::fs::remove_file(directory.path().join("committed")).unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    assert!(store.head().get() < 40);
    // Positions are given out again, but ids are not.
    let held = store.head();
    insert(&mut committer, "a", &["x"; 50]);
    for id in &before {
        assert_eq!(store.position_of(*id), Some(id.position).filter(|position| *position <= held));
    }
}

/// It is refused each time, without advice how to go on.
fn assert_is_half_made(directory: &Path) {
    for has_watermark in [true, true, false] {
        if !has_watermark {
            std::fs::remove_file(directory.join("committed")).unwrap();
        }
        let refused = open(directory).err().unwrap();
        assert!(matches!(refused, OpenError::HalfMade(_, held, 20 | 19) if held < 20), "{refused}");
        assert!(refused.to_string().contains("damaged") && !refused.to_string().contains("remove"), "{refused}");
    }
}

#[test]
fn a_database_in_which_a_checkpoint_is_cut_off_by_damage_is_refused_for_good() {
    assert_is_half_made(damaged(SMALL, "db").0.path());
}

#[test]
fn a_database_damaged_during_a_checkpoint_is_refused_for_good_and_is_whole_without_the_damage() {
    for is_damaged in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(directory.path(), LARGE).unwrap();
        for _ in 0..20 {
            insert(&mut committer, "a", &["x", "y"]);
        }
        // A checkpoint that was cut off after a few rows.
        watermarks::CheckpointWatermark::open(Arc::new(disk::Directory::open(directory.path()).unwrap()))
            .unwrap()
            .begin(20)
            .unwrap();
        let key = keys::name(&tenant("a"), "y");
        store.tree.insert(&key, &*store.get(&key).unwrap().unwrap()).unwrap();
        drop((store, committer));
        if is_damaged {
            damage(&directory.path().join(JOURNAL));
            assert_is_half_made(directory.path());
        } else {
            let (store, _committer) = open(directory.path()).unwrap();
            assert_eq!(numbers(&replay(&store, "a", "*", 0)), [39, 40]);
        }
    }
}

#[test]
fn a_database_without_its_data_is_not_opened_as_a_new_one() {
    for gone in [&["db"][..], &["journal.0000000000000001"], &["db", "journal.0000000000000001"]] {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open(directory.path()).unwrap();
        for _ in 0..50 {
            insert(&mut committer, "a", &["x"]);
        }
        drop((store, committer));
        for file in gone {
            // A checkpoint may have removed it already.
            let _ = std::fs::write(directory.path().join(file), b"");
        }
        match open(directory.path()) {
            Err(OpenError::Lost(_, held, 50)) => assert!(held < 50),
            // Closing may have cut off a checkpoint.
            Err(OpenError::HalfMade(_, held, begun)) => assert!(held < begun && begun <= 50),
            Err(OpenError::Damaged(..)) => assert!(gone.contains(&"db")),
            Err(other) => panic!("{gone:?}: {other}"),
            Ok((store, _)) => assert!(gone == ["journal.0000000000000001"] && store.head().get() == 50, "{gone:?}"),
        }
    }
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
