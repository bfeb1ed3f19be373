//! A mark that tells a directory from a copy of it that was made while it was open.
//!
//! sled's files change in place, so those of such a copy are of different moments. It may open all the same, with wrong data. The file
//! `open` has the number of its own inode as long as the database is open. A copy of it has another inode, and the number of the first.
//! After a crash the file has its own number still, also on a snapshot of the whole file system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file.
const NAME: &str = "open";

/// The lock and the mark of an open database. Dropping it takes both away.
pub struct OpenMark {
    path: PathBuf,
    _lock: File,
}

impl OpenMark {
    /// Sets the mark; `None` if the directory is such a copy. The lock is held by the caller.
    pub fn set(database: &Path, lock: File) -> io::Result<Option<Self>> {
        let path = database.join(NAME);
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        let own = file.metadata()?.ino();
        let text = fs::read_to_string(&path)?;
        match text.trim().parse::<u64>() {
            Ok(inode) if inode != own => return Ok(None),
            Ok(_) => {}
            // It is new, or was cut off by a loss of power, after which nobody has copied an open database.
            Err(_) => {
                file.set_len(0)?;
                // On a full disk the database opens all the same.
                let _ = file.write_all(format!("{own}\n").as_bytes()).and_then(|()| file.sync_all());
            }
        }
        Ok(Some(Self { path, _lock: lock }))
    }
}

impl Drop for OpenMark {
    fn drop(&mut self) {
        // If it stays, a copy is refused that would be good, with a message that says how to go on.
        let _ = fs::remove_file(&self.path);
    }
}
