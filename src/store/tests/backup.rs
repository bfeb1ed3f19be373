//! Guards backups: whatever goes on meanwhile, what is restored is the database as it was after one commit.

mod archive;
mod reach;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::store::backup::{InDirectory, Tar, take, unpack};

/// All rows but those that a restore changes: by key.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn rows(store: &Store) -> Rows {
    let mut rows = Rows::new();
    let mut each = |key: &[u8], value: &[u8]| {
        rows.insert(key.to_vec(), value.to_vec());
        Ok(true)
    };
    store.scan(b"", &[0xff], &mut each).unwrap();
    rows.retain(|key, _| !key.starts_with(b"s"));
    rows
}

/// A server whose writer is the test itself: it is woken by a message.
struct Woken(Mutex<mpsc::Sender<()>>);

impl Serving for Woken {
    fn wake(&self) -> Result<(), Error> {
        let _ = self.0.lock().unwrap().send(());
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// One random commit: inserts, changed values, removals, and large data in chunks. Each third has no event.
fn commit(committer: &mut Committer, number: u64) {
    let mut transaction = committer.begin(Timestamp::from_millis(number * 1000)).unwrap();
    let random = u64::from_be_bytes(crate::random::bytes());
    if number.is_multiple_of(3) {
        transaction.put(b"z".to_vec(), number.to_be_bytes().to_vec());
        return drop(transaction.commit().unwrap().reveal());
    }
    for part in 0..random % 4 + 1 {
        let name = EventName::parse(&format!("name{}", (random >> (8 * part)) % 64)).unwrap();
        let user = Username::parse("u").unwrap();
        let size = if (random >> 40).is_multiple_of(23) { 150_000 } else { (random >> 32) as usize % 300 };
        let data = Payload::from_valid_json(&format!("\"{}\"", "x".repeat(size))).unwrap();
        transaction.insert_event(Draft::value(tenant(&format!("t{}", part % 3)), user, name, data)).unwrap();
        transaction.keep().unwrap();
    }
    drop(transaction.commit().unwrap().reveal());
}

/// Says at its end that something is done.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `work` while the writer commits all the time, and returns what the rows were after each commit, by its number.
fn beside_commits<T: Send>(
    store: &Store,
    committer: &mut Committer,
    work: impl FnOnce(&Woken) -> T + Send,
) -> (T, BTreeMap<u64, (Position, Rows)>) {
    let (wake, _woken) = mpsc::channel();
    let woken = Woken(Mutex::new(wake));
    let is_done = AtomicBool::new(false);
    let mut states = BTreeMap::new();
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            // Also if it panics, or the commits would go on for ever.
            let _ends = Ends(&is_done);
            work(&woken)
        });
        let mut number = committer.progress.commits;
        while !is_done.load(Ordering::Acquire) {
            number += 1;
            commit(committer, number);
            states.insert(committer.progress.commits, (store.head(), rows(store)));
        }
        (work.join().unwrap(), states)
    })
}

/// Brings an archive up to date, once there is something new for it.
fn catch_up(archive: &mut Archive, store: &Store, server: &Woken) {
    let head = store.head().get();
    while store.head().get() < head + 15 {
        thread::yield_now();
    }
    archive.catch_up(server).unwrap();
}

fn now() -> Timestamp {
    Timestamp::from_secs(2_000_000_000)
}

fn restored_rows(set: &BackupSet, directory: &Path, until: Until) -> (Restored, Rows) {
    let restored = restore(set, directory, until, now()).unwrap();
    let (store, _committer) = open_with(directory, LARGE).unwrap();
    assert_eq!(store.head(), restored.position);
    (restored, rows(&store))
}

#[test]
fn a_backup_taken_beside_commits_restores_the_database_as_it_was_after_its_last_one() {
    for journal_bytes in [SMALL, 300_000, LARGE] {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = open_with(&directory.path().join("db"), journal_bytes).unwrap();
        (1..400).for_each(|number| commit(&mut committer, number));
        let to = directory.path().join("backup");
        let (manifest, states) = beside_commits(&store, &mut committer, |server| {
            take(&store, Lineage(7), now(), &mut InDirectory::create(&to).unwrap(), server).unwrap()
        });
        assert!(manifest.end.commit > 400 && manifest.base.commit >= 399, "{manifest:?}");
        let set = BackupSet::find(&to, Until::Newest).unwrap();
        let (restored, found) = restored_rows(&set, &directory.path().join("restored"), Until::Newest);
        assert_eq!((restored.commit, restored.position.get()), (manifest.end.commit, manifest.end.position));
        let (head, rows) = &states[&manifest.end.commit];
        assert_eq!(restored.position, *head);
        assert!(found == *rows, "journal of {journal_bytes}: {} rows instead of {}", found.len(), rows.len());
        // Nothing is kept any more.
        assert_eq!(fs::read_dir(directory.path().join("db/kept")).unwrap().count(), 0);
    }
}

/// A finished backup of some commits, and files of the journal after it.
fn archived() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(&directory.path().join("db"), 20_000).unwrap();
    let root = directory.path().join("archive");
    let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
    beside_commits(&store, &mut committer, |server| {
        archive.begin_set(&store, Lineage(7), now(), server).unwrap();
        (0..3).for_each(|_| catch_up(&mut archive, &store, server));
    });
    let set = BackupSet::find(&root, Until::Newest).unwrap().path().to_owned();
    (directory, set)
}

#[test]
fn a_changed_byte_a_missing_file_and_a_cut_end_are_found_in_every_file_of_a_set() {
    let (directory, set) = archived();
    let names: Vec<_> = fs::read_dir(&set).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(names.len() >= 5, "{names:?}");
    let to = directory.path().join("restored");
    let check = || BackupSet::find(&set, Until::Newest).and_then(|set| restore(&set, &to, Until::Newest, now()));
    let last = BackupSet::open(&set).unwrap().files().1.pop().unwrap();
    for path in names.iter().filter(|path| !path.ends_with("lock")) {
        let whole = fs::read(path).unwrap();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 0x10;
        for (damage, bytes) in [("changed", &changed[..]), ("cut", &whole[..whole.len() - 1]), ("emptied", &[])] {
            // A manifest may change in a field that says nothing of the data.
            if path.ends_with("manifest.json") && damage == "changed" {
                continue;
            }
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
            let found = check();
            assert!(found.is_err(), "{} {damage}: {found:?}", path.display());
            assert!(!to.exists());
        }
        fs::remove_file(path).unwrap();
        // The journal may end anywhere after the backup.
        assert_eq!(check().is_err(), *path != last, "{} missing", path.display());
        let _ = fs::remove_dir_all(&to);
        fs::write(path, whole).unwrap();
    }
    check().unwrap();
}

#[test]
fn a_stream_that_is_cut_off_anywhere_is_no_backup() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(&directory.path().join("db"), LARGE).unwrap();
    commit(&mut committer, 1);
    let mut stream = Vec::new();
    beside_commits(&store, &mut committer, |server| {
        take(&store, Lineage(7), now(), &mut Tar::new(&mut stream, 1), server).unwrap();
    });
    let to = directory.path().join("backup");
    for length in (0..stream.len() - 2048).step_by(stream.len() / 50) {
        assert!(unpack(&mut &stream[..length], &to).is_err(), "{length} of {}", stream.len());
        assert!(!to.exists() && !directory.path().join("backup.unfinished").exists());
    }
    unpack(&mut &stream[..], &to).unwrap();
    assert!(matches!(unpack(&mut &stream[..], &to), Err(BackupProblem::Exists(_))));
    let set = BackupSet::open(&to).unwrap();
    verify(&set, directory.path(), Until::Newest, now()).unwrap();
    // What is not plainly a file of a backup is refused.
    for name in ["../escaped", "sub/file", "/absolute", ".hidden"] {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(1);
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        let stream = builder.into_inner().unwrap();
        assert!(unpack(&mut &stream[..], &directory.path().join("hostile")).is_err(), "{name}");
    }
    assert!(!directory.path().join("escaped").exists());
}

#[test]
fn rows_that_do_not_change_are_seen_once_by_a_scan_of_sled_whatever_changes_beside_them() {
    let directory = tempfile::tempdir().unwrap();
    let tree = sled::Config::new().path(directory.path()).cache_capacity(1 << 20).open().unwrap();
    let key = |number: u32| number.to_be_bytes();
    for number in 0..20_000 {
        tree.insert(key(number), vec![b'x'; 200]).unwrap();
    }
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Every third row changes, goes and comes, so that pages are split and joined.
            while !is_done.load(Ordering::Acquire) {
                let random = u32::from_be_bytes(crate::random::bytes());
                let mut batch = sled::Batch::default();
                for number in (random % 6000 * 3..20_000).step_by(3).take(600) {
                    match (random >> 16) % 3 {
                        0 => batch.remove(&key(number)),
                        1 => batch.insert(&key(number), vec![b'y'; 2000]),
                        _ => batch.insert(&key(number), vec![b'z'; 20]),
                    }
                }
                tree.apply_batch(batch).unwrap();
            }
        });
        for _ in 0..30 {
            let (mut from, mut next) = (Vec::new(), 0);
            loop {
                let page: Vec<_> = tree.range(from.as_slice()..).take(500).map(|row| row.unwrap().0).collect();
                let Some(last) = page.last() else { break };
                from = keys::after(last);
                for found in page {
                    let number = u32::from_be_bytes(found[..].try_into().unwrap());
                    if number % 3 != 0 {
                        next += u32::from(next % 3 == 0);
                        assert_eq!(number, next);
                        next += 1;
                    }
                }
            }
            assert!(next >= 19_999, "{next}");
        }
        is_done.store(true, Ordering::Release);
    });
}

#[test]
fn a_copy_that_was_made_while_the_database_was_open_is_refused_and_one_made_after_it_was_closed_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (db, copy) = (directory.path().join("db"), directory.path().join("copy"));
    let copied = || {
        let _ = fs::remove_dir_all(&copy);
        std::process::Command::new("cp").arg("-a").args([&db, &copy]).status().unwrap();
        open_with(&copy, LARGE)
    };
    let (store, mut committer) = open_with(&db, LARGE).unwrap();
    commit(&mut committer, 1);
    let refused = copied().err().unwrap();
    assert!(matches!(refused, OpenError::Copied(_)), "{refused}");
    // The message says how to go on if it is a copy of a crashed one.
    fs::remove_file(copy.join("open")).unwrap();
    drop(open_with(&copy, LARGE).unwrap());
    drop((store, committer));
    drop(open_with(&db, LARGE).unwrap());
    drop(copied().unwrap());
}
