//! Opening the database: the steps that sled needs around its own. Each names the fault that it closes.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;

use tokio::sync::watch;

use super::account_cache::AccountCache;
use super::checkpoint::{Checkpointer, Files};
use super::committer::{Committer, Parts};
use super::damage::damaged;
use super::database::Store;
use super::disk::{DataFile, Directory, Reserve, SEGMENT_BYTES, give_back, is_full, synced};
use super::epochs::Epochs;
use super::integrity_scan::{self, IntegrityScan, OPENING_THREAD};
use super::journal::{self, Journal};
use super::keeping::Keeping;
use super::open_error::{FORMAT, OpenError};
use super::open_mark::OpenMark;
use super::overlay::{Overlay, Write};
use super::progress::Progress;
use super::readers::Readers;
use super::rows::Rows;
use super::set_names::is_backup;
use super::watermarks::{CheckpointWatermark, CommitWatermark};
use super::{codec, keys};
use crate::domain::{Epoch, Position};
use crate::error::Error;
use crate::metrics::Metrics;

/// The setting that holds the format.
pub const FORMAT_SETTING: &str = "format";
/// A database that was made before there were epochs has six digits in this setting.
const DATABASE_SETTING: &str = "database";

/// How much of the database sled keeps in memory. Its own default is a gibibyte.
const CACHE_BYTES: u64 = 64 << 20;

impl Store {
    /// Opens the database in a directory, and creates the directory if there is none. Returns the end of the readers
    /// and the end of the writer. A checkpoint begins when the journal has `journal_bytes`, or the overlay half as
    /// many.
    ///
    /// # Errors
    /// [`OpenError`]. Its message says what is wrong and what to do.
    pub fn open(path: &Path, journal_bytes: u64) -> Result<(Self, Committer), OpenError> {
        open(path, journal_bytes)
    }

    /// The epochs that are on disk, in order.
    fn kept_epochs(&self) -> Result<Vec<(Position, Epoch)>, Error> {
        let mut kept = Vec::new();
        let mut add = |first: Option<Position>, key: &[u8], value: &[u8]| {
            let first = first.ok_or_else(|| damaged(key, "an epoch's key is none"))?;
            let number = value.try_into().map_err(|_| damaged(key, "an epoch is no number"))?;
            kept.push((first, Epoch::new(u32::from_be_bytes(number))));
            Ok(true)
        };
        let database = keys::setting(DATABASE_SETTING);
        if let Some(value) = self.get(&database)? {
            add(Some(Position::START), &database, &value)?;
        }
        self.scan_prefix(keys::EPOCHS, &mut |key, value| add(keys::of_epoch(key), key, value))?;
        Ok(kept)
    }
}

fn open(path: &Path, journal_bytes: u64) -> Result<(Store, Committer), OpenError> {
    let directory = |error: io::Error| match error {
        error if is_full(&error) => OpenError::Full(path.to_owned()),
        error => OpenError::Directory(path.to_owned(), error),
    };
    if !path.join("conf").exists() && is_backup(path) {
        return Err(OpenError::Backup(path.to_owned()));
    }
    // The directory holds password hashes, keys and all data, so only the server's own user may read it.
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(directory)?;

    // sled locks its own file, but only after it has read and written others. The files that are deleted next must not
    // belong to a running server. The lock ends with the last `Store`, or with the process, however that ends.
    let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(directory)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => return Err(directory(error)),
    }
    let mark = OpenMark::set(path, lock).map_err(directory)?.ok_or_else(|| OpenError::Copied(path.to_owned()))?;
    remove_unfinished(path).map_err(directory)?;
    let reserve = Reserve::of(path);
    reserve.release().map_err(directory)?;
    // It fails if there is a directory in place of a file. The step that needs the file reports that.
    let _ = give_back(path);

    let (tree, unread) = open_sled(path)?;
    let commit_watermark = CommitWatermark::open(path).map_err(directory)?;
    let held = Arc::new(Directory::open(path).map_err(directory)?);
    let watermark = CheckpointWatermark::open(Arc::clone(&held)).map_err(directory)?;
    let mut data = DataFile::open(Arc::clone(&held)).map_err(directory)?;
    // On a full disk the server still starts and serves reads, and the writer asks for room again. The reserve for the
    // next start comes first.
    let _ = reserve.take(snapshot_bytes(path).map_err(directory)?);
    let has_room = data.reserve(0).is_ok();
    // sled syncs none of the names that it creates. Without this, a loss of power can take whole files.
    sync_names(path).map_err(directory)?;

    let damaged = |why: &str| OpenError::Damaged(path.to_owned(), why.to_owned());
    let setting = |name| tree.get(keys::setting(name)).map_err(|error| damaged(&error.to_string()));
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).ok();

    let format = match setting(FORMAT_SETTING)? {
        Some(bytes) => Some(number(&bytes).ok_or_else(|| damaged("its format is no number"))?),
        None => None,
    };
    if let Some(newer) = format.filter(|format| *format > FORMAT) {
        return Err(OpenError::TooNew(path.to_owned(), newer));
    }
    let checkpoint = match setting(keys::PROGRESS_SETTING)? {
        Some(bytes) => codec::decode_progress(&bytes).map_err(damaged)?,
        None => Progress::default(),
    };
    let overlay = Arc::new(Overlay::default());
    let recovered = journal::recover(path, checkpoint, |key, value| {
        let write = value.map_or(Write::Remove, |value| Write::Put(value.into()));
        overlay.apply([(key.to_vec(), write)], checkpoint);
    });
    let recovered = recovered.map_err(directory)?;
    let progress = recovered.progress;
    overlay.apply([], progress);
    let begun =
        watermark.begun().map_err(directory)?.ok_or_else(|| damaged("its file checkpoint is not what was written"))?;
    if begun > progress.commits {
        return Err(OpenError::HalfMade(path.to_owned(), progress.commits, begun));
    }
    let made = commit_watermark.last_commit().map_err(directory)?;
    if made > progress.commits {
        return Err(OpenError::Lost(path.to_owned(), progress.commits, made));
    }
    match format {
        Some(FORMAT) => {}
        // A database without any key is new. If there are keys but no format, the format is lost, and perhaps more.
        None if tree.is_empty() && made > 0 => return Err(damaged("its data is gone, but for the journal")),
        None if !tree.is_empty() => return Err(damaged("its format is missing")),
        Some(_) | None if !has_room => return Err(OpenError::Full(path.to_owned())),
        Some(_) | None => set_format(&tree, &data).map_err(|why| damaged(&why))?,
    }

    let keeping = Keeping::of(path);
    let mut store = Store {
        keeping: keeping.clone(),
        is_new_course: Arc::new(AtomicBool::new(made == 0 && progress.commits > 0)),
        opened_at: progress.commits,
        tree: tree.clone(),
        overlay: Arc::clone(&overlay),
        head: Arc::new(AtomicU64::new(progress.head.get())),
        revealed: Arc::new(watch::Sender::new(progress)),
        epochs: Epochs::after(progress.head, Vec::new(), &[]),
        path: Arc::new(path.to_owned()),
        accounts: Arc::new(AccountCache::new()),
        activity: Arc::default(),
        reported: Arc::default(),
        mqtt_cursors: Arc::default(),
        readers: Readers::start().map_err(directory)?,
        full_disk: Arc::default(),
        metrics: Metrics::default(),
        _lock: Arc::new(mark),
    };
    let epochs = store.kept_epochs().map_err(|error| damaged(&error.to_string()))?;
    if epochs.is_empty() && progress.head > Position::START {
        return Err(damaged("its identity is missing"));
    }
    let spent = store.get(&keys::setting(keys::SPENT_EPOCHS_SETTING)).map_err(|error| damaged(&error.to_string()))?;
    let spent = spent.map_or_else(Vec::new, |spent| codec::decode_epochs(&spent));
    store.epochs = Epochs::after(progress.head, epochs, &spent);
    let journal = Journal::open(held, &recovered, keeping.clone()).map_err(directory)?;
    keeping.begins(journal.number(), progress.commits, checkpoint.commits);
    let integrity_scan = IntegrityScan::start(tree.clone(), unread).map_err(directory)?;
    let (files, full_disk) = (Files { data, watermark }, Arc::clone(&store.full_disk));
    let (path, kept, metrics) = (path.to_owned(), keeping.clone(), store.metrics.clone());
    let checkpointer = Checkpointer::start(tree, files, overlay, path, full_disk, kept, metrics).map_err(directory)?;
    store.metrics.journal_limit_bytes.set(journal_bytes);
    store.metrics.journal_waiting_bytes.set(journal.bytes());
    let parts = Parts { journal, journal_bytes, checkpointer, integrity_scan, commit_watermark, keeping };
    let committer = Committer::new(store.clone(), progress, parts);
    Ok((store, committer))
}

/// Writes the format, which is not in the journal.
fn set_format(tree: &sled::Tree, data_file: &DataFile) -> Result<(), String> {
    tree.insert(keys::setting(FORMAT_SETTING), &FORMAT.to_be_bytes()).map_err(|error| error.to_string())?;
    tree.flush().map_err(|error| error.to_string())?;
    data_file.sync().map_err(|error| error.to_string())
}

/// Removes the files that a killed opening left.
///
/// Closes two faults. sled writes a snapshot as `snap.<lsn>.generating` and renames it: a kill before that leaves a
/// file that every later opening takes for a damaged snapshot (spacejam/sled issues 1527, 1533). And it writes `conf`
/// in two steps before there is any data: a kill in between leaves a half that it cannot read.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().ends_with(b".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    let has_data = fs::metadata(path.join("db")).is_ok_and(|data| data.len() > 0);
    if !has_data {
        match fs::remove_file(path.join("conf")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Opens sled. Returns the tree, and the key from which the integrity scan continues.
pub fn open_sled(path: &Path) -> Result<(sled::Tree, Option<Vec<u8>>), OpenError> {
    let config = sled::Config::new()
        .path(path)
        .segment_size(SEGMENT_BYTES as usize)
        .cache_capacity(CACHE_BYTES)
        // sled's own flusher is off: it moves pages at any time, when no room is reserved for them. Flushes happen in
        // checkpoints, for which room is reserved. `flush_async` is never used: eight calls at once wait for each other
        // forever (spacejam/sled issue 1308).
        .flush_every_ms(None);
    // On some damage sled panics instead of returning an error. On a thread of its own, a panic is a result like
    // another.
    let opening = thread::Builder::new().name(OPENING_THREAD.to_owned()).spawn(move || {
        let db = config.open()?;
        let unread = integrity_scan::before_serving(&db)?;
        Ok((db, unread))
    });
    let opened = opening.map_err(|error| OpenError::Directory(path.to_owned(), error))?.join();
    let damaged = |why: String| OpenError::Damaged(path.to_owned(), why);
    match opened {
        // sled creates this one tree by itself.
        Ok(Ok((db, unread))) => Ok(((*db).clone(), unread)),
        // Our own lock was free, so this is another program, or an older Broker.
        Ok(Err(sled::Error::Io(error))) if error.to_string().contains("could not acquire lock") => {
            Err(OpenError::InUse(path.to_owned()))
        }
        Ok(Err(sled::Error::Io(error))) => Err(match error.kind() {
            _ if is_full(&error) => OpenError::Full(path.to_owned()),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => damaged(error.to_string()),
            _ => OpenError::Directory(path.to_owned(), error),
        }),
        // It was created with other parameters than ours.
        Ok(Err(sled::Error::Unsupported(_))) => Err(OpenError::Foreign(path.to_owned())),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("its files contradict each other".to_owned())),
    }
}

/// The size of sled's snapshots of its index.
fn snapshot_bytes(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"snap.") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Makes the names of all files durable, and the content of the files that sled writes without a sync.
pub fn sync_names(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let file = File::open(entry.path())?;
            synced(&file, file.sync_all())?;
        }
    }
    let sync_directory = |path: &Path| Directory::open(path)?.sync();
    sync_directory(&path.join("blobs"))?;
    sync_directory(path)?;
    match path.canonicalize()?.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}
