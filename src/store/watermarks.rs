//! Watermarks: small files beside the database, each with the number of a commit. They tell what a damaged database
//! cannot tell about itself.
//!
//! Closes this fault: if sled finds a damaged or shortened log, it takes the damage for the end. It opens without all
//! later data, even as an empty database, as if nothing were missing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Directory, is_full, refusal, synced};
use crate::error::Error;

/// A file with the number of a commit: twenty digits and a line break, which one write replaces as a whole.
struct NumberFile(File);

impl NumberFile {
    /// Opens the file, or creates an empty one.
    fn open(path: &Path) -> io::Result<Self> {
        File::options().create(true).truncate(false).read(true).write(true).open(path).map(Self)
    }

    /// The number; `Some(None)` if the file has other content, and `None` if it is new. A file of zeros is new, too:
    /// after a loss of power, some file systems have the length of unsynced data, but not its bytes.
    fn read(&self) -> io::Result<Option<Option<u64>>> {
        let mut text = [0; 20];
        match self.0.read_exact_at(&mut text, 0) {
            Ok(()) if text == [0; 20] => Ok(None),
            Ok(()) => Ok(Some(std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, number: u64) -> io::Result<()> {
        self.0.write_all_at(format!("{number:020}\n").as_bytes(), 0)
    }
}

/// The commit watermark: the file `committed`, with the number of the last commit. It is written after the commit is on
/// disk, and synced only once. So it may be too low after a loss of power, but never too high.
///
/// An operator may remove it, to go on with the data that is left instead of restoring a backup. Then positions that
/// clients have seen are given out again. The epoch tells their ids apart, as after a restore.
pub struct CommitWatermark {
    file: NumberFile,
    synced: bool,
}

impl CommitWatermark {
    /// Opens it, or creates an empty one.
    pub fn open(database: &Path) -> io::Result<Self> {
        Ok(Self { file: NumberFile::open(&database.join("committed"))?, synced: false })
    }

    /// The number of the last commit that it knows; 0 if the file is new or cannot be read.
    pub fn last_commit(&self) -> io::Result<u64> {
        Ok(self.file.read()?.flatten().unwrap_or(0))
    }

    /// Notes a commit that is on disk.
    pub fn note(&mut self, commit: u64) {
        // If the write fails, the watermark is too low, which is allowed. The first write is synced, so that an empty
        // file means that it was removed.
        let noted = self.file.write(commit);
        if noted.is_ok() && !self.synced {
            self.synced = self.file.0.sync_data().is_ok();
        }
    }
}

/// The name of the file.
const CHECKPOINT_FILE: &str = "checkpoint";

/// How far sled may have come: the file `checkpoint`, with the number of the last commit of the checkpoint that began
/// last. It is on disk before sled gets the first row.
///
/// Closes this fault: until a checkpoint is finished, the journal hides the part of it that sled has. If the journal is
/// damaged before that commit, sled may hold half of it: names without their events, and wrong counts. Such a database
/// is not opened, whatever loss the operator would accept.
pub struct CheckpointWatermark {
    directory: Arc<Directory>,
    /// `None` if there was no room for it.
    file: Option<NumberFile>,
}

impl CheckpointWatermark {
    /// Opens it, or creates it, so that the first checkpoint needs no descriptor. On a full disk it is created later.
    /// Its name is durable after the directory is synced.
    pub fn open(directory: Arc<Directory>) -> io::Result<Self> {
        let file = match NumberFile::open(&directory.path().join(CHECKPOINT_FILE)) {
            Ok(file) => Some(file),
            Err(error) if is_full(&error) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { directory, file })
    }

    /// The commit up to which a checkpoint was begun; `None` if it cannot be read.
    pub fn begun(&self) -> io::Result<Option<u64>> {
        Ok(self.file.as_ref().map(NumberFile::read).transpose()?.flatten().unwrap_or(Some(0)))
    }

    /// Notes that a checkpoint up to a commit begins, and waits until that is on disk.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::Overloaded`]: a later call may succeed. [`Error::Storage`].
    pub fn begin(&mut self, commit: u64) -> Result<(), Error> {
        let failed = |error: io::Error| match error {
            error if is_full(&error) => Error::StorageFull,
            error => Error::Storage(format!("the file {CHECKPOINT_FILE}: {error}")),
        };
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let made = NumberFile::open(&self.directory.path().join(CHECKPOINT_FILE));
                let file = made.map_err(|error| refusal(error, CHECKPOINT_FILE))?;
                self.directory.sync().map_err(failed)?;
                file
            }
        };
        let written = file.write(commit).and_then(|()| synced(&file.0, file.0.sync_all()));
        self.file = Some(file);
        written.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_not_synced_before_a_loss_of_power_counts_as_new() {
        let directory = tempfile::tempdir().unwrap();
        let watermark = || CheckpointWatermark::open(Arc::new(Directory::open(directory.path()).unwrap())).unwrap();
        let begun = || watermark().begun().unwrap();
        for unfinished in [b"".as_slice(), &[0; 21]] {
            std::fs::write(directory.path().join(CHECKPOINT_FILE), unfinished).unwrap();
            assert_eq!(begun(), Some(0), "{} bytes", unfinished.len());
            watermark().begin(7).unwrap();
            assert_eq!(begun(), Some(7));
        }
        std::fs::write(directory.path().join(CHECKPOINT_FILE), "seven and twenty, or so\n").unwrap();
        assert_eq!(begun(), None);
    }
}
