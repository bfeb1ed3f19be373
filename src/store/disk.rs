//! What sled leaves undone on the disk: making a commit durable, and finding a full disk before sled does.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, fadvise, fallocate, fstatvfs, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::error::Error;

/// sled's unit of allocation. sled writes a value of more than an eighth of a segment to a file of its own that it never
/// syncs. So segments are as large as sled allows (16 MiB), and every value that Broker writes stays inside.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// From how much free space on, beside four times what there is already, sled is not watched: so much is not written at once.
const ROOMY_BYTES: u64 = 1 << 30;

/// How much is asked for then. More would hurt where it is memory that is given (tmpfs).
const GRANTED_BYTES: u64 = 4 * SEGMENT_BYTES;

/// Who finds out that the disk is full.
#[derive(Clone, Copy)]
pub enum Finder {
    /// The writer, before a commit.
    Commit = 1,
    /// A checkpoint, in the background.
    Checkpoint = 2,
}

/// Whether the disk is full. The log tells when that begins and when it ends, once, however many requests are refused meanwhile.
#[derive(Default)]
pub struct FullDisk(AtomicU8);

impl FullDisk {
    /// Notes what came of asking for room. Where something else was lacking, that tells nothing about it.
    pub fn note(&self, finder: Finder, found: Result<(), &Error>) {
        let is_full = match found {
            Ok(()) => false,
            Err(Error::StorageFull) => true,
            Err(_) => return,
        };
        // With each commit, and nearly always nothing new.
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

    /// Whether this one has found it full, and no room since.
    pub fn is_found_by(&self, finder: Finder) -> bool {
        self.0.load(Ordering::Acquire) & finder as u8 != 0
    }
}

/// The database's directory, held open: so that to make names in it durable needs no descriptor when there may be none.
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

/// An own descriptor of sled's data file.
pub struct DataFile {
    file: File,
    directory: Arc<Directory>,
    /// The file's length when room was last set aside, and up to where it was.
    reserved: Option<(u64, u64)>,
}

impl DataFile {
    pub fn open(directory: Arc<Directory>) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(directory.path().join("db"))?;
        Ok(Self { file, directory, reserved: None })
    }

    /// Whether there is so much room that it need not be reckoned how much sled writes.
    pub fn is_roomy(&self) -> bool {
        let roomy = || {
            let disk = fstatvfs(&self.file)?;
            let length = self.file.metadata()?.len();
            io::Result::Ok(disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOMY_BYTES + 4 * length)
        };
        roomy().unwrap_or(false)
    }

    /// Whether room is granted as well as there: a user's quota may end before the disk does, and tells nobody. To be asked once in
    /// a checkpoint: for a moment the room is taken.
    pub fn is_granted(&self) -> bool {
        // A file without a name, which goes with its descriptor, whatever happens.
        let (flags, mode) = (OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        match openat(&self.directory.handle, ".", flags, mode) {
            Ok(file) => set_aside(&File::from(file), 0, GRANTED_BYTES).is_ok(),
            // A file system, or a system, without such files. Whatever else it is, it is no grant.
            Err(errno) => matches!(errno, Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL),
        }
    }

    /// Sets room aside on the disk for so many bytes, which a checkpoint has sled write between two flushes.
    ///
    /// Closes this fault: after one write that finds the disk full, sled refuses all further work until it is opened
    /// anew, and the change it was writing is half done. So the disk is asked for the room first. One segment beyond the
    /// end of the file is always allocated, for what sled writes besides: it moves pages, and leaves the rest of a segment empty
    /// into which the next page does not fit.
    ///
    /// # Errors
    /// [`Error::StorageFull`] where there is no room. What there was of it may be taken, and a later call may succeed.
    pub fn reserve(&mut self, bytes: usize) -> Result<(), Error> {
        let length = self.file.metadata().map_err(failed)?.len();
        let wanted = (length + bytes as u64).next_multiple_of(SEGMENT_BYTES) + SEGMENT_BYTES;
        if self.reserved.is_some_and(|(at, end)| at == length && end >= wanted) {
            return Ok(());
        }
        self.reserved = None;
        // The whole range is asked for, not just its end: sled leaves holes where it rolls to a new segment.
        set_aside(&self.file, 0, wanted)?;
        self.reserved = Some((length, wanted));
        Ok(())
    }

    /// Waits until all that was written to the file is on the disk.
    ///
    /// Closes this fault: sled's `flush` is `sync_file_range` on Linux, which neither flushes the disk's cache nor writes
    /// the file's own metadata (spacejam/sled issue 1452); a loss of power took every acknowledged write.
    pub fn sync(&self) -> Result<(), Error> {
        synced(&self.file, self.file.sync_data()).map_err(failed)
    }

    /// Has the next start read what is on the disk, after something of sled's failed that may have been a sync.
    pub fn distrust(&self) {
        forget_pages(&self.file);
    }
}

/// A file that only takes room, `reserve`.
///
/// Closes this fault: sled writes a snapshot of its index each time it opens, so that a server which was stopped on a full
/// disk could not start again to serve what is there. The reserve is given back just before.
pub struct Reserve(PathBuf);

impl Reserve {
    /// What a snapshot of a small database takes at most.
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

    /// Takes room for a snapshot of twice the size that the last one had; on a full disk for as much of it as there is.
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

/// Gives back what was set aside beyond the end of files: sled's data, and the journal. Where a server was stopped on a full disk,
/// that may be all the room that there is for the next one to start.
pub fn give_back(database: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(database)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "db" || name.as_encoded_bytes().starts_with(b"journal.") {
            let file = File::options().write(true).open(entry.path())?;
            // Whoever has it open without our own lock may be writing: an older Broker, whose lock this is.
            if file.try_lock().is_ok() {
                file.set_len(file.metadata()?.len())?;
            }
        }
    }
    Ok(())
}

/// What a sync of a file said; where it failed, what the system has of the file in memory goes.
///
/// Closes this fault: after a failed sync what was to be written counts as written, though it is in memory only, and the next sync
/// succeeds. A server that starts anew would believe what it reads there, and remove the journal that has it.
pub fn synced(file: &File, outcome: io::Result<()>) -> io::Result<()> {
    outcome.inspect_err(|_| forget_pages(file))
}

fn forget_pages(file: &File) {
    // It is a wish. Where it is not granted the failure has still been told, and the server ends.
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}

/// Sets room aside for a range of a file, without making the file longer.
///
/// # Errors
/// Those of [`refusal`]: what the file says has not changed, and a later call may succeed. Some file systems (ext4, XFS) keep for it
/// what they could find where there is no room.
pub fn set_aside(file: &File, from: u64, bytes: u64) -> Result<(), Error> {
    allocate(file, FallocateFlags::KEEP_SIZE, from, bytes)
}

fn allocate(file: &File, flags: FallocateFlags, from: u64, bytes: u64) -> Result<(), Error> {
    outcome_of(|| fallocate(file, flags, from, bytes))
}

fn outcome_of(allocate: impl FnMut() -> rustix::io::Result<()>) -> Result<(), Error> {
    // A signal interrupts it, which is no failure: on a slow disk it takes long enough for that.
    match retry_on_intr(allocate) {
        // A file system without allocation (NFS, some FUSE) gives no such promise; a full disk then stops the server.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(refusal(errno.into(), "setting room aside")),
    }
}

/// Whether it failed only for want of room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What it means that something could not be begun, so that nothing has changed: [`Error::StorageFull`] and [`Error::Overloaded`],
/// after which a later call may succeed, where only room, descriptors or memory were lacking, which others give back; else
/// [`Error::Storage`].
///
/// Not for a write or a sync of what counts: where that fails, what is on the disk is unknown, whatever was lacking.
///
/// Closes this fault: a journal that could not begin its next file because all descriptors were taken ended the server.
pub fn refusal(error: io::Error, what: &str) -> Error {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        _ if is_full(&error) => Error::StorageFull,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR) => Error::Overloaded,
        _ => Error::Storage(format!("{what}: {error}")),
    }
}

/// Whether it is a refusal after which a later call may succeed.
pub fn passes(error: &Error) -> bool {
    matches!(error, Error::StorageFull | Error::Overloaded)
}

fn failed(error: io::Error) -> Error {
    Error::Storage(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_something_else_tells_nothing_about_room() {
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
