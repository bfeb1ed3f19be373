//! How large the database is. Files are asked for their length; nothing is read.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;

use super::database::Store;
use crate::error::Error;

/// The sizes of the database, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The data: everything but the next three.
    pub data: u64,
    /// The files of the journal.
    pub journal: u64,
    /// Those that were closed and are kept for backups. Until the next checkpoint, some of them are files of the journal too.
    pub kept: u64,
    /// The reserve for a start on a full disk.
    pub reserve: u64,
    /// What a user of the system may still write to the disk.
    pub free: u64,
    /// Whether the last change or checkpoint found no room.
    pub is_full: bool,
}

impl Store {
    /// How large the database is. It asks the file system: call it on a thread that may wait.
    ///
    /// # Errors
    /// [`Error::Storage`] if the directory cannot be read.
    pub fn figures(&self) -> Result<Figures, Error> {
        let failed = |error: std::io::Error| Error::Storage(format!("the sizes of the database: {error}"));
        let mut figures = sizes(self.path()).map_err(failed)?;
        let disk = statvfs(self.path()).map_err(|errno| failed(errno.into()))?;
        figures.free = disk.f_bavail.saturating_mul(disk.f_frsize);
        figures.is_full = self.full_disk.is_found();
        Ok(figures)
    }
}

fn sizes(directory: &Path) -> std::io::Result<Figures> {
    let mut figures = Figures::default();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // A checkpoint may remove a file meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        let name = entry.file_name();
        if metadata.is_dir() {
            let inner = sizes(&entry.path()).unwrap_or_default();
            figures.data += inner.data;
            figures.kept += inner.journal;
        } else if name.as_encoded_bytes().starts_with(b"journal.") {
            figures.journal += metadata.len();
        } else if name == "reserve" {
            figures.reserve += metadata.len();
        } else {
            figures.data += metadata.len();
        }
    }
    Ok(figures)
}
