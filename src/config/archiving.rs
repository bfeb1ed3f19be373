//! The flags of the archive.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, value_parser};

/// Flags of the archive.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct ArchiveFlags {
    /// Directory for continuous backups, best on another disk [default: none are made].
    #[arg(long, env = "BROKER_ARCHIVE")]
    pub archive: Option<PathBuf>,
    /// Seconds after which new changes are archived at the latest, from 1 to 86400 (a day).
    #[arg(long, env = "BROKER_ARCHIVE_EVERY", default_value = "60", value_parser = value_parser!(u64).range(1..=86_400).map(Duration::from_secs))]
    pub archive_every: Duration,
    /// Seconds after which the archive begins a new set with a whole backup, from 1 to 31536000 (a year).
    #[arg(long, env = "BROKER_ARCHIVE_SET_EVERY", default_value = "86400", value_parser = value_parser!(u64).range(1..=31_536_000).map(Duration::from_secs))]
    pub archive_set_every: Duration,
    /// Seconds back to which the archive can restore; older sets are removed.
    #[arg(long, env = "BROKER_ARCHIVE_KEEP", default_value = "604800", value_parser = value_parser!(u64).range(..=3_153_600_000).map(Duration::from_secs))]
    pub archive_keep: Duration,
}

/// Settings of the archive.
#[derive(Clone, Debug)]
pub struct Archiving {
    /// The directory.
    pub archive: PathBuf,
    /// After how long new changes are archived at the latest.
    pub archive_every: Duration,
    /// After how long a new set is begun.
    pub archive_set_every: Duration,
    /// How far back the archive can restore.
    pub archive_keep: Duration,
}

impl From<ArchiveFlags> for Option<Archiving> {
    fn from(flags: ArchiveFlags) -> Self {
        let ArchiveFlags { archive, archive_every, archive_set_every, archive_keep } = flags;
        archive.map(|archive| Archiving { archive, archive_every, archive_set_every, archive_keep })
    }
}
