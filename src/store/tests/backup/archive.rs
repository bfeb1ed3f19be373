//! Guards the archive: over restarts, kills and databases that were put back, it has each commit of one course.

use super::*;
use crate::store::journal_files::numbers;

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
            states.insert(committer.progress.commits, (store.head(), rows(&store)));
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
