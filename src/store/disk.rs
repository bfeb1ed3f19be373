//! What sled leaves undone on the disk: making a commit durable, and finding a full disk before sled does.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

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
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, wanted) {
            // A file system without allocation (NFS, some FUSE) gives no such promise; a full disk then stops the server.
            Ok(()) | Err(Errno::OPNOTSUPP) => {
                self.length = Some(length);
                Ok(())
            }
            Err(Errno::NOSPC | Errno::DQUOT) => Err(Error::StorageFull),
            Err(errno) => Err(failed(errno.into())),
        }
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
        Ok(fallocate(File::create(&self.0)?, FallocateFlags::empty(), 0, bytes)?)
    }
}

fn failed(error: io::Error) -> Error {
    Error::Storage(error.to_string())
}

/// Makes names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
