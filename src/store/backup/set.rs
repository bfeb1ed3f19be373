//! A set: the files of a backup, and those of the journal that follow.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::records::{Entry, Records};
use super::target::listed;
use super::{BackupProblem, Manifest, base};
use crate::domain::{Epoch, EventId, Position, Timestamp};
use crate::store::set_names::{LOCK, MANIFEST, begun_at, is_named, name_of_journal, range_in};
use crate::store::{keys, record};

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
            Self::Time(time) => manifest.end_at <= time.as_millis(),
        }
    }

    /// Checks that a set can be restored up to this: it was fuzzy before its end.
    pub(super) fn check(self, manifest: &Manifest) -> Result<(), BackupProblem> {
        if self.is_reached_by(manifest) {
            return Ok(());
        }
        let since = Timestamp::from_millis(manifest.end_at).to_rfc_3339().unwrap_or_default();
        let begins = manifest.end.position;
        let why = format!("the backup can be restored from position {begins:016} on, and from the moment {since} on");
        Err(BackupProblem::OutOfReach(why))
    }
}

/// Puts sets in order, the oldest first. A clock that was wrong for a while puts none in a wrong place among those of its course of
/// commits, nor another course before the one that it follows. Of several that end with the same commit, the one that went on is the last.
pub fn sort<T>(sets: &mut [T], of: impl Fn(&T) -> (&Manifest, &Path)) {
    let mut began: HashMap<String, u64> = HashMap::new();
    for set in &*sets {
        let Manifest { lineage, taken_at, .. } = of(set).0;
        began.entry(lineage.clone()).and_modify(|first| *first = (*first).min(*taken_at)).or_insert(*taken_at);
    }
    sets.sort_by_cached_key(|set| {
        let (Manifest { lineage, taken_at, end, .. }, path) = of(set);
        let last = journal_in(path).ok().and_then(|journal| journal.iter().map(|(_, last)| *last).max());
        (began.get(lineage).copied(), lineage.clone(), end.commit, last, *taken_at, path.to_owned())
    });
}

/// The files of the journal in a set, by their first and last commit.
fn journal_in(set: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut journal = Vec::new();
    for entry in fs::read_dir(set)? {
        journal.extend(entry?.file_name().to_str().and_then(range_in));
    }
    journal.sort_unstable();
    Ok(journal)
}

/// A set on disk, which nobody removes while this exists.
pub struct BackupSet {
    path: PathBuf,
    /// What it is.
    pub manifest: Manifest,
    /// The files of the journal by their first and last commit, in order.
    journal: Vec<(u64, u64)>,
    /// The commits between it and the next one of the same course, if there are any.
    pub(super) lacks: Option<(u64, u64)>,
    _lock: Option<File>,
}

impl BackupSet {
    /// The sets of an archive, or the one set.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn all(path: &Path) -> Result<Vec<PathBuf>, BackupProblem> {
        let failed = BackupProblem::of_file(path);
        let mut all = Vec::new();
        if !path.join(MANIFEST).exists() {
            for entry in fs::read_dir(path).map_err(&failed)? {
                all.push(entry.map_err(&failed)?.path());
            }
            all.retain(|set| is_named(set));
            all.sort();
        }
        Ok(if all.is_empty() { vec![path.to_owned()] } else { all })
    }

    /// Opens a set, or the set of an archive with which one gets there: the newest one that does not go beyond.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn find(path: &Path, until: Until) -> Result<Self, BackupProblem> {
        if path.join(MANIFEST).exists() {
            return Self::open(path);
        }
        let failed = BackupProblem::of_file(path);
        let (mut found, mut bare): (Vec<(Manifest, PathBuf)>, Vec<PathBuf>) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(path).map_err(&failed)? {
            let set = entry.map_err(&failed)?.path();
            // Nothing else belongs there.
            if !is_named(&set) {
                continue;
            }
            match Manifest::read(&set) {
                Ok(manifest) => found.push((manifest, set)),
                // The rest of one that was removed, one that was copied in part, or what is not ours.
                Err(BackupProblem::Unfinished(_)) => bare.push(set),
                Err(other) => return Err(other),
            }
        }
        let oldest = found.iter().map(|(manifest, _)| manifest).min_by_key(|manifest| manifest.end_at).cloned();
        let oldest = oldest.ok_or_else(|| BackupProblem::Unfinished(path.to_owned()))?;
        sort(&mut found, |(manifest, set)| (manifest, set));
        let all: Vec<_> = found.iter().map(|(manifest, _)| (manifest.lineage.clone(), manifest.end.commit)).collect();
        found.retain(|(manifest, _)| until.is_reached_by(manifest));
        // Not an older state in place of the newest, without a word.
        let newer = found.last().and_then(|(_, newest)| bare.iter().find(|bare| *bare > newest));
        let would_do = |set: &&PathBuf| match until {
            Until::Newest => true,
            Until::Time(time) => begun_at(set).is_some_and(|begun_at| begun_at <= time.as_millis()),
            Until::Position(_) | Until::Event(_) => false,
        };
        if let Some(newer) = newer.filter(would_do) {
            return Err(BackupProblem::Unfinished(newer.clone()));
        }
        let is_reached = !found.is_empty();
        while let Some((_, set)) = found.pop() {
            let mut set = Self::open(&set)?;
            let (lineage, end, last) = (&set.manifest.lineage, set.manifest.end.commit, set.last());
            let next = all.iter().filter(|(of, next)| of == lineage && *next > end).map(|(_, next)| *next).min();
            set.lacks = next.filter(|next| *next > last).map(|next| (last + 1, next));
            match until {
                Until::Event(id) if !set.has_event(id)? => {}
                _ => return Ok(set),
            }
        }
        if !is_reached {
            until.check(&oldest)?;
        }
        Err(BackupProblem::OutOfReach("no set has the event of this id".to_owned()))
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
            while let Some(Entry { rows, .. }) = records.next()? {
                record::read_body(rows, &mut |key, value| {
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
        let journal = journal_in(path).map_err(&failed)?;
        let set = Self { path: path.to_owned(), manifest, journal, lacks: None, _lock: lock };
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
