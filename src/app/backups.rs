//! Backups of the database that is served: as a stream for an admin, and into the archive.

use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;

use super::listing::Listing;
use crate::clock::Clock;
use crate::config::Archiving;
use crate::error::Error;
use crate::identity::Admin;
use crate::store::{
    Archive, BACKUP_FAILED, BackupProblem, LINEAGE_SETTING, Lineage, Manifest, Serving, Store, Tar, Target, take,
};
use crate::writer::{Anywhere, Batch, Change, Writer};

/// How much of a stream is sent at once, in bytes.
const PIECE_BYTES: usize = 128 << 10;
/// How many pieces wait to be sent.
const PIECES: usize = 4;
/// How long a client may take nothing of a backup. Meanwhile the journal is kept, which takes room on the disk.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// After how long, or how many rounds, a set of the archive is tried again that could not be made.
const TRY_AGAIN: Duration = Duration::from_secs(600);
const ROUNDS_TO_TRY_AGAIN: u32 = 10;
/// By how much the thread of a backup stands back.
const NICENESS: i32 = 10;
/// How long the reason of a failure may take to be sent.
const SENT_WITHIN: Duration = Duration::from_millis(300);
/// How long a full channel is left alone.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Makes backups, one at a time: a cheap clone.
#[derive(Clone)]
pub struct Backups {
    store: Store,
    writer: Writer,
    clock: Clock,
    one: Arc<Semaphore>,
}

/// Gives a database its lineage, if it has none or begins another course.
#[derive(Serialize, Deserialize)]
pub(super) struct BeginCourse;

impl Change for BeginCourse {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        if batch.is_new_course() || batch.setting(LINEAGE_SETTING)?.is_none() {
            // For a new course the commit draws another one, as it would with any other change.
            batch.put_setting(LINEAGE_SETTING, Lineage::draw().0.to_be_bytes().to_vec());
        }
        Ok(())
    }
}

/// The lineage of a database, unless it has none yet or begins another course.
fn lineage_of(store: &Store) -> Result<Option<Lineage>, Error> {
    let lineage = store.setting(LINEAGE_SETTING)?.as_deref().and_then(Lineage::read);
    Ok(lineage.filter(|_| !store.is_new_course()))
}

impl Backups {
    /// Backups of this database.
    pub fn new(store: Store, writer: Writer, clock: Clock) -> Self {
        Self { store, writer, clock, one: Arc::new(Semaphore::new(1)) }
    }

    /// The lineage of the database, which gets one with its first backup.
    async fn lineage(&self) -> Result<Lineage, Error> {
        if let Some(known) = lineage_of(&self.store)? {
            return Ok(known);
        }
        self.writer.submit(BeginCourse).await?;
        lineage_of(&self.store)?.ok_or_else(|| Error::Internal("the database has got no lineage".to_owned()))
    }

    /// A backup as a stream in the format of tar. If it breaks off, its last file says why, and there is no manifest.
    ///
    /// # Errors
    /// [`Error::BackupRunning`]; [`Error::StorageFull`]; [`Error::Storage`]; [`Error::Overloaded`] without a thread for it.
    pub async fn stream(&self, admin: &Admin) -> Result<Listing, Error> {
        admin.logged("backup", self.begin_stream().await)
    }

    async fn begin_stream(&self) -> Result<Listing, Error> {
        let permit = Arc::clone(&self.one).try_acquire_owned().map_err(|_| Error::BackupRunning)?;
        let lineage = self.lineage().await?;
        let (pieces, sent) = mpsc::channel(PIECES);
        let backups = self.clone();
        let spawned =
            thread::Builder::new().name("backup".to_owned()).spawn(move || backups.run(lineage, pieces, permit));
        spawned.map_err(|_| Error::Overloaded)?;
        Ok(Listing { first: Bytes::new(), rest: Some(Box::pin(answer(sent))) })
    }

    fn run(&self, lineage: Lineage, pieces: mpsc::Sender<Piece>, _permit: OwnedSemaphorePermit) {
        // Everybody else comes first. Where that cannot be had, the backup has its own pace.
        let _ = rustix::process::nice(NICENESS);
        let now = self.clock.now();
        let mut tar = Tar::new(Pieces::new(pieces.clone(), TAKEN_WITHIN), now.as_secs());
        let taken = take(&self.store, lineage, now, &mut tar, self).and_then(|manifest| {
            let ended = tar.writer().end();
            ended.map(|()| manifest).map_err(|error| BackupProblem::File("the stream".to_owned(), error))
        });
        match taken {
            Ok(manifest) => self.is_made(&manifest, "sent"),
            Err(why) => {
                tracing::error!(%why, "a backup could not be made");
                let why = why.to_string();
                let _ = tar.add(BACKUP_FAILED, why.len() as u64, &mut why.as_bytes());
                let _ = tar.writer().flush();
                // The answer is cut off, so that nobody takes it for whole. What has not been sent by then is lost with it.
                thread::sleep(SENT_WITHIN);
            }
        }
    }

    fn is_made(&self, manifest: &Manifest, how: &'static str) {
        let Manifest { end, .. } = manifest;
        self.store.metrics().backup_succeeded.set_now();
        tracing::info!(position = end.position, commit = end.commit, "a backup was {how}");
    }

    /// Opens the archive. To be called before the first commit of a start. Without one, what an earlier start has kept is removed.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn open_archive(store: &Store, settings: Option<&Archiving>) -> Result<Option<Archive>, BackupProblem> {
        let Some(settings) = settings else {
            store.keep_nothing().map_err(BackupProblem::of_file(store.path()))?;
            return Ok(None);
        };
        Archive::open(&settings.archive, store, lineage_of(store)?).map(Some)
    }

    /// Keeps the archive up to date, until it is dropped.
    pub async fn archive(self, archive: Archive, settings: Archiving, mut stop: tokio::sync::watch::Receiver<bool>) {
        let mut archive = Some(archive);
        // Nothing is made or forgotten by a clock that is known to be wrong.
        tokio::select! {
            () = self.clock.settled() => {}
            _ = stop.changed() => {}
        }
        loop {
            let is_stopping = *stop.borrow();
            let Some(mut own) = archive.take() else { return };
            let (backups, every) = (self.clone(), settings.clone());
            let lineage = self.lineage().await;
            let worked = spawn_blocking(move || {
                let worked = backups.bring_up_to_date(&mut own, &every, lineage, is_stopping);
                // In any case: it makes room.
                let forgotten = if is_stopping { Ok(()) } else { own.forget(every.archive_keep, backups.clock.now()) };
                if let Err(why) = worked.and(forgotten) {
                    tracing::error!(%why, "the archive could not be brought up to date");
                }
                own
            });
            archive = worked.await.ok();
            if archive.is_none() {
                // Its thread has said why.
                tracing::error!("the archive is not kept up to date any more, until the next start");
                self.store.keep_nothing_more();
            }
            if is_stopping {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(settings.archive_every) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// One round of the archive.
    fn bring_up_to_date(
        &self,
        archive: &mut Archive,
        settings: &Archiving,
        lineage: Result<Lineage, Error>,
        is_stopping: bool,
    ) -> Result<(), BackupProblem> {
        let (now, lineage) = (self.clock.now(), lineage?);
        if !archive.needs_set() {
            archive.catch_up(self)?;
        }
        if !archive.needs_set() {
            // With what it has had before, the archive is a backup of now.
            self.store.metrics().backup_succeeded.set_now();
        }
        if is_stopping {
            return Ok(());
        }
        // Nor one that was begun by a clock which was ahead.
        let is_old =
            |since: u64| since > now.as_millis() || now.as_millis() - since >= millis(settings.archive_set_every);
        if archive.newest_since()?.is_none_or(is_old) && !archive.is_all_in_its_base()? {
            // Each try writes the whole database. Meanwhile, the set that there is goes on.
            if archive.has_failed_within(TRY_AGAIN.min(ROUNDS_TO_TRY_AGAIN * settings.archive_every)) {
                return Ok(());
            }
            // And while a backup is sent to a client.
            let Ok(_permit) = self.one.try_acquire() else { return Ok(()) };
            let manifest = archive.begin_set(&self.store, lineage, now, self)?;
            self.is_made(&manifest, "archived");
        }
        Ok(())
    }
}

impl Serving for Backups {
    fn wake(&self) -> Result<(), Error> {
        self.writer.wake()
    }

    fn check(&self) -> Result<(), Error> {
        if self.writer.has_ended() { Err(Error::ShuttingDown) } else { Ok(()) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the thread of a backup hands on to be sent.
enum Piece {
    Bytes(Bytes),
    /// Everything has been handed on.
    End,
}

/// The answer of these pieces. If they stop before their end, it is cut off: a thread that gives up needs no room for telling so, which
/// a client that reads nothing would not make.
fn answer(pieces: mpsc::Receiver<Piece>) -> impl Stream<Item = Result<Bytes, Error>> {
    unfold(Some(pieces), |pieces: Option<mpsc::Receiver<Piece>>| async {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(pieces))),
            Some(Piece::End) => None,
            None => Some((Err(Error::Internal("a backup could not be made".to_owned())), None)),
        }
    })
}

/// Writes into a stream that is sent.
struct Pieces {
    to: mpsc::Sender<Piece>,
    waiting: Vec<u8>,
    /// How long the client may take nothing.
    taken_within: Duration,
    /// Its client is gone, or reads no more: it is not waited for again.
    is_lost: bool,
}

impl Pieces {
    fn new(to: mpsc::Sender<Piece>, taken_within: Duration) -> Self {
        Self { to, waiting: Vec::new(), taken_within, is_lost: false }
    }

    /// Sends what waits, and that it was all.
    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Piece::End)
    }

    fn send(&mut self, piece: Piece) -> io::Result<()> {
        let sent = if self.is_lost { Err(io::ErrorKind::BrokenPipe) } else { self.try_send(piece) };
        self.is_lost = sent.is_err();
        sent.map_err(io::Error::from)
    }

    fn try_send(&self, mut piece: Piece) -> Result<(), io::ErrorKind> {
        let until = Instant::now() + self.taken_within;
        loop {
            match self.to.try_send(piece) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(io::ErrorKind::BrokenPipe),
                Err(mpsc::error::TrySendError::Full(_)) if Instant::now() > until => {
                    return Err(io::ErrorKind::TimedOut);
                }
                Err(mpsc::error::TrySendError::Full(unsent)) => piece = unsent,
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn send_waiting(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.waiting).into();
        self.send(Piece::Bytes(bytes))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE_BYTES {
            self.send_waiting()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() { Ok(()) } else { self.send_waiting() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    /// Writes pieces until one cannot be sent, and returns how many could, and why it could not.
    fn fill(pieces: &mut Pieces) -> (usize, io::ErrorKind) {
        let mut sent = 0;
        loop {
            match pieces.write_all(&[0; PIECE_BYTES]) {
                Ok(()) => sent += 1,
                Err(why) => return (sent, why.kind()),
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up_once_and_its_answer_is_cut_off() {
        let (to, sent) = mpsc::channel(PIECES);
        let mut pieces = Pieces::new(to, Duration::from_millis(20));
        assert_eq!(fill(&mut pieces), (PIECES, io::ErrorKind::TimedOut));
        // It is not waited for once more, whatever is to be said to it yet.
        pieces.taken_within = Duration::from_secs(3600);
        assert_eq!(fill(&mut pieces), (0, io::ErrorKind::BrokenPipe));
        assert!(pieces.end().is_err());
        drop(pieces);
        let answer: Vec<_> = answer(sent).collect().await;
        assert!(answer.len() == PIECES + 1 && answer[PIECES].is_err(), "{}", answer.len());
    }

    #[tokio::test]
    async fn an_answer_ends_only_if_everything_was_handed_on() {
        let (to, sent) = mpsc::channel(PIECES);
        let mut pieces = Pieces::new(to, Duration::from_secs(3600));
        pieces.write_all(b"all").unwrap();
        pieces.end().unwrap();
        drop(pieces);
        let answer: Vec<_> = answer(sent).collect().await;
        assert_eq!(answer, [Ok(Bytes::from_static(b"all"))]);
        // A client that is gone.
        let (to, sent) = mpsc::channel(PIECES);
        drop(sent);
        assert_eq!(fill(&mut Pieces::new(to, Duration::from_secs(3600))), (0, io::ErrorKind::BrokenPipe));
    }
}
