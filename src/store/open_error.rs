//! Why a database cannot be opened, and what to do about it.

use std::io;
use std::path::PathBuf;

/// The version of the layout that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 5;

/// Why a database cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The directory cannot be created, read or written.
    Directory(PathBuf, io::Error),
    /// Another process uses it.
    InUse(PathBuf),
    /// It is a copy that was made while a Broker had the original open, so that its files are of different moments.
    Copied(PathBuf),
    /// It is a backup, or an archive of backups.
    Backup(PathBuf),
    /// Another program wrote it, or an older Broker.
    Foreign(PathBuf),
    /// The files differ from the bytes that were written.
    Damaged(PathBuf, String),
    /// Committed changes are missing: it holds the first number of commits, and the second number was made.
    Lost(PathBuf, u64, u64),
    /// A checkpoint was begun up to the second commit, and the readable data ends at the first one. So sled may hold
    /// half of it.
    HalfMade(PathBuf, u64, u64),
    /// A newer Broker wrote it.
    TooNew(PathBuf, u32),
    /// The disk is full.
    Full(PathBuf),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path, why) => write!(f, "cannot use the database directory {}: {why}", path.display()),
            Self::InUse(path) => {
                write!(f, "the database in {} is in use by another process; stop that one first", path.display())
            }
            Self::Copied(path) => write!(
                f,
                "the database in {0} was copied while Broker was running, so its files do not fit together; use `broker backup` and \
                 `broker restore`, or copy it again after Broker has stopped (if it was copied after a crash, while nothing had it \
                 open, remove {0}/open)",
                path.display()
            ),
            Self::Backup(path) => {
                write!(f, "{} is a backup, and no database: restore it with `broker restore`", path.display())
            }
            Self::Foreign(path) => write!(
                f,
                "the database in {} was not made by this Broker (Broker 15's cannot be read), or its file conf is damaged; \
                 use another directory, or restore a backup",
                path.display()
            ),
            Self::Damaged(path, why) => {
                write!(f, "the database in {} is damaged ({why}); put it aside and restore a backup", path.display())
            }
            Self::Lost(path, held, made) => write!(
                f,
                "the database in {0} is damaged: it holds {held} of the {made} commits that were made; put it aside and \
                 restore a backup, or remove {0}/committed to go on with what is left",
                path.display()
            ),
            Self::HalfMade(path, held, begun) => write!(
                f,
                "the database in {} is damaged: commits {} to {begun} were being moved and cannot be read any more, so what is \
                 left contradicts itself; put it aside and restore a backup",
                path.display(),
                held + 1
            ),
            Self::TooNew(path, format) => write!(
                f,
                "the database in {} has format {format}, this program knows formats up to {FORMAT}; use a newer Broker",
                path.display()
            ),
            Self::Full(path) => write!(f, "there is no room on the disk of the database directory {}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}
