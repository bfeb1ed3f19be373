//! Checkpoints: a background thread moves the content of the journal into sled, and the journal begins anew.
//!
//! Nothing is lost if a checkpoint is cut off. Until its last step, the journal holds every one of its keys, and hides
//! whatever sled has of them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::disk::{DataFile, Finder, FullDisk, refusal};
use super::keeping::Keeping;
use super::overlay::{Overlay, Table};
use super::touched::Touched;
use super::watermarks::CheckpointWatermark;
use super::{codec, journal_files, keys};
use crate::error::Error;
use crate::metrics::Metrics;

/// How many rows sled gets at once, and how many bytes of them. Nobody reads from sled meanwhile.
const ROWS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 256 << 10;
/// How much sled gets between two flushes.
const BYTES_A_FLUSH: usize = 2 << 20;
/// How long a checkpoint waits before it asks again for a resource that it lacks: room on the disk, a descriptor,
/// memory.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The handle of the checkpoint thread, which ends when the handle is dropped.
pub struct Checkpointer {
    work: Option<mpsc::Sender<Work>>,
    done: mpsc::Receiver<Result<(), Error>>,
    overlay: Arc<Overlay>,
    flags: Arc<Flags>,
    thread: Option<JoinHandle<()>>,
}

/// The state that the handle and the thread share.
#[derive(Default)]
struct Flags {
    stopping: AtomicBool,
    asking: Mutex<Asking>,
    /// Notified when any of that changes.
    changed: Condvar,
    /// Whether the disk is full for the current checkpoint, or for the next commit.
    full_disk: Arc<FullDisk>,
}

/// The state of a checkpoint that asks for a resource that it lacks.
#[derive(Default)]
struct Asking {
    /// The refusal that the current checkpoint got, while it waits.
    refused: Option<Error>,
    /// How often an answer came.
    answers: u64,
    /// Whether it should ask again at once.
    is_urgent: bool,
}

impl Flags {
    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> Option<Error> {
        self.asking().refused.clone()
    }

    fn set_refused(&self, by: Option<Error>) {
        self.full_disk.note(Finder::Checkpoint, by.as_ref().map_or(Ok(()), Err));
        let mut asking = self.asking();
        asking.refused = by;
        asking.answers += 1;
        self.changed.notify_all();
    }

    /// Waits until it is time to ask again.
    fn wait_to_ask(&self) {
        let waiting = |asking: &mut Asking| !asking.is_urgent && !self.stopping.load(Ordering::Acquire);
        let waited = self.changed.wait_timeout_while(self.asking(), ASK_AGAIN, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_urgent = false;
    }

    /// Makes a checkpoint that was refused something ask again now. Returns the new refusal, if there is one.
    fn ask_again(&self) -> Option<Error> {
        let mut asking = self.asking();
        let before = asking.answers;
        asking.is_urgent = true;
        self.changed.notify_all();
        let waiting = |asking: &mut Asking| asking.refused.is_some() && asking.answers == before;
        let waited = self.changed.wait_timeout_while(asking, ASK_AGAIN, waiting);
        waited.unwrap_or_else(PoisonError::into_inner).0.refused.clone()
    }
}

/// A table to move into sled, and the numbers of the journal's files that hold this table and nothing else.
struct Work {
    table: Arc<Table>,
    journal: Vec<u64>,
}

/// The state of the thread.
struct Mover {
    tree: sled::Tree,
    files: Files,
    overlay: Arc<Overlay>,
    path: PathBuf,
    flags: Arc<Flags>,
    keeping: Keeping,
}

/// The files that a checkpoint writes besides sled's own.
pub struct Files {
    pub data: DataFile,
    pub watermark: CheckpointWatermark,
}

impl Checkpointer {
    /// Starts the thread.
    pub fn start(
        tree: sled::Tree,
        files: Files,
        overlay: Arc<Overlay>,
        path: PathBuf,
        full_disk: Arc<FullDisk>,
        keeping: Keeping,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let (work, todo) = mpsc::channel::<Work>();
        let (say_done, done) = mpsc::channel();
        let flags = Arc::new(Flags { full_disk, ..Flags::default() });
        let (overlay_of_mover, flags_of_mover) = (Arc::clone(&overlay), Arc::clone(&flags));
        let mut mover =
            Mover { tree, files, overlay: overlay_of_mover, path, flags: flags_of_mover, keeping: keeping.clone() };
        let thread = thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            for Work { table, journal } in todo {
                let began = Instant::now();
                let moved = mover.make(&table, &journal);
                if moved.is_err() {
                    mover.files.data.distrust();
                }
                if moved.is_err() || mover.is_stopping() {
                    let _ = say_done.send(moved);
                    return;
                }
                let last = table.progress().commits;
                metrics.checkpoint.observe_duration(began.elapsed());
                metrics.checkpoint_succeeded.set_now();
                metrics.journal_moving_bytes.set(0);
                drop(table);
                mover.overlay.thaw();
                keeping.checkpoint_ended(last);
                let _ = say_done.send(Ok(()));
            }
        })?;
        Ok(Self { work: Some(work), done, overlay, flags, thread: Some(thread) })
    }

    /// Notes whether the disk has room for the next commit.
    pub fn note_room(&self, room: &Result<(), Error>) {
        self.flags.full_disk.note(Finder::Commit, room.as_ref().copied());
    }

    /// Whether a checkpoint is under way for which the disk has no room.
    pub fn is_short_of_room(&self) -> bool {
        // This is asked with each commit, so the cheap check comes first.
        self.flags.full_disk.is_found_by(Finder::Checkpoint) && self.flags.refused() == Some(Error::StorageFull)
    }

    /// Makes the current checkpoint ask at once for the resource that it lacks, which may have become free.
    ///
    /// # Errors
    /// [`Error::StorageFull`] and [`Error::Overloaded`] if it is still lacking.
    pub fn ask_again(&self) -> Result<(), Error> {
        self.flags.ask_again().map_or(Ok(()), Err)
    }

    /// Begins a checkpoint. There is one at a time.
    pub fn begin(&self, table: Arc<Table>, journal: Vec<u64>) {
        // If the thread has ended, `failure` tells why.
        let _ = self.work.as_ref().map(|work| work.send(Work { table, journal }));
    }

    /// Checks that checkpoints still work.
    ///
    /// # Errors
    /// [`Error::Storage`] if they do not.
    pub fn failure(&self) -> Result<(), Error> {
        loop {
            match self.done.try_recv() {
                Ok(done) => done?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(ended()),
            }
        }
    }

    /// Waits until no checkpoint is under way. It does not wait if the checkpoint itself waits for a resource.
    ///
    /// # Errors
    /// [`Error::StorageFull`] and [`Error::Overloaded`], which are temporary; [`Error::Storage`].
    pub fn wait(&self) -> Result<(), Error> {
        // The overlay decides, not the messages of the thread: the next message may be about the previous checkpoint.
        while self.overlay.is_frozen() {
            self.failure()?;
            // This is checked before the wait. On a full disk, each change would otherwise make all others wait.
            if let Some(refused) = self.flags.refused() {
                return Err(refused);
            }
            match self.done.recv_timeout(ASK_AGAIN) {
                Ok(done) => done?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        }
        Ok(())
    }
}

/// The thread ended without a message: it panicked.
fn ended() -> Error {
    Error::Storage("checkpoints have ended".to_owned())
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        {
            // The lock is held, or a thread that is about to wait would miss the notification.
            let _asking = self.flags.asking();
            self.flags.stopping.store(true, Ordering::Release);
            self.flags.changed.notify_all();
        }
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported as a failure.
            let _ = thread.join();
        }
    }
}

impl Mover {
    fn is_stopping(&self) -> bool {
        self.flags.stopping.load(Ordering::Acquire)
    }

    /// Moves a table. If it stops half way because the server stops, nothing is lost.
    fn make(&mut self, table: &Table, journal: &[u64]) -> Result<(), Error> {
        let mut rows = table.rows().peekable();
        if rows.peek().is_some() {
            let last = table.progress().commits;
            self.insist(|files| files.watermark.begin(last))?;
        }
        let is_granted = self.files.data.is_roomy() && self.files.data.is_granted();
        while rows.peek().is_some() {
            let is_roomy = is_granted && self.files.data.is_roomy();
            let mut touched = (!is_roomy).then(|| Touched::new(&self.tree));
            let (mut given, mut is_enough) = (0, false);
            while !is_enough && rows.peek().is_some() {
                let (mut batch, mut bytes) = (sled::Batch::default(), 0);
                for (key, write) in rows.by_ref().take(ROWS_AT_ONCE) {
                    let value_bytes = write.value().map_or(0, |value| value.len());
                    bytes += key.len() + value_bytes;
                    match write.value() {
                        Some(value) => batch.insert(key.as_slice(), &**value),
                        None => batch.remove(key.as_slice()),
                    }
                    if let Some(touched) = &mut touched {
                        touched.add(key, value_bytes).map_err(failed)?;
                        is_enough = touched.is_enough();
                    }
                    if is_enough || bytes >= BYTES_AT_ONCE {
                        break;
                    }
                }
                given += bytes;
                is_enough |= given >= BYTES_A_FLUSH;
                self.insist(|files| files.data.reserve(touched.as_ref().map_or(0, Touched::bytes)))?;
                if self.is_stopping() {
                    return Ok(());
                }
                self.tree.apply_batch(batch).map_err(failed)?;
            }
            self.tree.flush().map_err(failed)?;
        }
        self.insist(|files| files.data.reserve(0))?;
        if self.is_stopping() {
            return Ok(());
        }
        self.files.data.sync()?;
        // All rows are in sled, so from now on they count.
        let progress = codec::encode_progress(table.progress());
        self.tree.insert(keys::setting(keys::PROGRESS_SETTING), &progress).map_err(failed)?;
        self.tree.flush().map_err(failed)?;
        self.files.data.sync()?;
        let path = self.path.clone();
        self.insist(|_| {
            journal_files::remove(&path, journal).map_err(|error| refusal(error, "the journal cannot be shortened"))
        })
    }

    /// Asks until the answer is no temporary refusal. sled gets nothing before that: after a write that finds the disk
    /// full, it refuses all further work.
    fn insist(&mut self, ask: impl Fn(&mut Files) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            match ask(&mut self.files) {
                Err(refused) if refused.passes() => {
                    // When the server stops, sled is asked for nothing more.
                    if self.is_stopping() {
                        return Ok(());
                    }
                    self.keeping.checkpoint_waits(Some(&refused));
                    self.flags.set_refused(Some(refused));
                    self.flags.wait_to_ask();
                }
                other => {
                    self.keeping.checkpoint_waits(None);
                    self.flags.set_refused(None);
                    return other;
                }
            }
        }
    }
}

fn failed(error: sled::Error) -> Error {
    Error::Storage(format!("a checkpoint: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpointer without a thread. The test sends the messages of the thread.
    fn unmanned() -> (Checkpointer, mpsc::Sender<Result<(), Error>>) {
        let (say_done, done) = mpsc::channel();
        let overlay = Arc::new(Overlay::default());
        (Checkpointer { work: None, done, overlay, flags: Arc::default(), thread: None }, say_done)
    }

    #[test]
    fn a_wait_for_a_checkpoint_ignores_the_message_of_the_previous_one() {
        let (checkpointer, say_done) = unmanned();
        checkpointer.overlay.freeze();
        // The message of the first checkpoint, whose table was thawed before the message was sent.
        say_done.send(Ok(())).unwrap();
        drop(say_done);
        assert_eq!(checkpointer.wait(), Err(ended()));
        checkpointer.overlay.thaw();
        assert_eq!(checkpointer.wait(), Ok(()));
    }

    #[test]
    fn nobody_waits_for_a_checkpoint_that_lacks_a_resource() {
        let (checkpointer, say_done) = unmanned();
        checkpointer.overlay.freeze();
        say_done.send(Ok(())).unwrap();
        let began = Instant::now();
        for lacking in [Error::StorageFull, Error::Overloaded] {
            checkpointer.flags.set_refused(Some(lacking.clone()));
            for _ in 0..50 {
                assert_eq!(checkpointer.wait(), Err(lacking.clone()));
            }
        }
        assert!(began.elapsed() < 25 * ASK_AGAIN, "they waited {:?}", began.elapsed());
        // If the thread has ended, that is reported.
        drop(say_done);
        assert_eq!(checkpointer.wait(), Err(ended()));
    }

    #[test]
    fn a_thread_that_panicked_is_noticed_before_the_next_checkpoint() {
        let (checkpointer, say_done) = unmanned();
        say_done.send(Ok(())).unwrap();
        assert_eq!(checkpointer.failure(), Ok(()));
        drop(say_done);
        assert_eq!(checkpointer.failure(), Err(ended()));
    }
}
