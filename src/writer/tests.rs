//! Guards the writer: a change that is refused or fails leaves nothing behind, and the others of its batch are not touched.

use std::path::Path;
use std::sync::mpsc as std_mpsc;

use super::waiting::QUEUE;
use super::*;
use crate::domain::{EventName, Payload, TenantName, Username};
use crate::store::{Draft, MAX_CHANGE_BYTES, Store};

/// A writer of a database, and what it published: the users whose streams ended, and the number of events.
struct Running {
    store: Store,
    writer: Writer,
    failure: Failure,
    published: std_mpsc::Receiver<(Vec<String>, usize)>,
}

fn start(path: &Path) -> Running {
    let (store, committer) = Store::open(path, 64 << 20).unwrap();
    let (publish, published) = std_mpsc::channel();
    let (writer, failure) = Writer::start(committer, Clock::from_local(), Rules::example(), move |committed| {
        let ended = committed.ended().iter().map(ToString::to_string).collect();
        let _ = publish.send((ended, committed.reveal().len()));
    })
    .unwrap();
    Running { store, writer, failure, published }
}

/// A change that writes something of every kind under a name, with this many bytes, and ends with this result.
struct Try {
    name: &'static str,
    bytes: usize,
    end: Result<(), Error>,
}

impl Change for Try {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let user = Username::parse(self.name).unwrap();
        let (tenant, name) = (TenantName::parse("t").unwrap(), EventName::parse(self.name).unwrap());
        batch.insert_event(Draft::value(tenant, user.clone(), name, Payload::null()))?;
        batch.end_streams_of(&user);
        for part in 0..self.bytes / 1000 {
            batch.put_setting(&format!("{}{part}", self.name), vec![7; 1000]);
        }
        batch.put_setting("last", self.name.as_bytes().to_vec());
        self.end
    }
}

/// Keeps the writer busy with a batch until it is released, so that the changes that come meanwhile share the next one.
struct Hold(std_mpsc::Receiver<()>);

impl Change for Hold {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, _: &mut Batch<'_>) -> Result<(), Error> {
        let _ = self.0.recv();
        Ok(())
    }
}

/// Submits changes that are decided in one batch. Returns their answers.
async fn together(running: &Running, changes: Vec<Try>) -> Vec<Result<(), Error>> {
    let (go, wait) = std_mpsc::channel();
    let (hold, outcomes) = tokio::join!(running.writer.submit(Hold(wait)), async {
        // All are in the queue after each was polled once.
        let all = futures_util::future::join_all(changes.into_iter().map(|change| running.writer.submit(change)));
        let let_go = async { drop(go) };
        tokio::join!(all, let_go).0
    });
    assert_eq!(hold.is_ok(), outcomes.iter().all(|outcome| !matches!(outcome, Err(Error::Storage(_)))));
    outcomes
}

fn change(name: &'static str, end: Result<(), Error>) -> Try {
    Try { name, bytes: 0, end }
}

#[tokio::test]
async fn the_writes_of_a_refused_change_are_undone() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path());
    let changes = vec![change("a", Ok(())), change("b", Err(Error::EventUnknown)), change("c", Ok(()))];
    assert_eq!(together(&running, changes).await, [Ok(()), Err(Error::EventUnknown), Ok(())]);
    assert_eq!(running.published.recv().unwrap(), (vec!["a".to_owned(), "c".to_owned()], 2));
    assert_eq!(running.store.head().get(), 2);
    // The writes of the last change are kept, and a refused change after it restores them.
    let changes = vec![change("d", Ok(())), change("e", Err(Error::EventUnknown))];
    assert_eq!(together(&running, changes).await, [Ok(()), Err(Error::EventUnknown)]);
    assert_eq!(running.store.setting("last").unwrap().unwrap(), b"d");
    assert_eq!(running.store.head().get(), 3);
}

#[tokio::test]
async fn a_change_that_would_write_more_than_was_set_aside_is_refused_alone() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path());
    let large = Try { name: "b", bytes: MAX_CHANGE_BYTES, end: Ok(()) };
    let outcomes = together(&running, vec![change("a", Ok(())), large, change("c", Ok(()))]).await;
    assert_eq!(outcomes, [Ok(()), Err(Error::ChangeTooLarge), Ok(())]);
    assert_eq!(running.published.recv().unwrap(), (vec!["a".to_owned(), "c".to_owned()], 2));
    assert_eq!(running.store.setting("b0").unwrap(), None);
    assert_eq!(running.store.setting("last").unwrap().unwrap(), b"c");
}

#[tokio::test]
async fn the_largest_changes_fit_into_the_room_of_one_commit_however_they_meet() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path());
    // Just below the size at which no further change joins, and then the largest changes.
    let changes = [(2 << 20) - (100 << 10), MAX_CHANGE_BYTES - (900 << 10), MAX_CHANGE_BYTES - (900 << 10)]
        .map(|bytes| Try { name: "a", bytes, end: Ok(()) });
    assert_eq!(together(&running, changes.into()).await, [Ok(()), Ok(()), Ok(())]);
    assert_eq!(running.store.head().get(), 3);
}

#[tokio::test]
async fn after_a_failed_reading_nothing_of_the_batch_is_committed_and_the_writer_gives_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = start(directory.path());
    together(&running, vec![change("a", Ok(()))]).await;
    let failed = || Error::Storage("unreadable".to_owned());
    let changes = vec![change("b", Ok(())), change("c", Err(failed())), change("d", Ok(()))];
    let outcomes = together(&running, changes).await;
    assert_eq!(outcomes[..2], [Err(failed()), Err(failed())]);
    assert!(outcomes[2].is_err());
    assert_eq!(running.failure.reason().await, Fault::Storage("unreadable".to_owned()));
    assert_eq!(running.published.iter().count(), 1);
    assert_eq!(running.store.setting("last").unwrap().unwrap(), b"a");
    assert_eq!(running.store.head().get(), 1);
}

/// Reads a user after it has written something.
struct Look(Username);

impl Change for Look {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.put_setting("last", b"looked".to_vec());
        batch.user(&self.0).map(drop)
    }
}

#[tokio::test]
async fn a_change_that_needs_a_damaged_value_is_refused_alone_however_often_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut running = start(directory.path());
    together(&running, vec![change("a", Ok(()))]).await;
    running.store.smuggle(b"uzoe".to_vec(), b"{}");
    for name in ["b", "c"] {
        let refused = running.writer.submit(Look(Username::parse("zoe").unwrap())).await;
        assert!(matches!(&refused, Err(Error::Damaged(why)) if why.contains("uzoe")), "{refused:?}");
        assert_eq!(running.store.setting("last").unwrap().unwrap(), b"a");
        let damaged = || Error::Damaged("a value".to_owned());
        let changes = vec![change(name, Ok(())), change("d", Err(damaged())), change("a", Ok(()))];
        assert_eq!(together(&running, changes).await, [Ok(()), Err(damaged()), Ok(())]);
    }
    assert_eq!(running.store.head().get(), 5);
    let reason = tokio::time::timeout(Duration::ZERO, running.failure.reason()).await;
    assert!(reason.is_err(), "the writer gave up: {reason:?}");
}

/// A change that must not be refused, or one that may be.
struct Count {
    is_needed: bool,
}

impl Change for Count {
    type Outcome = ();
    type Reach = Here;

    fn is_needed(&self) -> bool {
        self.is_needed
    }

    fn decide(self, _: &mut Batch<'_>) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test]
async fn a_change_that_is_needed_is_never_refused_and_takes_no_room_from_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory.path());
    let (go, wait) = std_mpsc::channel();
    let hold = running.writer.post(Hold(wait)).unwrap();
    let post = |is_needed| running.writer.post(Count { is_needed });
    let mut needed: Vec<_> = (0..2 * QUEUE).map(|_| post(true).unwrap()).collect();
    // The one that holds the others up may have been taken by now.
    let mut others: Vec<_> = (1..QUEUE).map(|_| post(false).unwrap()).collect();
    others.extend(post(false));
    assert_eq!(post(false).err(), Some(Error::Overloaded));
    needed.push(post(true).unwrap());
    drop(go);
    hold.await.unwrap();
    for outcome in needed.into_iter().chain(others) {
        outcome.await.unwrap();
    }
    assert!(post(false).unwrap().await.is_ok());
}
