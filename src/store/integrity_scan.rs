//! The integrity scan: it reads the whole database once after it was opened. sled reads an old page only when it is
//! needed, and damage should be known now, not in a year.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::Error;

/// The name of the threads that open and read the database at a start. sled panics on some damage. [`super::OpenError`]
/// and `IntegrityScan::outcome` report that better than a panic message, so the panic hook of the program may leave
/// it out.
pub const OPENING_THREAD: &str = "store-opening";
/// How much of a start the scan may take. The rest is read while the server serves.
const BEFORE_SERVING: Duration = Duration::from_secs(1);
/// How many rows are read before a pause.
const ROWS_AT_ONCE: usize = 500;
/// The pause, in which other threads get the disk.
const PAUSE: Duration = Duration::from_millis(1);

/// Reads rows from a key on, until the end, or until a moment. Returns the key to continue from.
fn read(tree: &sled::Tree, from: Vec<u8>, rows: usize, until: Option<Instant>) -> Result<Option<Vec<u8>>, sled::Error> {
    for (number, row) in tree.range(from..).enumerate() {
        let (key, _) = row?;
        if number >= rows || (number % 64 == 0 && until.is_some_and(|until| Instant::now() >= until)) {
            return Ok(Some(key.to_vec()));
        }
    }
    Ok(None)
}

/// Reads as much as a start may wait for. Returns the key to continue from.
///
/// # Errors
/// The damage that sled reports. On some damage it panics instead.
pub fn before_serving(tree: &sled::Tree) -> Result<Option<Vec<u8>>, sled::Error> {
    read(tree, Vec::new(), usize::MAX, Some(Instant::now() + BEFORE_SERVING))
}

/// The handle of the scan in the background, which ends when the handle is dropped.
pub struct IntegrityScan {
    damage: Arc<OnceLock<String>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl IntegrityScan {
    /// Continues from a key, if there is more to read.
    pub fn start(tree: sled::Tree, from: Option<Vec<u8>>) -> std::io::Result<Self> {
        let (damage, stopping) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
        let mut integrity_scan = Self { damage: Arc::clone(&damage), stopping: Arc::clone(&stopping), thread: None };
        let Some(from) = from else { return Ok(integrity_scan) };
        let thread = thread::Builder::new().name(OPENING_THREAD.to_owned()).spawn(move || {
            let reading = || {
                let mut next = Some(from);
                while let Some(from) = next.take().filter(|_| !stopping.load(Ordering::Acquire)) {
                    next = read(&tree, from, ROWS_AT_ONCE, None).map_err(|error| error.to_string())?;
                    thread::sleep(PAUSE);
                }
                Ok(())
            };
            // On some damage sled panics instead of returning an error.
            let contradiction = |_| Err("its files contradict each other".to_owned());
            if let Err(why) = catch_unwind(AssertUnwindSafe(reading)).unwrap_or_else(contradiction) {
                let _ = damage.set(why);
            }
        })?;
        integrity_scan.thread = Some(thread);
        Ok(integrity_scan)
    }

    /// Checks that no damage has been found so far.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database is damaged.
    pub fn outcome(&self) -> Result<(), Error> {
        let damaged =
            |why| Error::Storage(format!("the database is damaged ({why}); put it aside and restore a backup"));
        self.damage.get().map_or(Ok(()), |why| Err(damaged(why)))
    }
}

impl Drop for IntegrityScan {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
