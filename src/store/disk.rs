//! What sled leaves undone on the disk: making a commit durable, and finding a full disk before sled does.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::open::SEGMENT_BYTES;
use crate::error::Error;

/// An own descriptor of sled's data file.
pub struct DataFile {
    file: File,
    /// The file's length when room was last set aside.
    length: Option<u64>,
}

impl DataFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path.join("db"))?;
        Ok(Self { file, length: None })
    }

    /// Sets room aside on the disk for what a checkpoint writes between two flushes.
    ///
    /// Closes this fault: after one write that finds the disk full, sled refuses all further work until it is opened
    /// anew, and the change it was writing is half done. So the disk is asked for the room first. One segment beyond the
    /// end of the file is always allocated; what is given to sled between two flushes ([`super::checkpoint`]) never needs more.
    ///
    /// # Errors
    /// [`Error::StorageFull`] where there is no room; nothing was changed and a later call may succeed.
    pub fn reserve(&mut self) -> Result<(), Error> {
        let length = self.file.metadata().map_err(failed)?.len();
        if self.length == Some(length) {
            return Ok(());
        }
        self.length = None;
        // The whole range is asked for, not just its end: sled leaves holes where it rolls to a new segment.
        let wanted = length.next_multiple_of(SEGMENT_BYTES) + SEGMENT_BYTES;
        set_aside(&self.file, 0, wanted)?;
        self.length = Some(length);
        Ok(())
    }

    /// Waits until all that was written to the file is on the disk.
    ///
    /// Closes this fault: sled's `flush` is `sync_file_range` on Linux, which neither flushes the disk's cache nor writes
    /// the file's own metadata (spacejam/sled issue 1452); a loss of power took every acknowledged write.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(failed)
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

    /// Takes room for a snapshot of twice the size that the last one had.
    pub fn take(&self, last_snapshot_bytes: u64) -> io::Result<()> {
        let bytes = Self::MIN_BYTES.max(last_snapshot_bytes * 2);
        let file = File::create(&self.0)?;
        Ok(retry_on_intr(|| fallocate(&file, FallocateFlags::empty(), 0, bytes))?)
    }
}

/// Sets room aside for a range of a file, without making the file longer.
///
/// # Errors
/// [`Error::StorageFull`] where there is no room; nothing was changed and a later call may succeed.
pub fn set_aside(file: &File, from: u64, bytes: u64) -> Result<(), Error> {
    outcome_of(|| fallocate(file, FallocateFlags::KEEP_SIZE, from, bytes))
}

fn outcome_of(allocate: impl FnMut() -> rustix::io::Result<()>) -> Result<(), Error> {
    // A signal interrupts it, which is no failure: on a slow disk it takes long enough for that.
    match retry_on_intr(allocate) {
        // A file system without allocation (NFS, some FUSE) gives no such promise; a full disk then stops the server.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT) => Err(Error::StorageFull),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Whether it failed only for want of room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn failed(error: io::Error) -> Error {
    Error::Storage(error.to_string())
}

/// Makes names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_allocation_is_tried_again_and_a_full_disk_is_told_from_a_failure() {
        let mut answers = [Ok(()), Err(Errno::INTR), Err(Errno::INTR)].to_vec();
        assert_eq!(outcome_of(|| answers.pop().unwrap()), Ok(()));
        assert!(answers.is_empty());
        assert_eq!(outcome_of(|| Err(Errno::NOSPC)), Err(Error::StorageFull));
        assert_eq!(outcome_of(|| Err(Errno::OPNOTSUPP)), Ok(()));
        assert!(matches!(outcome_of(|| Err(Errno::IO)), Err(Error::Storage(_))));
    }
}
