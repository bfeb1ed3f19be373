//! Guards records: a copy that has only their bytes becomes the same database, in memory too.

use super::*;
use crate::domain::{Generation, MAX_USER_BYTES, User};
use crate::store::chunks::MAX_INLINE_BYTES;
use crate::store::progress::Progress;
use crate::store::sealed::Record;

type Changes = fn(&mut Transaction<'_>);

fn name(text: &str) -> EventName {
    EventName::parse(text).unwrap()
}

fn draft(event: &str, bytes: usize) -> Draft {
    let data = Payload::from_stored(&format!("\"{}\"", "x".repeat(bytes)));
    Draft::value(tenant("a"), Username::parse("u").unwrap(), name(event), data)
}

fn user(generation: u64) -> User {
    User { generation: Generation(generation), ..User::example() }
}

fn insert_one(transaction: &mut Transaction<'_>, draft: Draft) {
    transaction.insert_event(draft).unwrap();
}

/// Commits of every kind that memory must learn something of.
const COMMITS: [Changes; 8] = [
    |transaction| transaction.put_setting("one", vec![1]),
    |transaction| {
        insert_one(transaction, draft("a", 3));
        insert_one(transaction, Draft { tenant: tenant("b"), ..draft("a", MAX_INLINE_BYTES + 70_000) });
        insert_one(transaction, Draft { kind: crate::domain::EventKind::Transient, ..draft("a", 4) });
    },
    |transaction| {
        insert_one(transaction, Draft { expires_at: Some(Timestamp::from_millis(77)), ..draft("b", 5) });
        transaction.put_user(&user(1));
    },
    |transaction| {
        insert_one(transaction, Draft::removal(tenant("a"), Username::parse("u").unwrap(), name("b")));
        transaction.end_streams_of(&user(1).username);
        transaction.end_streams_of(&user(1).username);
    },
    |transaction| {
        transaction.put_user(&user(2));
        transaction.change_rights_of(&user(2).username);
    },
    |transaction| {
        let (username, tenant) = (Username::parse("u").unwrap(), tenant("a"));
        let (first, count) = (transaction.head(), 1);
        let new = NewAnswer {
            username: &username,
            tenant: &tenant,
            idempotency_key: "k",
            fingerprint: [7; 32],
            first,
            count,
        };
        transaction.remember_answer(new, 10).unwrap();
    },
    // A change of nothing but streams.
    |transaction| transaction.end_streams_of(&user(2).username),
    |transaction| (0..300).for_each(|number| insert_one(transaction, draft(&format!("n{number}"), 9))),
];

fn sealed(committer: &mut Committer, number: usize, changes: Changes) -> Record {
    let mut transaction = committer.begin(Timestamp::from_millis(100 + number as u64)).unwrap();
    transaction.note_time();
    changes(&mut transaction);
    transaction.keep().unwrap();
    transaction.seal().unwrap()
}

fn bytes_of(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

fn all_rows(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let mut each = |key: &[u8], value: &[u8]| {
        rows.insert(key.to_vec(), value.to_vec());
        Ok(true)
    };
    store.scan(b"", &[0xff], &mut each).unwrap();
    // How far a checkpoint has come is each database's own.
    rows.remove(&keys::setting(keys::PROGRESS_SETTING));
    rows
}

#[test]
fn a_copy_that_has_the_bytes_alone_becomes_the_same_database_in_memory_too() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [(first, mut decides), (copy, mut follows)] =
        directories.each_ref().map(|directory| open(directory.path()).unwrap());
    let zoe = user(1).username;
    // In memory of the copy, from before.
    assert!(copy.account(&zoe).unwrap().is_none());
    for (number, changes) in COMMITS.into_iter().enumerate() {
        let record = sealed(&mut decides, number, changes);
        let bytes = bytes_of(&record);
        let decoded = Record::decode(&bytes, follows.progress()).unwrap();
        assert_eq!(decoded.made_at, Timestamp::from_millis(100 + number as u64));
        let decided = decides.apply(record).unwrap();
        follows.prepare().unwrap();
        let followed = follows.apply(decoded).unwrap();
        assert_eq!((decided.ended(), decided.changed()), (followed.ended(), followed.changed()));
        assert!(decided.ended().len() <= 1, "each once");
        assert_eq!(copy.head(), Position::new(first.head().get()), "nothing is seen before it is revealed");
        assert_eq!(decided.reveal(), followed.reveal());
        assert_eq!(all_rows(&first), all_rows(&copy));
        let generation = |store: &Store| store.account(&zoe).unwrap().map(|account| account.generation);
        assert_eq!(generation(&first), generation(&copy));
        // The epoch comes with the first event.
        if first.head() > Position::START {
            for position in [Position::START, first.head()] {
                assert_eq!(first.event_id(position), copy.event_id(position));
            }
        }
        let activity = |store: &Store| {
            let Due { expiry, answer } = store.activity().take_due();
            (expiry, answer, store.activity().take().len())
        };
        assert_eq!(activity(&first), activity(&copy));
        if number == 2 {
            shorten_copy(&first, &mut decides, &copy, &mut follows);
        }
    }
    assert_eq!(decides.progress(), follows.progress());
    assert_eq!(decides.floors.get(&tenant("a")), follows.floors.get(&tenant("a")));
    drop((first, decides, copy, follows));
    let [first, copy] = directories.each_ref().map(|directory| open(directory.path()).unwrap());
    assert_eq!(all_rows(&first.0), all_rows(&copy.0));
    assert_eq!(first.0.seen(), copy.0.seen());
    // The first one alone goes on deciding, and the other has been opened in the middle of its epoch.
    drop(copy);
    let (first, mut decides) = first;
    follows_after(&first, &mut decides, directories[1].path());
}

/// A copy that is opened between two commits of one epoch, and again after the second: each event has the id that it was given.
fn follows_after(first: &Store, decides: &mut Committer, path: &Path) {
    let mut all: Vec<EventId> = Vec::new();
    for number in 0..3 {
        let record = sealed(decides, number, |transaction| insert_one(transaction, draft("x", 1)));
        let (copy, mut follows) = until_open(path);
        let decoded = Record::decode(&bytes_of(&record), follows.progress()).unwrap();
        drop(decides.apply(record).unwrap().reveal());
        follows.prepare().unwrap();
        drop(follows.apply(decoded).unwrap().reveal());
        all.push(first.event_id(first.head()));
        for id in &all {
            assert_eq!(copy.position_of(*id), Some(id.position), "{number}");
        }
    }
}

/// The threads of the one that was open may hold it a little longer.
fn until_open(path: &Path) -> (Store, Committer) {
    loop {
        match open(path) {
            Err(OpenError::InUse(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn a_commit_that_does_not_come_next_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    let [first, second] =
        [(); 2].map(|()| sealed(&mut committer, 0, |transaction| insert_one(transaction, draft("a", 1))));
    let nothing = sealed(&mut committer, 0, |_| {});
    drop(committer.apply(first).unwrap().reveal());
    // It was decided without knowing of the first one.
    for late in [second, nothing] {
        assert!(matches!(committer.apply(late).err(), Some(crate::error::Fault::Internal(_))));
    }
    assert_eq!((store.head(), committer.progress().commits), (Position::new(1), 1));
    let nothing = sealed(&mut committer, 0, |_| {});
    drop(committer.apply(nothing).unwrap().reveal());
    assert_eq!(insert(&mut committer, "a", &["b"])[0].position, Position::new(2));
}

/// Raises the floor of both by the same record, and has each ask for it once, so that both remember it.
fn shorten_copy(first: &Store, decides: &mut Committer, copy: &Store, follows: &mut Committer) {
    let moment = Timestamp::from_millis(1000);
    let excess = Excess { surplus: 2, before: moment, now: moment, at_most: 2 };
    let oldest = first.oldest(&tenant("a"), excess).unwrap();
    for committer in [&mut *decides, &mut *follows] {
        assert_eq!(committer.begin(moment).unwrap().floor(&tenant("a")).unwrap(), Position::START);
    }
    let mut transaction = decides.begin(moment).unwrap();
    assert!(transaction.shorten(oldest).unwrap() > 0);
    let raised = transaction.floor(&tenant("a")).unwrap();
    assert!(raised > Position::START, "the transaction knows what it has raised");
    transaction.keep().unwrap();
    let record = transaction.seal().unwrap();
    assert_eq!(decides.begin(moment).unwrap().floor(&tenant("a")).unwrap(), Position::START, "it is not made yet");
    let decoded = Record::decode(&bytes_of(&record), follows.progress()).unwrap();
    drop(decides.apply(record).unwrap().reveal());
    follows.prepare().unwrap();
    drop(follows.apply(decoded).unwrap().reveal());
    for committer in [decides, follows] {
        assert_eq!(committer.begin(moment).unwrap().floor(&tenant("a")).unwrap(), raised);
    }
    assert_eq!(all_rows(first), all_rows(copy));
}

#[test]
fn what_was_sealed_and_is_given_up_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    let before = (all_rows(&store), committer.progress());
    for changes in COMMITS {
        drop(sealed(&mut committer, 0, changes));
        assert_eq!((all_rows(&store), committer.progress()), before);
    }
    // The first one that is made has what the first one always has: the epoch, and the time.
    let made = insert(&mut committer, "a", &["a"]);
    assert_eq!((made[0].position, store.head()), (Position::new(1), Position::new(1)));
    let id = store.event_id(made[0].position);
    drop((store, committer));
    let (store, _committer) = open(directory.path()).unwrap();
    assert_eq!(store.event_id(made[0].position), id);
}

#[test]
fn a_record_that_is_damaged_cut_short_or_not_the_next_is_not_taken_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, mut committer) = open(directory.path()).unwrap();
    let before = committer.progress();
    let bytes = bytes_of(&sealed(&mut committer, 0, COMMITS[3 - 2]));
    assert!(Record::decode(&bytes, before).is_ok());
    for at in (0..bytes.len()).step_by(bytes.len() / 200) {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert!(Record::decode(&other, before).is_err(), "byte {at}");
        assert!(Record::decode(&bytes[..at], before).is_err(), "{at} bytes");
    }
    let next = Progress { commits: before.commits + 1, ..before };
    let ahead = Progress { head: Position::new(9), ..before };
    let behind = Progress { head: Position::START, commits: before.commits };
    for other in [next, ahead] {
        assert!(Record::decode(&bytes, other).is_err());
    }
    assert!(Record::decode(&bytes, behind).is_ok());
}

#[test]
fn what_is_said_of_streams_counts_for_the_size_of_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, mut committer) = open(directory.path()).unwrap();
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    let long = Username::parse(&"x".repeat(250)).unwrap();
    (0..MAX_CHANGE_BYTES / 250).for_each(|_| transaction.end_streams_of(&long));
    assert_eq!(transaction.keep(), Err(Error::ChangeTooLarge));
    transaction.undo();
    transaction.put_user(&User { data: Some(Payload::from_stored(&"1".repeat(MAX_USER_BYTES))), ..User::example() });
    assert!(transaction.seal().unwrap().tidings.ended.is_empty());
}

#[tokio::test]
async fn whoever_waits_for_a_commit_goes_on_once_it_is_revealed_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut committer) = open(directory.path()).unwrap();
    let waits = [1, 2].map(|height| {
        let store = store.clone();
        tokio::spawn(async move { store.reaches(height).await })
    });
    let of_position = tokio::spawn({
        let store = store.clone();
        async move { store.reaches_position(Position::new(2)).await }
    });
    let record = sealed(&mut committer, 0, |transaction| insert_one(transaction, draft("a", 1)));
    let durable = committer.apply(record).unwrap();
    let [first, second] = waits;
    tokio::task::yield_now().await;
    assert!(!first.is_finished());
    drop(durable.reveal());
    first.await.unwrap();
    assert!(!second.is_finished() && !of_position.is_finished());
    insert(&mut committer, "a", &["b"]);
    second.await.unwrap();
    of_position.await.unwrap();
    // What is there already is not waited for.
    store.reaches(1).await;
    assert_eq!(store.seen(), Progress { head: Position::new(2), commits: 2 });
}
