//! Guards what is kept of the journal: as long as somebody needs it, and there is room.

use super::*;

/// Closes a file, which is there if it can be kept.
fn close(keeping: &Keeping, number: u64, is_there: bool) {
    if is_there {
        fs::write(journal_files::path_of(&keeping.0.database, number), "journal").unwrap();
    }
    keeping.is_closed(number, Closed { last: number, made_at: None });
}

#[test]
fn a_backup_gives_up_before_the_archive_does() {
    let database = tempfile::tempdir().unwrap();
    let keeping = Keeping::of(database.path());
    let archive = keeping.hold_all().unwrap();
    close(&keeping, 1, true);
    let backup = keeping.hold();
    close(&keeping, 2, true);
    assert_eq!((archive.files().len(), backup.files().len()), (2, 1));
    keeping.give_up_first(&mut keeping.state(), &"the disk is full");
    assert!(backup.has_given_up() && !archive.has_given_up());
    assert_eq!(archive.files().len(), 2);
    keeping.give_up_first(&mut keeping.state(), &"the disk is full");
    assert!(archive.has_given_up() && archive.files().is_empty());
    assert_eq!(journal_files::numbers(&keeping.directory()).unwrap(), [0; 0]);
    // A file that cannot be kept ends all of them, and nothing is waited for.
    let (archive, backup) = (keeping.hold_on(), keeping.hold());
    close(&keeping, 3, false);
    assert!(archive.has_given_up() && backup.has_given_up());
}

#[test]
fn what_the_archive_has_not_given_back_is_there_at_the_next_start_and_what_a_backup_holds_is_not() {
    let database = tempfile::tempdir().unwrap();
    let keeping = Keeping::of(database.path());
    let (archive, backup) = (keeping.hold_all().unwrap(), keeping.hold());
    (1..4).for_each(|number| close(&keeping, number, true));
    archive.release_before(2);
    drop((archive, backup));
    fs::remove_file(journal_files::path_of(database.path(), 2)).unwrap();
    let next = Keeping::of(database.path());
    next.begins(4, 3, 3);
    let archive = next.hold_all().unwrap();
    assert_eq!(archive.files().iter().map(|file| file.0).collect::<Vec<_>>(), [2, 3]);
    let backup = next.hold();
    close(&next, 4, true);
    drop((archive, backup));
    let kept = || journal_files::numbers(&next.directory()).unwrap();
    assert_eq!(kept(), [2, 3, 4]);
    // One archive holds on from here.
    let _archive = next.hold_on();
    assert_eq!(kept(), [0; 0]);
    // What was kept of a course that was lost is not taken for what will have its number.
    fs::write(journal_files::path_of(&next.directory(), 5), "lost").unwrap();
    assert!(next.hold_all().unwrap().files().iter().all(|file| file.0 < 5));
    assert!(!kept().contains(&5));
}
