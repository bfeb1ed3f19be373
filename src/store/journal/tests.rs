//! Guards the journal: what was committed is found again wherever its files end, and room is set aside for it.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::*;
use crate::domain::{Position, Timestamp};
use crate::store::overlay::Write;
use crate::store::record;
use crate::store::sizes::HEAD_BYTES;
use crate::store::tidings::Tidings;

type Rows = Vec<(String, Option<String>)>;

fn progress(commits: u64) -> Progress {
    Progress { head: Position::new(commits * 10), commits }
}

fn commit(journal: &mut Journal, number: u64) {
    journal.reserve().unwrap();
    let writes = [
        (format!("key{number}").into_bytes(), Write::Put(format!("value{number}").as_bytes().into())),
        (b"gone".to_vec(), Write::Remove),
    ];
    journal.append(&record(number, writes.into())).unwrap();
}

fn record(number: u64, writes: HashMap<Vec<u8>, Write>) -> Record {
    let (made_at, tidings) = (Timestamp::from_secs(number), Tidings::default());
    Record { progress: progress(number), made_at, writes, tidings, events: Vec::new() }
}

fn recovered(directory: &Path, checkpoint: u64) -> (Recovered, Rows) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut rows = Vec::new();
    let each = |key: &[u8], value: Option<&[u8]>| rows.push((text(key), value.map(text)));
    (recover(directory, progress(checkpoint), each).unwrap(), rows)
}

fn opened(directory: &Path, recovered: &Recovered) -> Journal {
    Journal::open(Arc::new(Directory::open(directory).unwrap()), recovered, Keeping::of(directory)).unwrap()
}

/// Leaves no room for a file of the journal: it can be opened, but not written to.
fn without_room(journal: &Journal, ahead: u64) -> PathBuf {
    let path = path_of(journal.directory.path(), journal.number + ahead);
    let _ = fs::remove_file(&path);
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    path
}

/// A journal of five commits in two files.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = opened(directory.path(), &recovered(directory.path(), 0).0);
    (1..=3).for_each(|number| commit(&mut journal, number));
    assert_eq!(journal.rotate(), Ok(vec![1]));
    (4..=5).for_each(|number| commit(&mut journal, number));
    directory
}

#[test]
fn every_commit_after_the_checkpoint_is_found_again_in_order() {
    let directory = filled();
    for checkpoint in 0..=5 {
        let (found, mut rows) = recovered(directory.path(), checkpoint);
        assert_eq!((found.progress.commits, found.progress.head.get()), (5, 50));
        // The rows of one commit are in no order.
        rows.as_chunks_mut::<2>().0.iter_mut().for_each(|of_commit| of_commit.sort_by_key(|(key, _)| key == "gone"));
        let expected: Rows = (checkpoint + 1..=5)
            .flat_map(|number| [(format!("key{number}"), Some(format!("value{number}"))), ("gone".to_owned(), None)])
            .collect();
        assert_eq!(rows, expected);
    }
    let (found, _) = recovered(directory.path(), 0);
    let mut journal = opened(directory.path(), &found);
    commit(&mut journal, 6);
    assert_eq!(recovered(directory.path(), 0).0.progress.commits, 6);
    remove(directory.path(), &[1]).unwrap();
    assert_eq!(recovered(directory.path(), 3).0.progress.commits, 6);
    // Without the checkpoint, the rest does not continue anything.
    assert_eq!(recovered(directory.path(), 0).0.progress.commits, 0);
}

#[test]
fn a_journal_that_is_cut_off_anywhere_is_read_up_to_there_and_continues_from_there() {
    let whole = filled();
    let second = std::fs::read(path_of(whole.path(), 2)).unwrap();
    for length in 0..second.len() {
        let directory = filled();
        std::fs::write(path_of(directory.path(), 2), &second[..length]).unwrap();
        let (found, rows) = recovered(directory.path(), 0);
        let commits = found.progress.commits;
        assert!((3..5).contains(&commits), "{commits} commits in {length} bytes");
        assert_eq!(rows.len() as u64, commits * 2);
        let mut journal = opened(directory.path(), &found);
        commit(&mut journal, commits + 1);
        assert_eq!(recovered(directory.path(), 0).0.progress.commits, commits + 1);
    }
}

#[test]
fn a_record_for_which_no_room_was_set_aside_is_not_begun() {
    let directory = filled();
    let mut journal = opened(directory.path(), &recovered(directory.path(), 0).0);
    journal.reserve().unwrap();
    let current = path_of(directory.path(), journal.number);
    let before = std::fs::read(&current).unwrap();
    let large = Write::Put(vec![7; ROOM_BYTES as usize].into());
    assert!(matches!(journal.append(&record(6, HashMap::from([(b"key".to_vec(), large)]))), Err(Fault::Storage(_))));
    assert_eq!(std::fs::read(current).unwrap(), before);
}

#[test]
fn a_new_file_for_which_there_is_no_room_leaves_nothing_behind_and_the_old_one_goes_on() {
    let directory = filled();
    let mut journal = opened(directory.path(), &recovered(directory.path(), 0).0);
    commit(&mut journal, 6);
    // The file after the one that was created ahead; if that could not be created, the one ahead itself.
    for (commits, ahead) in [(7, 2), (8, 1)] {
        if ahead == 1 {
            journal.next = None;
        }
        let path = without_room(&journal, ahead);
        assert_eq!(journal.rotate(), Err(Error::StorageFull));
        assert!(path.symlink_metadata().is_err(), "the file is still there");
        commit(&mut journal, commits);
        assert_eq!(recovered(directory.path(), 0).0.progress.commits, commits);
    }
    assert_eq!(journal.rotate(), Ok(vec![1, 2, 3]));
}

#[test]
fn room_reserved_for_a_file_is_given_back_before_the_next_file_begins() {
    let directory = filled();
    let mut journal = opened(directory.path(), &recovered(directory.path(), 0).0);
    commit(&mut journal, 6);
    for has_room in [false, true] {
        if !has_room {
            without_room(&journal, 2);
        }
        journal.reserve().unwrap();
        let old = path_of(directory.path(), journal.number);
        assert_eq!(journal.rotate().is_ok(), has_room);
        let old = fs::metadata(old).unwrap();
        assert!(old.blocks() * 512 < MAX_RECORD_BYTES as u64, "{} bytes are taken", old.blocks() * 512);
    }
}

#[test]
fn a_file_created_ahead_hides_neither_the_last_record_nor_later_ones() {
    let directory = filled();
    // After a kill the third file exists, and the last record is in the second. That record is written and synced
    // again.
    let (found, _) = recovered(directory.path(), 0);
    let (last, _, range) = found.last.clone().unwrap();
    assert_eq!(
        (last, &found.older[..], found.empty, &found.beyond[..]),
        (2, &[1][..], Some((3, Form::Current)), &[][..])
    );
    assert!(range.start > MAGIC.len() as u64);
    let mut journal = opened(directory.path(), &found);
    assert_eq!(journal.rotate(), Ok(vec![1, 2, 3]));
    // A file that was begun and not written to, with others ahead.
    let (found, _) = recovered(directory.path(), 0);
    assert_eq!(
        (found.last.as_ref().unwrap().0, found.empty, &found.beyond[..]),
        (2, Some((3, Form::Current)), &[4, 5][..])
    );
    let mut journal = opened(directory.path(), &found);
    commit(&mut journal, 6);
    assert_eq!(recovered(directory.path(), 0).0.progress.commits, 6);
    assert_eq!(journal.rotate(), Ok(vec![1, 2, 3]));
    commit(&mut journal, 7);
    assert_eq!(recovered(directory.path(), 0).0.progress.commits, 7);

    // A record that was cut off does not hinder later ones.
    let half = fs::metadata(path_of(directory.path(), 4)).unwrap().len() + 10;
    File::options().write(true).open(path_of(directory.path(), 4)).unwrap().set_len(half).unwrap();
    let mut journal = opened(directory.path(), &recovered(directory.path(), 0).0);
    commit(&mut journal, 8);
    assert_eq!(recovered(directory.path(), 0).0.progress.commits, 8);
}

#[test]
fn the_length_of_the_journal_is_counted_across_restarts() {
    let directory = filled();
    for commits in 6..20 {
        let mut journal = opened(directory.path(), &recovered(directory.path(), 0).0);
        commit(&mut journal, commits);
        let lengths = numbers(directory.path()).unwrap().into_iter();
        let lengths = lengths.map(|number| fs::metadata(path_of(directory.path(), number)).unwrap().len());
        // The file that was created ahead is not begun.
        assert_eq!(journal.bytes(), lengths.sum::<u64>() - MAGIC.len() as u64);
    }
    let mut journal = opened(directory.path(), &recovered(directory.path(), 0).0);
    assert!(journal.bytes() > 19 * HEAD_BYTES as u64);
    journal.rotate().unwrap();
    assert_eq!(journal.bytes(), MAGIC.len() as u64);
}

#[test]
fn room_that_was_given_back_is_reserved_again() {
    let directory = filled();
    let mut journal = opened(directory.path(), &recovered(directory.path(), 0).0);
    commit(&mut journal, 6);
    journal.give_back().unwrap();
    assert!(!journal.has_room());
    let taken = fs::metadata(path_of(directory.path(), journal.number)).unwrap().blocks() * 512;
    assert!(taken < MAX_RECORD_BYTES as u64, "{taken} bytes are taken");
    commit(&mut journal, 7);
    assert_eq!(recovered(directory.path(), 0).0.progress.commits, 7);
}

#[test]
fn a_journal_without_a_record_goes_on_in_its_first_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = opened(directory.path(), &recovered(directory.path(), 0).0);
    assert_eq!(journal.rotate(), Ok(vec![1]));
    let (found, _) = recovered(directory.path(), 0);
    assert_eq!((found.last.clone(), found.empty, &found.beyond[..]), (None, Some((1, Form::Current)), &[2, 3][..]));
    let mut journal = opened(directory.path(), &found);
    commit(&mut journal, 1);
    assert_eq!(recovered(directory.path(), 0).0.progress.commits, 1);
}

#[test]
fn a_changed_bit_anywhere_ends_the_journal_before_it() {
    let whole = filled();
    for file in [1, 2] {
        let bytes = std::fs::read(path_of(whole.path(), file)).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(path_of(whole.path(), file), &changed).unwrap();
            let (found, rows) = recovered(whole.path(), 0);
            assert!(found.progress.commits < 5, "bit {at} of file {file}");
            assert_eq!(rows.len() as u64, found.progress.commits * 2);
        }
        std::fs::write(path_of(whole.path(), file), &bytes).unwrap();
    }
    assert_eq!(recovered(whole.path(), 0).0.progress.commits, 5);
}

#[test]
fn a_journal_of_an_earlier_broker_is_read_and_goes_on_in_a_file_of_the_present_form() {
    let directory = tempfile::tempdir().unwrap();
    let former = |number: u64, commits: &[u64]| {
        let mut bytes = b"brokerj1".to_vec();
        for commit in commits {
            let mut record = Vec::new();
            record::begin_record(&mut record);
            record::add_row(&mut record, format!("key{commit}").as_bytes(), Some(b"value"));
            record::end_record(&mut record, progress(*commit));
            bytes.extend(record);
        }
        fs::write(path_of(directory.path(), number), bytes).unwrap();
    };
    former(1, &[1, 2]);
    former(2, &[3]);
    // The one that was created ahead.
    former(3, &[]);
    let (found, rows) = recovered(directory.path(), 0);
    assert_eq!((found.progress.commits, rows.len()), (3, 3));
    let mut journal = opened(directory.path(), &found);
    commit(&mut journal, 4);
    drop(journal);
    for (number, magic) in [(1, b"brokerj1"), (2, b"brokerj1"), (3, b"brokerj1"), (4, MAGIC)] {
        assert!(fs::read(path_of(directory.path(), number)).unwrap().starts_with(magic), "{number}");
    }
    let (found, rows) = recovered(directory.path(), 0);
    assert_eq!((found.progress.commits, rows.len()), (4, 5));
    let mut journal = opened(directory.path(), &found);
    commit(&mut journal, 5);
    assert_eq!(recovered(directory.path(), 0).0.progress.commits, 5);
    assert_eq!(journal.rotate(), Ok(vec![1, 2, 3, 4, 5]));
}

#[test]
fn a_file_of_a_form_that_is_not_known_is_no_torn_one() {
    let directory = filled();
    let path = path_of(directory.path(), 2);
    let before = fs::read(&path).unwrap();
    fs::write(&path, [b"brokerj9", &before[8..]].concat()).unwrap();
    let refused = recover(directory.path(), progress(0), |_, _| {});
    assert!(refused.err().is_some_and(|why| why.to_string().contains("newer Broker")));
    // One that was cut off while it was made counts for nothing.
    fs::write(&path, b"broker").unwrap();
    assert_eq!(recovered(directory.path(), 0).0.progress.commits, 3);
}
