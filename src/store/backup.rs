//! Backups of a database while it runs, without holding anybody up.
//!
//! sled's files change in place and at any time, so they are never copied. But each record of the journal has whole values and the
//! number of its commit, so that it may be applied twice. A backup is therefore
//! 1. all rows of sled, scanned at leisure after a checkpoint (`base`): it is fuzzy, since commits go on;
//! 2. every file of the journal that was closed between that checkpoint and the end of the scan. Over the base, they give the database
//!    as it was after their last commit, exactly;
//! 3. a manifest, which comes last: without one it is no backup.
//!
//! Further files of the journal may follow (`archive`): then each of their commits can be restored. Such files together are a *set*.

mod archive;
mod base;
mod manifest;
mod pace;
mod problem;
mod records;
mod restore;
mod set;
mod take;
mod target;

pub use archive::Archive;
pub use manifest::{Manifest, Reached};
pub use problem::BackupProblem;
pub use restore::{Restored, restore, verify};
pub use set::{BackupSet, Until};
pub use take::take;
#[cfg(test)]
pub use target::InDirectory;
pub use target::{FAILED, Tar, Target, unpack};
