//! The archive: sets into which the server puts each file of its journal, so that every commit can be restored.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::records::range_of;
use super::set::{BackupSet, sort};
use super::take::take;
use super::target::{InDirectory, sync_parent, write_file};
use super::{BackupProblem, Manifest};
use crate::domain::Timestamp;
use crate::error::Error;
use crate::store::Store;
use crate::store::disk::Directory;
use crate::store::keeping::{Hold, Serving};
use crate::store::lineage::Lineage;
use crate::store::set_names::{LOCK, is_named, is_unfinished, name_of_journal};

/// How long the writer may take to begin a new file.
const WRITER_WITHIN: Duration = Duration::from_secs(60);

/// The archive of a server, which alone writes to it.
pub struct Archive {
    root: PathBuf,
    hold: Hold,
    /// The set that grows: where it is, and its last commit.
    growing: Option<(PathBuf, u64)>,
    /// When a set could not be made, if that was the last try.
    failed_at: Option<Instant>,
    /// The end of the lock is the end of this.
    _lock: File,
}

impl Archive {
    /// Opens an archive, before the first commit of a start. Goes on with its newest set, if that is of this database and lacks none of
    /// its commits.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn open(root: &Path, store: &Store, lineage: Option<Lineage>) -> Result<Self, BackupProblem> {
        let failed = BackupProblem::of_file(root);
        fs::create_dir_all(root).and_then(|()| sync_parent(root)).map_err(&failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join(LOCK)).map_err(&failed)?;
        lock.try_lock().map_err(|error| failed(io::Error::other(format!("another server uses it ({error})"))))?;
        remove_unfinished(root)?;
        let hold = store.keeping.hold_all().map_err(BackupProblem::of_file(store.path()))?;
        let mut archive = Self { root: root.to_owned(), hold, growing: None, failed_at: None, _lock: lock };
        let sets = archive.sets()?;
        let is_ours = |set: &BackupSet| lineage.is_some_and(|lineage| set.manifest.lineage == lineage.to_string());
        let newest = sets.iter().rposition(is_ours);
        let is_behind = newest.is_some_and(|newest| newest + 1 < sets.len());
        let newest = newest.and_then(|newest| sets.get(newest)).map(|set| (set.path().to_owned(), set.last()));
        drop(sets);
        let (there, archived) = (store.opened_at(), newest.as_ref().map_or(0, |(_, last)| *last));
        if newest.is_none() && lineage.is_some() {
            tracing::warn!(archive = %root.display(), "the archive has no set of this database: a new one is begun");
        }
        if archived > there {
            tracing::error!(
                "the archive goes to commit {archived}, and the database only to {there}: a new set is begun"
            );
        }
        if is_behind {
            tracing::warn!("the archive has newer sets, of a database that was restored: a new set is begun");
        }
        if archived > there || is_behind {
            // What goes on from here is the newest, and so has a course of its own.
            store.begins_a_course();
            return Ok(archive);
        }
        archive.growing = newest;
        Ok(archive)
    }

    /// The finished sets, the oldest first.
    fn sets(&self) -> Result<Vec<BackupSet>, BackupProblem> {
        let failed = BackupProblem::of_file(&self.root);
        let mut sets = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            match is_named(&path).then(|| BackupSet::open(&path)) {
                Some(Ok(set)) => sets.push(set),
                Some(Err(BackupProblem::Unfinished(_))) | None => {}
                // A set that cannot be read is none to go on with, and its operator should look at it.
                Some(Err(why)) => tracing::error!(%why, set = %path.display(), "a set of the archive cannot be used"),
            }
        }
        sort(&mut sets, |set| (&set.manifest, set.path()));
        Ok(sets)
    }

    /// Whether a new set must be begun before anything can be archived.
    pub fn needs_set(&self) -> bool {
        self.growing.is_none()
    }

    /// When the set that grows was begun, in milliseconds since the Unix epoch; `None` if another one must be begun.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn newest_since(&mut self) -> Result<Option<u64>, BackupProblem> {
        Ok(self.look_at_growing()?.map(|manifest| manifest.taken_at))
    }

    /// The set that grows, as it is on the disk. If it is gone, or nobody could restore it, there is none. A disk that is gone is an error,
    /// which may pass.
    fn look_at_growing(&mut self) -> Result<Option<Manifest>, BackupProblem> {
        let Some((set, _)) = &self.growing else { return Ok(None) };
        match Manifest::read(set) {
            Err(why) if why.stays() && self.root.join(LOCK).exists() => {
                tracing::error!(%why, "the set that grows cannot be used any more: a new set is begun");
                self.growing = None;
                Ok(None)
            }
            manifest => manifest.map(Some),
        }
    }

    /// Whether nothing was committed since the set that grows was whole: another one would be the same.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn is_all_in_its_base(&mut self) -> Result<bool, BackupProblem> {
        let manifest = self.look_at_growing()?;
        Ok(manifest.zip(self.growing.as_ref()).is_some_and(|(manifest, (_, last))| manifest.end.commit == *last))
    }

    /// Whether a set could not be made in the last so much time.
    pub fn has_failed_within(&self, time: Duration) -> bool {
        self.failed_at.is_some_and(|at| at.elapsed() < time)
    }

    /// Begins a new set, by a backup of everything. What is closed meanwhile is still added to the set before it.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn begin_set(
        &mut self,
        store: &Store,
        lineage: Lineage,
        now: Timestamp,
        server: &dyn Serving,
    ) -> Result<Manifest, BackupProblem> {
        if self.hold.has_given_up() {
            self.growing = None;
        }
        if self.growing.is_none() {
            // What was closed before the new set has nowhere to go. Or the disk was nearly full, and has room again.
            self.hold = store.keeping.hold_on();
        }
        let name = format!("{:016}-{:08x}", now.as_millis(), u32::from_be_bytes(crate::random::bytes()));
        let (set, unfinished) = (self.root.join(&name), self.root.join(format!("{name}.unfinished")));
        let made = self.make_set(&unfinished, &set, |target| take(store, lineage, now, target, server));
        self.failed_at = made.is_err().then(Instant::now);
        made.inspect_err(|_| {
            drop(fs::remove_dir_all(&unfinished));
            if self.growing.is_none() {
                // There is nothing that it could be added to.
                self.hold.release_before(u64::MAX);
            }
        })
    }

    fn make_set(
        &mut self,
        unfinished: &Path,
        set: &Path,
        take: impl FnOnce(&mut InDirectory) -> Result<Manifest, BackupProblem>,
    ) -> Result<Manifest, BackupProblem> {
        let manifest = take(&mut InDirectory::create(unfinished)?)?;
        write_file(&unfinished.join(LOCK), &mut io::empty())?;
        // What the new set already has goes to the one before, so that no commit lies between them.
        self.add_closed(Some(manifest.end.commit))?;
        fs::rename(unfinished, set).map_err(BackupProblem::of_file(set))?;
        // At once: it is the one that a restore finds.
        self.growing = Some((set.to_owned(), manifest.end.commit));
        self.sync_root()?;
        Ok(manifest)
    }

    /// Has the writer close its file, and archives every file that is closed.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn catch_up(&mut self, server: &dyn Serving) -> Result<(), BackupProblem> {
        if !self.hold.has_given_up() {
            let closed = self.hold.close_file(WRITER_WITHIN, server);
            // In any case: it makes room.
            self.add_closed(None)?;
            closed?;
        }
        if self.hold.has_given_up() {
            self.growing = None;
            return Err(Error::StorageFull.into());
        }
        Ok(())
    }

    /// Archives closed files, all or those up to a commit, and gives them back.
    fn add_closed(&mut self, up_to: Option<u64>) -> Result<(), BackupProblem> {
        for (number, path) in self.hold.files() {
            let range = match range_of(&path) {
                // What passes is tried again.
                Err(why) if why.stays() => {
                    tracing::error!(%why, "a file of the journal cannot be archived: a new set is begun");
                    self.growing = None;
                    None
                }
                range => range?,
            };
            if let Some((first, last)) = range {
                if up_to.is_some_and(|up_to| last.commits > up_to) {
                    return Ok(());
                }
                self.add(&path, first, last.commits)?;
            }
            self.hold.release_before(number + 1);
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, first: u64, last: u64) -> Result<(), BackupProblem> {
        self.look_at_growing()?;
        let Some((set, archived)) = &mut self.growing else { return Ok(()) };
        if last <= *archived {
            return Ok(());
        }
        if first > *archived + 1 {
            tracing::error!(
                set = %set.display(),
                "the archive lacks the commits {} to {}: a new set is begun",
                *archived + 1,
                first - 1
            );
            self.growing = None;
            return Ok(());
        }
        let to = set.join(name_of_journal(first, last));
        // On one file system it is the same file, which takes no room twice.
        match fs::hard_link(path, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => {
                let mut file = File::open(path).map_err(BackupProblem::of_file(path))?;
                write_file(&to, &mut file)?;
            }
        }
        let synced = Directory::open(set).and_then(|set| set.sync());
        synced.map_err(BackupProblem::of_file(set))?;
        *archived = last;
        Ok(())
    }

    fn sync_root(&self) -> Result<(), BackupProblem> {
        Directory::open(&self.root).and_then(|root| root.sync()).map_err(BackupProblem::of_file(&self.root))
    }

    /// Removes sets that are needed for no moment in the last `keep`, unless they are being read. The newest one stays.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn forget(&self, keep: Duration, now: Timestamp) -> Result<(), BackupProblem> {
        remove_unfinished(&self.root)?;
        let since: Vec<_> = self.sets()?.iter().map(|set| (set.path().to_owned(), set.manifest.end_at)).collect();
        let oldest = now.as_millis().saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        for (set, next) in since.iter().zip(since.iter().skip(1)) {
            // Until the next one was whole, this one is what restores. A clock that was ahead is no reason to keep those before it.
            if next.1 > oldest {
                continue;
            }
            if self.growing.as_ref().is_some_and(|(growing, _)| *growing == set.0) {
                continue;
            }
            // For writing too: on NFS, such a lock needs it.
            let Ok(lock) = File::options().read(true).write(true).open(set.0.join(LOCK)) else { continue };
            if lock.try_lock().is_ok() {
                // Under this name it is none any more, so that a removal that is cut off leaves no half of it.
                let unfinished = set.0.with_extension("unfinished");
                fs::rename(&set.0, &unfinished).map_err(BackupProblem::of_file(&set.0))?;
                self.sync_root()?;
                drop(lock);
                fs::remove_dir_all(&unfinished).map_err(BackupProblem::of_file(&unfinished))?;
            }
        }
        Ok(())
    }
}

/// Removes what was begun and cut off, or was being removed.
fn remove_unfinished(root: &Path) -> Result<(), BackupProblem> {
    let failed = BackupProblem::of_file(root);
    for entry in fs::read_dir(root).map_err(&failed)? {
        let path = entry.map_err(&failed)?.path();
        if is_unfinished(&path) {
            fs::remove_dir_all(&path).map_err(BackupProblem::of_file(&path))?;
        }
    }
    Ok(())
}
