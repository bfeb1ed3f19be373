//! The archive: sets into which the server puts each file of its journal, so that every commit can be restored.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::records::range_of;
use super::set::{BackupSet, LOCK, is_unfinished, name_of_journal, sort};
use super::take::take;
use super::target::{InDirectory, write_file};
use super::{BackupProblem, Lineage, Manifest};
use crate::domain::Timestamp;
use crate::error::Error;
use crate::store::Store;
use crate::store::disk::Directory;
use crate::store::keeping::{Hold, Serving};

/// How long the writer may take to begin a new file.
const WRITER_WITHIN: Duration = Duration::from_secs(60);

/// The archive of a server, which alone writes to it.
pub struct Archive {
    root: PathBuf,
    hold: Hold,
    /// The set that grows: where it is, and its last commit.
    growing: Option<(PathBuf, u64)>,
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
        fs::create_dir_all(root).map_err(&failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join(LOCK)).map_err(&failed)?;
        lock.try_lock().map_err(|error| failed(io::Error::other(format!("another server uses it ({error})"))))?;
        for entry in fs::read_dir(root).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            if is_unfinished(&path) {
                fs::remove_dir_all(&path).map_err(BackupProblem::of_file(&path))?;
            }
        }
        let hold = store.keeping.hold_all().map_err(BackupProblem::of_file(store.path()))?;
        let mut archive = Self { root: root.to_owned(), hold, growing: None, _lock: lock };
        let newest = archive.sets()?.into_iter().rev().find_map(|set| {
            let is_ours = lineage.is_some_and(|lineage| set.manifest.lineage == lineage.to_string());
            is_ours.then(|| (set.path().to_owned(), set.last()))
        });
        let (there, archived) = (store.opened_at(), newest.as_ref().map_or(0, |(_, last)| *last));
        if archived > there {
            tracing::error!(
                "the archive goes to commit {archived}, and the database only to {there}: a new set is begun"
            );
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
            match path.is_dir().then(|| BackupSet::open(&path)) {
                Some(Ok(set)) => sets.push(set),
                Some(Err(BackupProblem::Unfinished(_))) | None => {}
                // A set that cannot be read is none to go on with, and its operator should look at it.
                Some(Err(why)) => tracing::error!(%why, set = %path.display(), "a set of the archive cannot be used"),
            }
        }
        sort(&mut sets, |set| &set.manifest);
        Ok(sets)
    }

    /// Whether a new set must be begun before anything can be archived.
    pub fn needs_set(&self) -> bool {
        self.growing.is_none()
    }

    /// When the newest set was begun, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn newest_since(&self) -> Result<Option<u64>, BackupProblem> {
        self.growing.as_ref().map(|(path, _)| Manifest::read(path).map(|manifest| manifest.taken_at)).transpose()
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
            // The disk was nearly full, and has room again.
            self.hold = store.keeping.hold();
            self.growing = None;
        }
        let name = format!("{:016}-{:08x}", now.as_millis(), u32::from_be_bytes(crate::random::bytes()));
        let unfinished = self.root.join(format!("{name}.unfinished"));
        let mut target = InDirectory::create(&unfinished)?;
        let taken = take(store, lineage, now, &mut target, server).and_then(|manifest| {
            write_file(&unfinished.join(LOCK), &mut io::empty())?;
            Ok(manifest)
        });
        let manifest = taken.inspect_err(|_| drop(fs::remove_dir_all(&unfinished)))?;
        // What the new set already has goes to the one before, so that no commit lies between them.
        self.add_closed(Some(manifest.end.commit))?;
        let set = self.root.join(name);
        fs::rename(&unfinished, &set).map_err(BackupProblem::of_file(&set))?;
        self.sync_root()?;
        self.growing = Some((set, manifest.end.commit));
        Ok(manifest)
    }

    /// Has the writer close its file, and archives every file that is closed.
    ///
    /// # Errors
    /// [`BackupProblem`].
    pub fn catch_up(&mut self, server: &dyn Serving) -> Result<(), BackupProblem> {
        if !self.hold.has_given_up() {
            self.hold.close_file(WRITER_WITHIN, server)?;
            self.add_closed(None)?;
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
            let range = range_of(&path)?;
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
        let since: Vec<_> = self.sets()?.iter().map(|set| (set.path().to_owned(), set.manifest.taken_at)).collect();
        let oldest = now.as_millis().saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        for (set, next) in since.iter().zip(since.iter().skip(1)) {
            // Until the next one was taken, this one is what restores.
            if next.1 > oldest {
                break;
            }
            if self.growing.as_ref().is_some_and(|(growing, _)| *growing == set.0) {
                continue;
            }
            let Ok(lock) = File::open(set.0.join(LOCK)) else { continue };
            if lock.try_lock().is_ok() {
                // Without the manifest it is none any more, so that a removal that is cut off leaves no half of it.
                let manifest = set.0.join(super::manifest::MANIFEST);
                fs::remove_file(&manifest).map_err(BackupProblem::of_file(&manifest))?;
                fs::remove_dir_all(&set.0).map_err(BackupProblem::of_file(&set.0))?;
            }
        }
        Ok(())
    }
}
