//! Guards up to where a set is restored: a moment, an event of one course of commits or of another.

use super::*;
use crate::domain::{Epoch, EventId};

#[test]
fn a_set_is_restored_up_to_a_moment_and_not_to_one_before_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(&directory.path().join("db"), LARGE).unwrap();
    let root = directory.path().join("archive");
    let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
    // Commit n is made at n seconds.
    let ((), states) = beside_commits(&store, &mut committer, |server| {
        archive.begin_set(&store, Lineage(7), Timestamp::from_millis(0), server).unwrap();
        (0..3).for_each(|_| catch_up(&mut archive, &store, server));
    });
    let set = BackupSet::find(&root, Until::Newest).unwrap();
    let whole = set.manifest.end.commit;
    // Some of these have no event.
    for commit in whole + 1..whole + 5 {
        let until = Until::Time(Timestamp::from_millis(commit * 1000 + 999));
        let (restored, found) = restored_rows(&set, &directory.path().join(format!("restored{commit}")), until);
        assert_eq!((restored.commit, restored.made_at), (commit, Some(Timestamp::from_secs(commit))));
        assert!(found == states[&commit].1 && !restored.is_end);
    }
    let before = Timestamp::from_millis(set.manifest.end_at.saturating_sub(1));
    for until in [Until::Position(Position::new(set.manifest.end.position - 1)), Until::Time(before)] {
        let refused = restore(&set, &directory.path().join("other"), until, now()).unwrap_err().to_string();
        assert!(refused.contains(&format!("from position {:016}", set.manifest.end.position)), "{refused}");
        assert!(!directory.path().join("other").exists() && !directory.path().join("other.restoring").exists());
        assert!(matches!(BackupSet::find(&root, until), Err(BackupProblem::OutOfReach(_))));
    }
}

#[test]
fn a_moment_in_which_a_set_was_made_is_restored_from_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(&directory.path().join("db"), LARGE).unwrap();
    let root = directory.path().join("archive");
    let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
    let (second, states) = beside_commits(&store, &mut committer, |server| {
        let began = Timestamp::from_millis(0);
        archive.begin_set(&store, Lineage(7), began, server).unwrap();
        catch_up(&mut archive, &store, server);
        let second = archive.begin_set(&store, Lineage(7), began, server).unwrap();
        catch_up(&mut archive, &store, server);
        second
    });
    assert_eq!(second.end_at, second.end.commit * 1000);
    // Both have the commits of these moments: the one to its end, the other as its first.
    for (moment, is_second) in [(second.end_at - 1, false), (second.end_at, true)] {
        let (until, commit) = (Until::Time(Timestamp::from_millis(moment)), moment / 1000);
        let set = BackupSet::find(&root, until).unwrap();
        assert_eq!(set.manifest == second, is_second);
        let (restored, found) = restored_rows(&set, &directory.path().join(format!("restored{commit}")), until);
        assert!(restored.commit == commit && found == states[&commit].1);
    }
}

#[test]
fn of_sets_with_one_end_the_one_that_went_on_is_the_newest_and_a_moment_in_a_gap_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open_with(&directory.path().join("db"), LARGE).unwrap();
    let root = directory.path().join("archive");
    let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
    let (_, states) = beside_commits(&store, &mut committer, |server| {
        archive.begin_set(&store, Lineage(7), Timestamp::from_millis(5), server).unwrap();
        assert!(archive.is_all_in_its_base().unwrap());
        (0..3).for_each(|_| catch_up(&mut archive, &store, server));
        assert!(!archive.is_all_in_its_base().unwrap());
    });
    let grown = BackupSet::find(&root, Until::Newest).unwrap();
    // As two that were made while nothing was committed: whatever their names, and whatever the directory tells first.
    for name in ["0000000000000001-00000000", "9999999999999999-00000000"] {
        let twin = root.join(name);
        std::fs::create_dir(&twin).unwrap();
        for file in std::fs::read_dir(grown.path()).unwrap().map(|file| file.unwrap()) {
            let name = file.file_name().into_string().unwrap();
            if grown.manifest.files.iter().any(|listed| listed.name == name) || !name.starts_with("journal.") {
                std::fs::copy(file.path(), twin.join(name)).unwrap();
            }
        }
        assert_eq!(BackupSet::find(&root, Until::Newest).unwrap().last(), grown.last());
        std::fs::remove_dir_all(twin).unwrap();
    }
    let (last, end) = (grown.last(), grown.manifest.end.commit);
    drop((grown, archive));
    // A set that begins after commits that nobody has.
    (0..20).for_each(|_| commit(&mut committer, 1_000_000));
    let mut archive = Archive::open(&root, &store, Some(Lineage(7))).unwrap();
    beside_commits(&store, &mut committer, |server| {
        drop(store.keeping.hold_on());
        archive.begin_set(&store, Lineage(7), Timestamp::from_millis(6), server).unwrap();
    });
    let at = |millis| {
        let until = Until::Time(Timestamp::from_millis(millis));
        let to = directory.path().join(format!("restored{millis}"));
        BackupSet::find(&root, until).and_then(|set| restore(&set, &to, until, now())).map(|restored| restored.commit)
    };
    assert!(states.contains_key(&(end + 1)) && end + 1 < last);
    assert_eq!(at((end + 1) * 1000).unwrap(), end + 1);
    let refused = at(last * 1000).unwrap_err().to_string();
    assert!(refused.contains(&format!("the archive lacks the commits {} to ", last + 1)), "{refused}");
}

#[test]
fn an_id_tells_the_course_of_commits_that_a_restore_has_left_from_the_one_that_followed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("archive");
    let mut ids = Vec::new();
    let mut db = directory.path().join("first");
    for lineage in [7, 8] {
        let (store, mut committer) = open_with(&db, LARGE).unwrap();
        let mut archive = Archive::open(&root, &store, Some(Lineage(lineage))).unwrap();
        beside_commits(&store, &mut committer, |server| {
            let taken_at = Timestamp::from_millis(lineage);
            archive.begin_set(&store, Lineage(lineage), taken_at, server).unwrap();
            (0..3).for_each(|_| catch_up(&mut archive, &store, server));
        });
        let newest = BackupSet::find(&root, Until::Newest).unwrap();
        assert_eq!(newest.manifest.lineage, Lineage(lineage).to_string());
        let set = newest;
        // An event that is in the journal only, whose position the other one has, too, once it has gone on for so long.
        let position = Position::new(set.manifest.end.position + 1);
        ids.push(store.event_id(position));
        db = directory.path().join("second");
        if lineage == 7 {
            restore(&set, &db, Until::Position(Position::new(set.manifest.end.position)), now()).unwrap();
        }
    }
    for (id, lineage) in ids.iter().zip([Lineage(7), Lineage(8)]) {
        let set = BackupSet::find(&root, Until::Event(*id)).unwrap();
        assert_eq!(set.manifest.lineage, lineage.to_string());
        let to = directory.path().join(&set.manifest.lineage);
        // Its commit may have had others after it.
        assert!(restore(&set, &to, Until::Event(*id), now()).unwrap().position >= id.position);
    }
    let nobodys = EventId { epoch: Epoch::new(ids[0].epoch.get() + ids[1].epoch.get() + 1), ..ids[1] };
    let refused = BackupSet::find(&root, Until::Event(nobodys)).err().unwrap().to_string();
    assert_eq!(refused, "no set has the event of this id");
    let set = BackupSet::find(&root, Until::Newest).unwrap();
    let to = directory.path().join("none");
    for until in [Until::Event(ids[0]), Until::Position(Position::new(1 << 40))] {
        let refused = restore(&set, &to, until, now()).err().unwrap();
        assert!(matches!(refused, BackupProblem::OutOfReach(_)) && !to.exists(), "{refused}");
    }
}
