use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BackupProblem;
use crate::domain::{Position, Timestamp};
use crate::store::lineage::Lineage;
use crate::store::open_error::FORMAT;
use crate::store::progress::Progress;
use crate::store::set_names::MANIFEST;

/// The version of the layout of a set.
const LAYOUT: u32 = 1;

/// How far something reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The number of the last commit.
    pub commit: u64,
    /// The position of the last event.
    pub position: u64,
}

impl From<Progress> for Reached {
    fn from(progress: Progress) -> Self {
        Self { commit: progress.commits, position: progress.head.get() }
    }
}

impl From<Reached> for Progress {
    fn from(reached: Reached) -> Self {
        Self { head: Position::new(reached.position), commits: reached.commit }
    }
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// What a backup consists of: `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this layout.
    layout: u32,
    /// The version of the Broker that made it.
    pub version: String,
    /// The format of the database.
    pub format: u32,
    /// The course of commits.
    pub lineage: String,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub taken_at: u64,
    /// The base has every commit up to here, and may have some of later ones.
    pub base: Reached,
    /// With the journal up to here, it is the database as it was.
    pub end: Reached,
    /// By when every commit up to the end had been made, in milliseconds since the Unix epoch.
    pub end_at: u64,
    /// The epochs that were given out by then.
    pub epochs: Vec<u32>,
    /// The files.
    pub files: Vec<ListedFile>,
}

impl Manifest {
    /// The manifest of a backup of this Broker, without files.
    pub fn of(lineage: Lineage, taken_at: Timestamp, base: Progress, epochs: Vec<u32>) -> Self {
        Self {
            layout: LAYOUT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            format: FORMAT,
            lineage: lineage.to_string(),
            taken_at: taken_at.as_millis(),
            base: base.into(),
            end: base.into(),
            end_at: taken_at.as_millis(),
            epochs,
            files: Vec::new(),
        }
    }

    /// Reads the manifest of a set.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn read(set: &Path) -> Result<Self, BackupProblem> {
        let path = set.join(MANIFEST);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BackupProblem::Unfinished(set.to_owned()),
            _ => BackupProblem::of_file(&path)(error),
        })?;
        Self::of_text(&path, &text)
    }

    /// Reads the text of a manifest, which is or will be at a path.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn of_text(path: &Path, text: &[u8]) -> Result<Self, BackupProblem> {
        Self::parse(text).map_err(|why| BackupProblem::damaged(path, &why))?
    }

    /// Reads a manifest. What is newer than this Broker is a problem of its own.
    fn parse(text: &[u8]) -> Result<Result<Self, BackupProblem>, String> {
        #[derive(Deserialize)]
        struct Versions {
            layout: u32,
            version: String,
            format: u32,
        }
        let Versions { layout, version, format } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if layout > LAYOUT || format > FORMAT {
            return Ok(Err(BackupProblem::TooNew(format!("Broker {version}, format {format}"))));
        }
        serde_json::from_slice(text).map(Ok).map_err(|error| error.to_string())
    }

    /// The text of the file.
    pub fn text(&self) -> Vec<u8> {
        // Numbers and strings can be written as JSON.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}
