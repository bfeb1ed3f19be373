//! A set: the files of a backup, and those of the journal that follow.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::records::Records;
use super::target::listed;
use super::{BackupProblem, Manifest, base};
use crate::domain::{Epoch, EventId, Position, Timestamp};
use crate::store::{keys, record};

/// The file that whoever reads a set locks, so that the archive does not remove it meanwhile.
pub const LOCK: &str = "lock";

/// Whether a path is that of something that is being made.
pub fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "unfinished")
}

/// The name of a file of the journal in a set, by its first and last commit.
pub fn name_of_journal(first: u64, last: u64) -> String {
    format!("journal.{first:016}-{last:016}")
}

/// The first and last commit in such a name.
fn range_in(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_prefix("journal.")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Up to where a set is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Everything.
    Newest,
    /// The commit that has the event of this position, and what follows before the next event.
    Position(Position),
    /// The same of this event. After a restore there may be two events at a position, of two courses of commits.
    Event(EventId),
    /// The last commit that was made by this moment.
    Time(Timestamp),
}

impl Until {
    fn is_reached_by(self, manifest: &Manifest) -> bool {
        match self {
            Self::Newest => true,
            Self::Position(position) | Self::Event(EventId { position, .. }) => manifest.end.position <= position.get(),
            Self::Time(time) => manifest.taken_at <= time.as_millis(),
        }
    }
}

/// Puts sets in order, the oldest first. A clock that was wrong for a while puts none in a wrong place among those of its course of
/// commits, nor another course before the one that it follows.
pub fn sort<T>(sets: &mut [T], manifest: impl Fn(&T) -> &Manifest) {
    let mut began: HashMap<String, u64> = HashMap::new();
    for set in &*sets {
        let Manifest { lineage, taken_at, .. } = manifest(set);
        began.entry(lineage.clone()).and_modify(|first| *first = (*first).min(*taken_at)).or_insert(*taken_at);
    }
    sets.sort_by_key(|set| {
        let Manifest { lineage, end, .. } = manifest(set);
        (began.get(lineage).copied(), lineage.clone(), end.commit)
    });
}

/// A set on disk, which nobody removes while this exists.
pub struct BackupSet {
    path: PathBuf,
    /// What it is.
    pub manifest: Manifest,
    /// The files of the journal by their first and last commit, in order.
    journal: Vec<(u64, u64)>,
    _lock: Option<File>,
}

impl BackupSet {
    /// Opens a set, or the set of an archive with which one gets there: the newest one that does not go beyond.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn find(path: &Path, until: Until) -> Result<Self, BackupProblem> {
        if path.join(super::manifest::MANIFEST).exists() {
            return Self::open(path);
        }
        let failed = BackupProblem::of_file(path);
        let mut found: Vec<(Manifest, PathBuf)> = Vec::new();
        for entry in fs::read_dir(path).map_err(&failed)? {
            let set = entry.map_err(&failed)?.path();
            if is_unfinished(&set) {
                continue;
            }
            match Manifest::read(&set) {
                Ok(manifest) => found.push((manifest, set)),
                // What is being made, and what is not ours.
                Err(BackupProblem::Unfinished(_)) => {}
                Err(other) => return Err(other),
            }
        }
        let oldest = found.iter().map(|(manifest, _)| manifest).min_by_key(|manifest| manifest.taken_at).cloned();
        let oldest = oldest.ok_or_else(|| BackupProblem::Unfinished(path.to_owned()))?;
        found.retain(|(manifest, _)| until.is_reached_by(manifest));
        sort(&mut found, |(manifest, _)| manifest);
        let is_reached = !found.is_empty();
        while let Some((_, set)) = found.pop() {
            let set = Self::open(&set)?;
            match until {
                Until::Event(id) if !set.has_event(id)? => {}
                _ => return Ok(set),
            }
        }
        let why = match until {
            Until::Event(_) if is_reached => "no set has the event of this id".to_owned(),
            _ => {
                let taken_at = Timestamp::from_millis(oldest.taken_at).to_rfc_3339().unwrap_or_default();
                format!("the oldest set begins at position {:016}, and was taken at {taken_at}", oldest.end.position)
            }
        };
        Err(BackupProblem::OutOfReach(why))
    }

    /// Whether the position of an event was given out in its epoch: the course of commits has it, unless it ends before.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn has_event(&self, id: EventId) -> Result<bool, BackupProblem> {
        let (mut newest, (parts, journal)) = (None, self.files());
        let files =
            parts.iter().map(|part| (part, base::MAGIC)).chain(journal.iter().map(|file| (file, record::MAGIC)));
        for (file, magic) in files {
            let mut records = Records::open(file, magic)?;
            while let Some((_, body)) = records.next()? {
                record::read_body(body, &mut |key, value| {
                    let first =
                        keys::of_epoch(key).filter(|first| key.starts_with(keys::EPOCHS) && *first <= id.position);
                    let epoch = value.and_then(|value| value.try_into().ok()).map(u32::from_be_bytes);
                    newest = newest.max(first.zip(epoch));
                });
            }
        }
        Ok(newest.is_some_and(|(_, epoch)| Epoch::new(epoch) == id.epoch))
    }

    /// Opens a set.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn open(path: &Path) -> Result<Self, BackupProblem> {
        let failed = BackupProblem::of_file(path);
        // Before anything is locked that is no set, and again once nobody removes it.
        Manifest::read(path)?;
        // A backup of its own has no such file, and nobody removes it.
        let lock = File::open(path.join(LOCK)).ok();
        if let Some(lock) = &lock {
            lock.lock_shared().map_err(&failed)?;
        }
        let manifest = Manifest::read(path)?;
        let mut journal = Vec::new();
        for entry in fs::read_dir(path).map_err(&failed)? {
            journal.extend(entry.map_err(&failed)?.file_name().to_str().and_then(range_in));
        }
        journal.sort_unstable();
        let set = Self { path: path.to_owned(), manifest, journal, _lock: lock };
        set.check_order()?;
        Ok(set)
    }

    /// Checks that no commit is missing between two files.
    fn check_order(&self) -> Result<(), BackupProblem> {
        let mut last = self.manifest.base.commit;
        for (first, until) in &self.journal {
            if first.saturating_sub(1) > last {
                let why = format!("the commits {} to {} are missing", last.saturating_add(1), first - 1);
                return Err(BackupProblem::damaged(&self.path, &why));
            }
            last = last.max(*until);
        }
        if last < self.manifest.end.commit {
            return Err(BackupProblem::damaged(&self.path, &format!("the commits after {last} are missing")));
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last commit in it.
    pub fn last(&self) -> u64 {
        self.journal.iter().map(|(_, last)| *last).max().unwrap_or(0).max(self.manifest.end.commit)
    }

    /// The paths of the parts of the base, in order, and of the files of the journal.
    pub fn files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let is_part = |file: &&super::manifest::ListedFile| file.name.starts_with("base.");
        let parts =
            (0..self.manifest.files.iter().filter(is_part).count()).map(|part| self.path.join(base::name_of(part)));
        let journal = self.journal.iter().map(|(first, last)| self.path.join(name_of_journal(*first, *last)));
        (parts.collect(), journal.collect())
    }

    /// Checks that each listed file has the bytes that were written.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn check_files(&self) -> Result<(), BackupProblem> {
        for file in &self.manifest.files {
            let path = self.path.join(&file.name);
            // A name must not lead out of the set.
            let is_plain = Path::new(&file.name).components().count() == 1 && !file.name.contains('/');
            if !is_plain || !path.exists() {
                return Err(BackupProblem::damaged(&path, "it is missing"));
            }
            if listed(&path, &file.name)? != *file {
                return Err(BackupProblem::damaged(&path, "it differs from what was written"));
            }
        }
        Ok(())
    }
}
