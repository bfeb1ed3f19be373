//! Disk operations that sled lacks: making a commit durable, and finding a full disk before sled does.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, fadvise, fallocate, fstatvfs, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::error::Error;

/// sled's unit of allocation. sled writes a value of more than an eighth of a segment to a file of its own that it
/// never syncs. So segments are as large as sled allows (16 MiB), and every value that Broker writes stays inside.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// The free space, in addition to four times the size of the data, at which a checkpoint does not calculate how much
/// sled writes. It never writes that much at once.
const ROOMY_BYTES: u64 = 1 << 30;

/// How much room is asked for then, to see that it is granted. More would hurt if the disk is memory (tmpfs).
const GRANTED_BYTES: u64 = 4 * SEGMENT_BYTES;

/// The part of Broker that finds out that the disk is full.
#[derive(Clone, Copy)]
pub enum Finder {
    /// The writer, before a commit.
    Commit = 1,
    /// A checkpoint, in the background.
    Checkpoint = 2,
}

/// Whether the disk is full. The log tells once when that begins and once when it ends, however many requests are
/// refused.
#[derive(Default)]
pub struct FullDisk(AtomicU8);

impl FullDisk {
    /// Notes the result of asking for room. If another resource was lacking, the result says nothing about room.
    pub fn note(&self, finder: Finder, found: Result<(), &Error>) {
        let is_full = match found {
            Ok(()) => false,
            Err(Error::StorageFull) => true,
            Err(_) => return,
        };
        // This runs with each commit, and nearly always nothing has changed.
        if self.is_found_by(finder) == is_full {
            return;
        }
        let bit = finder as u8;
        let before =
            if is_full { self.0.fetch_or(bit, Ordering::AcqRel) } else { self.0.fetch_and(!bit, Ordering::AcqRel) };
        if is_full && before == 0 {
            tracing::error!("the disk is full: changes that find no room are refused");
        } else if !is_full && before == bit {
            tracing::info!("the disk has room again");
        }
    }

    /// Whether any part has found the disk full, and has not found room since.
    pub fn is_found(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Whether this part has found the disk full, and has not found room since.
    pub fn is_found_by(&self, finder: Finder) -> bool {
        self.0.load(Ordering::Acquire) & finder as u8 != 0
    }
}

/// The directory of the database, held open. So making names in it durable needs no new descriptor, of which there may
/// be none.
pub struct Directory {
    path: PathBuf,
    handle: File,
}

impl Directory {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), handle: File::open(path)? })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the names in it durable.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// A descriptor of our own for sled's data file.
pub struct DataFile {
    file: File,
    directory: Arc<Directory>,
    /// The length of the file when room was last reserved, and the end of the reserved range.
    reserved: Option<(u64, u64)>,
}

impl DataFile {
    pub fn open(directory: Arc<Directory>) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(directory.path().join("db"))?;
        Ok(Self { file, directory, reserved: None })
    }

    /// Whether there is so much room that a checkpoint need not calculate how much sled writes.
    pub fn is_roomy(&self) -> bool {
        let roomy = || {
            let disk = fstatvfs(&self.file)?;
            let length = self.file.metadata()?.len();
            io::Result::Ok(disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOMY_BYTES + 4 * length)
        };
        roomy().unwrap_or(false)
    }

    /// Whether room is granted in addition to being free: a user's quota may end before the disk does, and no call
    /// tells it. It is asked once in a checkpoint, because it takes the room for a moment.
    pub fn is_granted(&self) -> bool {
        // The file has no name, so it disappears with its descriptor, whatever happens.
        let (flags, mode) = (OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        match openat(&self.directory.handle, ".", flags, mode) {
            Ok(file) => set_aside(&File::from(file), 0, GRANTED_BYTES).is_ok(),
            // The file system or the kernel has no such files. Any other error means that room is not granted.
            Err(errno) => matches!(errno, Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL),
        }
    }

    /// Reserves room on the disk for the bytes that a checkpoint makes sled write between two flushes.
    ///
    /// Closes this fault: after one write that finds the disk full, sled refuses all further work until it is opened
    /// again, and the change that it was writing is half done. So the room is reserved first. One segment beyond the
    /// end of the file is always reserved for other writes of sled: it moves pages, and leaves the rest of a segment
    /// empty if the next page does not fit.
    ///
    /// # Errors
    /// [`Error::StorageFull`] if there is no room. Part of the room may be taken, and a later call may succeed.
    pub fn reserve(&mut self, bytes: usize) -> Result<(), Error> {
        let length = self.file.metadata().map_err(failed)?.len();
        let wanted = (length + bytes as u64).next_multiple_of(SEGMENT_BYTES) + SEGMENT_BYTES;
        if self.reserved.is_some_and(|(at, end)| at == length && end >= wanted) {
            return Ok(());
        }
        self.reserved = None;
        // The range begins at 0, because sled leaves holes when it begins a new segment.
        set_aside(&self.file, 0, wanted)?;
        self.reserved = Some((length, wanted));
        Ok(())
    }

    /// Waits until everything that was written to the file is on the disk.
    ///
    /// Closes this fault: on Linux, sled's `flush` is `sync_file_range`, which neither flushes the cache of the disk
    /// nor writes the metadata of the file (spacejam/sled issue 1452). A loss of power took every acknowledged write.
    pub fn sync(&self) -> Result<(), Error> {
        synced(&self.file, self.file.sync_data()).map_err(failed)
    }

    /// Makes the next start read the data from the disk, after a failure in sled that may have been a failed sync.
    pub fn distrust(&self) {
        forget_pages(&self.file);
    }
}

/// A file named `reserve` that only takes room.
///
/// Closes this fault: sled writes a snapshot of its index each time it opens. So a server that was stopped on a full
/// disk could not start again to serve its data. The reserve is released just before the opening.
pub struct Reserve(PathBuf);

impl Reserve {
    /// The most that a snapshot of a small database takes.
    const MIN_BYTES: u64 = 1 << 20;
    /// The least that is worth taking.
    const BLOCK_BYTES: u64 = 4096;

    pub fn of(database: &Path) -> Self {
        Self(database.join("reserve"))
    }

    /// Gives the room back.
    pub fn release(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes room for a snapshot of twice the size of the last one; on a full disk, for as much of it as there is.
    pub fn take(&self, last_snapshot_bytes: u64) -> Result<(), Error> {
        let file = File::create(&self.0).map_err(|error| refusal(error, "the reserve"))?;
        let mut bytes = Self::MIN_BYTES.max(last_snapshot_bytes * 2);
        loop {
            match allocate(&file, FallocateFlags::empty(), 0, bytes) {
                Err(Error::StorageFull) if bytes > Self::BLOCK_BYTES => bytes /= 2,
                taken => return taken,
            }
        }
    }
}

/// Gives back the room that was reserved beyond the end of files: sled's data, and the journal. If a server was stopped
/// on a full disk, this may be the only room for the next start.
pub fn give_back(database: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(database)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "db" || name.as_encoded_bytes().starts_with(b"journal.") {
            let file = File::options().write(true).open(entry.path())?;
            // An older Broker may have the file open for writing. It locks this file, and not our own lock file.
            if file.try_lock().is_ok() {
                file.set_len(file.metadata()?.len())?;
            }
        }
    }
    Ok(())
}

/// Passes on the result of a sync. If it failed, the kernel's cached pages of the file are dropped.
///
/// Closes this fault: after a failed sync, the kernel treats the data as written although it is only in memory, and the
/// next sync succeeds. A restarted server would trust what it reads there, and remove the journal that has the data.
pub fn synced(file: &File, outcome: io::Result<()>) -> io::Result<()> {
    outcome.inspect_err(|_| forget_pages(file))
}

fn forget_pages(file: &File) {
    // The kernel may ignore this. Then the failure has still been reported, and the server stops.
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}

/// Reserves room for a range of a file, without making the file longer.
///
/// # Errors
/// As [`refusal`]: the content of the file has not changed, and a later call may succeed. If there is too little room,
/// some file systems (ext4, XFS) keep the part that they found.
pub fn set_aside(file: &File, from: u64, bytes: u64) -> Result<(), Error> {
    allocate(file, FallocateFlags::KEEP_SIZE, from, bytes)
}

fn allocate(file: &File, flags: FallocateFlags, from: u64, bytes: u64) -> Result<(), Error> {
    outcome_of(|| fallocate(file, flags, from, bytes))
}

fn outcome_of(allocate: impl FnMut() -> rustix::io::Result<()>) -> Result<(), Error> {
    // A signal may interrupt it, which is no failure. On a slow disk it takes long enough for that.
    match retry_on_intr(allocate) {
        // A file system without allocation (NFS, some FUSE) gives no such guarantee. A full disk then stops the server.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(refusal(errno.into(), "setting room aside")),
    }
}

/// Whether an operation failed only for lack of room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The error for an operation that could not begin, so that nothing has changed. [`Error::StorageFull`] and
/// [`Error::Overloaded`] mean that only room, descriptors or memory were lacking: others give them back, and a later
/// call may succeed. Any other failure is [`Error::Storage`].
///
/// Do not use it for a write or sync of data that counts: if that fails, the state on the disk is unknown, whatever was
/// lacking.
///
/// Closes this fault: a journal that could not begin its next file, because all descriptors were in use, stopped the
/// server.
pub fn refusal(error: io::Error, what: &str) -> Error {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        _ if is_full(&error) => Error::StorageFull,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR) => Error::Overloaded,
        _ => Error::Storage(format!("{what}: {error}")),
    }
}

fn failed(error: io::Error) -> Error {
    Error::Storage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_of_another_resource_says_nothing_about_room() {
        let disk = FullDisk::default();
        let steps = [
            (Err(&Error::Overloaded), false),
            (Err(&Error::StorageFull), true),
            (Err(&Error::Overloaded), true),
            (Ok(()), false),
            (Err(&Error::Overloaded), false),
        ];
        for (found, is_full) in steps {
            disk.note(Finder::Commit, found);
            assert_eq!(disk.is_found_by(Finder::Commit), is_full, "{found:?}");
            assert!(!disk.is_found_by(Finder::Checkpoint));
        }
    }

    #[test]
    fn an_interrupted_allocation_is_tried_again_and_a_full_disk_is_told_from_a_failure() {
        let mut answers = [Ok(()), Err(Errno::INTR), Err(Errno::INTR)].to_vec();
        assert_eq!(outcome_of(|| answers.pop().unwrap()), Ok(()));
        assert!(answers.is_empty());
        assert_eq!(outcome_of(|| Err(Errno::NOSPC)), Err(Error::StorageFull));
        assert_eq!(outcome_of(|| Err(Errno::OPNOTSUPP)), Ok(()));
        for lacking in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert_eq!(outcome_of(|| Err(lacking)), Err(Error::Overloaded));
        }
        assert!(matches!(outcome_of(|| Err(Errno::IO)), Err(Error::Storage(_))));
    }
}
