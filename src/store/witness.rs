//! A witness beside the database of how much was committed to it.
//!
//! Closes this fault: where sled finds a damaged or shortened log it takes the damage for the end, and opens without all
//! that came after, an empty database even, as if nothing were missing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A small file, `committed`, that holds the number of the last commit. It is written after the commit is on disk, and
/// synced only once: it may say too little after a loss of power, but never too much.
///
/// An operator who would rather go on with what is left than restore a backup removes it. Positions that clients have seen are
/// given again then, and their ids told apart by the epoch, as after a restore.
pub struct Witness {
    file: File,
    synced: bool,
}

impl Witness {
    /// Opens it, or makes one that has seen nothing.
    pub fn open(database: &Path) -> io::Result<Self> {
        let path = database.join("committed");
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        Ok(Self { file, synced: false })
    }

    /// The number of the last commit that it knows of; none where it is new or cannot be read.
    pub fn last_commit(&self) -> io::Result<u64> {
        let mut text = [0; 20];
        match self.file.read_exact_at(&mut text, 0) {
            Ok(()) => Ok(std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Notes a commit that is on disk.
    pub fn note(&mut self, commit: u64) {
        // Where it fails the witness says too little, which is allowed. The first time it is synced, so that a witness
        // that has seen nothing is a removed one.
        let noted = self.file.write_all_at(format!("{commit:020}\n").as_bytes(), 0);
        if noted.is_ok() && !self.synced {
            self.synced = self.file.sync_data().is_ok();
        }
    }
}
