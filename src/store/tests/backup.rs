//! Guards backups: whatever goes on meanwhile, what is restored is the database as it was after one commit.

mod reach;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::store::backup::{InDirectory, Tar, take, unpack};
use crate::store::journal_files::numbers;

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
        let mut number = committer.commits;
        while !is_done.load(Ordering::Acquire) {
            number += 1;
            commit(committer, number);
            states.insert(committer.commits, (store.head(), rows(store)));
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

#[test]
fn an_archive_restores_each_commit_since_its_first_set_over_restarts_and_sets() {
    let directory = tempfile::tempdir().unwrap();
    let (db, root) = (directory.path().join("db"), directory.path().join("archive"));
    let mut states = BTreeMap::new();
    for round in 0..4 {
        let (store, mut committer) = open_with(&db, 20_000).unwrap();
        let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
        assert_eq!(archive.needs_set(), round == 0);
        let ((), beside) = beside_commits(&store, &mut committer, |server| {
            if archive.needs_set() || round == 2 {
                archive.begin_set(&store, Lineage(7), Timestamp::from_millis(round), server).unwrap();
            }
            (0..5).for_each(|_| catch_up(&mut archive, &store, server));
        });
        states.extend(beside);
        if round == 1 {
            // What comes after the last look at the journal is archived after the restart.
            commit(&mut committer, 1_000_000);
            states.insert(committer.commits, (store.head(), rows(&store)));
        }
    }
    let set = BackupSet::find(&root, Until::Newest).unwrap();
    let (last, first) = (set.last(), *states.keys().next().unwrap());
    assert_eq!(set.manifest.taken_at, 2);
    drop(set);
    let oldest = oldest(&root).manifest;
    let commits: Vec<_> = states.keys().copied().filter(|commit| (oldest.end.commit..=last).contains(commit)).collect();
    assert!(commits.len() > 50 && last > first + 50, "{first} to {last}");
    for number in 0..100 {
        let commit = commits[u64::from_be_bytes(crate::random::bytes()) as usize % commits.len()];
        let position = states[&commit].0;
        // With those that have no event.
        let (commit, (_, rows)) =
            states.range(commit..=last).take_while(|(_, (head, _))| *head == position).last().unwrap();
        let (commit, position) = (*commit, &position);
        let until = Until::Position(*position);
        let set = BackupSet::find(&root, until).unwrap();
        let to = directory.path().join(format!("restored{number}"));
        let (restored, found) = restored_rows(&set, &to, until);
        assert_eq!((restored.commit, restored.position), (commit, *position));
        assert!(found == *rows, "commit {commit}");
        fs::remove_dir_all(to).unwrap();
    }
}

#[test]
fn what_was_closed_after_the_last_look_at_the_journal_is_archived_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (db, root) = (directory.path().join("db"), directory.path().join("archive"));
    for round in 0..2 {
        let (store, mut committer) = open_with(&db, SMALL).unwrap();
        let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
        beside_commits(&store, &mut committer, |server| {
            if round == 0 {
                archive.begin_set(&store, Lineage(7), now(), server).unwrap();
            }
            catch_up(&mut archive, &store, server);
            assert!(!archive.needs_set(), "round {round}");
        });
        // Checkpoints remove these from the journal.
        let looked_at = *numbers(&db).unwrap().last().unwrap();
        (0..300).for_each(|_| commit(&mut committer, 1_000_000));
        assert!(numbers(&db).unwrap()[0] > looked_at);
    }
    assert_eq!(fs::read_dir(&root).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 1);
}

#[test]
fn a_database_that_was_put_back_goes_another_course_however_often_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (db, old, root) = (directory.path().join("db"), directory.path().join("old"), directory.path().join("archive"));
    let lineage = |store: &Store| store.setting(LINEAGE_SETTING).unwrap().as_deref().and_then(Lineage::read);
    let mut courses = Vec::new();
    for round in 0..3 {
        let (store, mut committer) = open_with(&db, LARGE).unwrap();
        let mut archive = Archive::open(&root, &store, lineage(&store)).unwrap();
        assert!(archive.needs_set());
        if round == 0 {
            let mut transaction = committer.begin(now()).unwrap();
            transaction.put_setting(LINEAGE_SETTING, Lineage(7).0.to_be_bytes().to_vec());
            drop(transaction.commit().unwrap().reveal());
        }
        commit(&mut committer, 1);
        let course = lineage(&store).unwrap();
        match round {
            0 => {
                std::process::Command::new("cp")
                    .args(["-a".as_ref(), db.as_os_str(), old.as_os_str()])
                    .status()
                    .unwrap();
                fs::remove_file(old.join("open")).unwrap();
                beside_commits(&store, &mut committer, |server| {
                    archive.begin_set(&store, course, now(), server).unwrap();
                    (0..3).for_each(|_| catch_up(&mut archive, &store, server));
                });
                drop((archive, committer, store));
                fs::remove_dir_all(&db).unwrap();
                fs::rename(&old, &db).unwrap();
            }
            // Killed before the archive begins a set, and with more commits than the archive has.
            1 => (0..1000).for_each(|_| commit(&mut committer, 1_000_000)),
            _ => {}
        }
        courses.push(course);
    }
    assert!(courses[0] == Lineage(7) && courses[1] != courses[0] && courses[2] == courses[1], "{courses:?}");
}

#[test]
fn what_goes_on_after_a_trial_of_a_restored_database_is_what_the_archive_restores() {
    let directory = tempfile::tempdir().unwrap();
    let (db, trial, root) =
        (directory.path().join("db"), directory.path().join("trial"), directory.path().join("archive"));
    let lineage = |store: &Store| store.setting(LINEAGE_SETTING).unwrap().as_deref().and_then(Lineage::read);
    let mut ends = Vec::new();
    for (at, database) in [&db, &trial, &db].into_iter().enumerate() {
        if at == 1 {
            // What lies in the archive besides is no set of it.
            let set = BackupSet::find(&root, Until::Newest).unwrap();
            std::process::Command::new("cp").arg("-a").arg(set.path()).arg(root.join("monday")).status().unwrap();
            restore(&set, &trial, Until::Newest, now()).unwrap();
        }
        let (store, mut committer) = open_with(database, LARGE).unwrap();
        let mut archive = Archive::open(&root, &store, lineage(&store)).unwrap();
        assert!(archive.needs_set(), "{at}");
        commit(&mut committer, 1);
        let course = lineage(&store).unwrap_or(Lineage(7));
        if at == 0 {
            let mut transaction = committer.begin(now()).unwrap();
            transaction.put_setting(LINEAGE_SETTING, course.0.to_be_bytes().to_vec());
            drop(transaction.commit().unwrap().reveal());
        }
        beside_commits(&store, &mut committer, |server| {
            archive.begin_set(&store, course, Timestamp::from_millis(at as u64), server).unwrap();
            (0..3).for_each(|_| catch_up(&mut archive, &store, server));
        });
        let newest = BackupSet::find(&root, Until::Newest).unwrap();
        assert_eq!(newest.manifest.lineage, course.to_string());
        ends.push(newest.manifest.lineage);
    }
    assert!(ends[0] != ends[1] && ends[1] != ends[2] && ends[0] != ends[2], "{ends:?}");
}

/// The set of an archive that was begun first.
fn oldest(root: &Path) -> BackupSet {
    let sets = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    BackupSet::open(&sets.min().unwrap()).unwrap()
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
fn an_archive_that_lacks_commits_begins_a_new_set_and_so_does_one_of_another_course() {
    let directory = tempfile::tempdir().unwrap();
    let (db, root) = (directory.path().join("db"), directory.path().join("archive"));
    {
        let (store, mut committer) = open_with(&db, 20_000).unwrap();
        let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
        beside_commits(&store, &mut committer, |server| {
            archive.begin_set(&store, Lineage(7), now(), server).unwrap();
        });
    }
    {
        // Without the archive, checkpoints remove the journal.
        let (store, mut committer) = open_with(&db, SMALL).unwrap();
        store.keep_nothing().unwrap();
        (0..200).for_each(|number| commit(&mut committer, number));
    }
    let (store, mut committer) = open_with(&db, LARGE).unwrap();
    assert!(Archive::open(&root, &store, Some(Lineage(8))).unwrap().needs_set());
    let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
    beside_commits(&store, &mut committer, |server| {
        assert!(!archive.needs_set());
        archive.catch_up(server).unwrap();
        assert!(archive.needs_set());
    });
    assert!(Archive::open(&root, &store, None).is_err(), "two write to one archive");
}

#[test]
fn old_sets_are_forgotten_once_the_next_one_is_old_enough_unless_they_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(&directory.path().join("db"), LARGE).unwrap();
    let root = directory.path().join("archive");
    let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
    let (ends, _) = beside_commits(&store, &mut committer, |server| {
        [1, 2, 3, 4].map(|second| {
            catch_up(&mut archive, &store, server);
            archive.begin_set(&store, Lineage(7), Timestamp::from_secs(second), server).unwrap().end_at
        })
    });
    let now = Timestamp::from_millis(ends[3] + 1000);
    let sets = || fs::read_dir(&root).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    let forget = |oldest: u64| {
        archive.forget(std::time::Duration::from_millis(now.as_millis() - oldest), now).unwrap();
    };
    // Until the second was whole, the first is what restores.
    forget(ends[1] - 1);
    assert_eq!(sets(), 4);
    let read = oldest(&root);
    forget(ends[2]);
    assert_eq!((sets(), read.manifest.taken_at), (3, 1000), "the second goes, the first is being read");
    drop(read);
    forget(now.as_millis());
    assert_eq!(sets(), 1, "the newest one stays");
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
