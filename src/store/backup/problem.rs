use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::store::OpenError;

/// Why a backup cannot be made, read or restored.
#[derive(Debug)]
pub enum BackupProblem {
    /// The server could not do its part.
    Server(Error),
    /// A file or a stream failed.
    File(String, io::Error),
    /// The server says that it could not make the backup.
    Sender(String),
    /// It is no backup, or one that is not finished.
    Unfinished(PathBuf),
    /// A file is missing, or differs from what was written.
    Damaged(String),
    /// A newer Broker made it.
    TooNew(String),
    /// It does not reach back, or forward, so far.
    OutOfReach(String),
    /// There is something already at the place where something new would go.
    Exists(PathBuf),
    /// A database cannot be put there, since a file system is mounted there.
    MountPoint(PathBuf),
    /// The restored database cannot be opened.
    Opening(OpenError),
}

impl BackupProblem {
    /// The problem of a file.
    pub fn of_file(path: &Path) -> impl Fn(io::Error) -> Self {
        let name = path.display().to_string();
        move |error| Self::File(name.clone(), error)
    }

    /// Whether it is so whenever one looks: something is gone, or is not as it was written.
    pub fn stays(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Unfinished(_) | Self::TooNew(_) => true,
            Self::File(_, why) => matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof),
            _ => false,
        }
    }

    /// A file that is not as it was written.
    pub fn damaged(path: &Path, why: &str) -> Self {
        Self::Damaged(format!("{}: {why}", path.display()))
    }
}

impl From<Error> for BackupProblem {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

impl fmt::Display for BackupProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(Error::StorageFull) => {
                f.write_str("the disk has too little room to keep the journal meanwhile")
            }
            Self::Server(error) => write!(f, "{error}"),
            Self::Sender(why) => write!(f, "the server could not make the backup: {why}"),
            Self::File(name, why) => write!(f, "{name}: {why}"),
            Self::Unfinished(path) => {
                write!(f, "{} is no backup, or one that was not finished: it has no manifest.json", path.display())
            }
            Self::Damaged(why) => write!(f, "the backup is damaged: {why}"),
            Self::TooNew(what) => write!(f, "a newer Broker made the backup ({what}); use that one"),
            Self::OutOfReach(why) => f.write_str(why),
            Self::Exists(path) => {
                write!(f, "{} exists: move it away first, since nothing is written over", path.display())
            }
            Self::MountPoint(path) => write!(
                f,
                "a file system is mounted at {0}, which nothing can be renamed to: restore to {0}/db, and start Broker with that",
                path.display()
            ),
            Self::Opening(why) => write!(f, "the restored database cannot be opened: {why}"),
        }
    }
}

impl std::error::Error for BackupProblem {}
