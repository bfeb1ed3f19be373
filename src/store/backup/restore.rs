//! Restoring: the base into sled, the journal over it, and then the changes that a restored database needs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::records::{Entry, Records};
use super::set::{BackupSet, Until};
use super::target::sync_parent;
use super::{BackupProblem, Manifest, base};
use crate::domain::{Epoch, EventId, Generation, Position, Timestamp, User};
use crate::error::Error;
use crate::store::open::{FORMAT_SETTING, open_sled, sync_names};
use crate::store::progress::Progress;
use crate::store::{Committer, OpenError, Store, Users, codec, keys, record};

/// How much sled gets between two flushes, in bytes.
const BYTES_A_FLUSH: usize = 8 << 20;
/// How much sled gets at once, in bytes.
const BYTES_AT_ONCE: usize = 256 << 10;
/// The journal of a database that is being restored.
const JOURNAL_BYTES: u64 = 64 << 20;
/// How long sled may take to let go of a database that was closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);

/// The rows that are permissions to get in, which a restored database has no longer: invites with what finds them, and tokens of
/// channels. What was used since the backup would work again.
const PERMISSIONS: &[&[u8]] = &[b"I", b"J", b"M", b"N", b"o", b"r"];
/// How many rows are removed in one commit.
const ROWS_A_COMMIT: usize = 1000;

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The last commit that was restored.
    pub commit: u64,
    /// The position of the last event.
    pub position: Position,
    /// When the last commit was made, as far as that is known.
    pub made_at: Option<Timestamp>,
    /// Whether there is none after it, where it was restored from.
    pub is_end: bool,
    /// The users.
    pub users: u64,
}

/// Restores a set into a new database. `now` is the time of the local clock.
///
/// All tokens and sessions end, codes and invites are dropped, and the current codes of authenticator apps are spent: the backup does
/// not know what was used or revoked after it was taken.
///
/// # Errors
/// [`BackupProblem`]. Then there is no database.
pub fn restore(set: &BackupSet, database: &Path, until: Until, now: Timestamp) -> Result<Restored, BackupProblem> {
    // Without a slash at its end, behind which another name would be a place within it.
    let database = &database.canonicalize().unwrap_or_else(|_| database.components().collect());
    match fs::read_dir(database).map(|mut entries| entries.next().is_none()) {
        Ok(false) => return Err(BackupProblem::Exists(database.to_owned())),
        // Nothing can take its place, as that of another directory.
        Ok(true) if is_mount_point(database).map_err(BackupProblem::of_file(database))? => {
            return Err(BackupProblem::MountPoint(database.to_owned()));
        }
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(BackupProblem::of_file(database)(error)),
    }
    let mut name = database.as_os_str().to_owned();
    name.push(".restoring");
    let unfinished = PathBuf::from(name);
    // What an earlier try has left.
    remove(&unfinished)?;
    until.check(&set.manifest)?;
    set.check_files()?;
    let restored = fill(set, &unfinished, until, now).and_then(|restored| {
        let placed = fs::rename(&unfinished, database).and_then(|()| sync_parent(database));
        placed.map(|()| restored).map_err(BackupProblem::of_file(database))
    });
    if restored.is_err() {
        let _ = remove(&unfinished);
    }
    restored
}

/// Whether an existing directory is on another file system than the one that it is in.
fn is_mount_point(directory: &Path) -> io::Result<bool> {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    directory.parent().map_or(Ok(true), |parent| Ok(device(parent)? != device(directory)?))
}

/// Restores a set into a directory that is removed afterwards, and reads every row of it.
///
/// # Errors
/// [`BackupProblem`].
pub fn verify(set: &BackupSet, scratch: &Path, until: Until, now: Timestamp) -> Result<Restored, BackupProblem> {
    let database = scratch.join("restored");
    let restored = restore(set, &database, until, now)?;
    let checked = opened(&database).and_then(|(store, _committer)| {
        let read = || store.scan(&[], &[0xff; 1024], &mut |_, _| Ok(true));
        read().map_err(BackupProblem::from)
    });
    remove(&database)?;
    checked.map(|()| restored)
}

fn remove(directory: &Path) -> Result<(), BackupProblem> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupProblem::of_file(directory)(error)),
        _ => Ok(()),
    }
}

fn fill(set: &BackupSet, path: &Path, until: Until, now: Timestamp) -> Result<Restored, BackupProblem> {
    fs::create_dir_all(path).map_err(BackupProblem::of_file(path))?;
    let mut known = set.manifest.epochs.clone();
    if let Until::Event(id) = until
        && !set.has_event(id)?
    {
        return Err(BackupProblem::OutOfReach("it has no event of this id".to_owned()));
    }
    let Replayed { progress, made_at, is_end } = {
        let (tree, _) = open_sled(path).map_err(BackupProblem::Opening)?;
        let mut sled = Filling { tree, batch: sled::Batch::default(), bytes: 0, unflushed: 0 };
        let (parts, files) = set.files();
        for part in &parts {
            let mut records = Records::open(part, base::MAGIC)?;
            while let Some(Entry { rows, .. }) = records.next()? {
                sled.add_rows(rows, &mut known)?;
            }
        }
        let replayed = sled.replay(&set.manifest, &files, until, &mut known)?;
        // Commits that were made by this moment may be among them.
        if let (Until::Time(_), true, Some((first, last))) = (until, replayed.is_end, set.lacks) {
            let why =
                format!("the archive lacks the commits {first} to {last}: name the position of an event before them");
            return Err(BackupProblem::OutOfReach(why));
        }
        sled.finish(set.manifest.format, replayed.progress)?;
        replayed
    };
    sync_names(path).map_err(BackupProblem::of_file(path))?;
    let (store, mut committer) = opened(path)?;
    let users = renew(&store, &mut committer, &known, now)?;
    drop((committer, store));
    // The last of its threads lets go of it.
    drop(opened(path)?);
    Ok(Restored { commit: progress.commits, position: progress.head, made_at, is_end, users })
}

/// Opens a database that this process may have had open a moment ago: sled's threads may hold it a little longer.
fn opened(path: &Path) -> Result<(Store, Committer), BackupProblem> {
    let until = std::time::Instant::now() + CLOSED_WITHIN;
    loop {
        match Store::open(path, JOURNAL_BYTES) {
            Err(OpenError::InUse(_)) if std::time::Instant::now() < until => thread::sleep(Duration::from_millis(10)),
            other => return other.map_err(BackupProblem::Opening),
        }
    }
}

/// How far the journal was replayed.
struct Replayed {
    progress: Progress,
    /// When the last commit was made.
    made_at: Option<Timestamp>,
    /// Whether it is the last one.
    is_end: bool,
}

/// A database of sled that is being filled.
struct Filling {
    tree: sled::Tree,
    batch: sled::Batch,
    bytes: usize,
    unflushed: usize,
}

impl Filling {
    fn add_rows(&mut self, rows: &[u8], known: &mut Vec<u32>) -> Result<(), BackupProblem> {
        record::read_body(rows, &mut |key, value| {
            self.bytes += key.len() + value.map_or(0, <[u8]>::len);
            match value {
                Some(value) => self.batch.insert(key, value),
                None => self.batch.remove(key),
            }
            note_epoch(key, value, known);
        });
        if self.bytes < BYTES_AT_ONCE {
            return Ok(());
        }
        self.unflushed += self.bytes;
        self.apply()?;
        if self.unflushed >= BYTES_A_FLUSH {
            self.unflushed = 0;
            self.tree.flush().map_err(failed)?;
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<(), BackupProblem> {
        self.bytes = 0;
        self.tree.apply_batch(std::mem::take(&mut self.batch)).map_err(failed)
    }

    /// Applies the commits after the base, up to a point. Those after it are read too, for the epochs in them.
    fn replay(
        &mut self,
        manifest: &Manifest,
        files: &[PathBuf],
        until: Until,
        known: &mut Vec<u32>,
    ) -> Result<Replayed, BackupProblem> {
        let (mut read, mut reached) = (manifest.base.commit, Progress::from(manifest.base));
        let (mut is_beyond, mut last_made_at) = (false, None);
        for file in files {
            let mut records = Records::open(file, record::MAGIC)?;
            while let Some(Entry { progress, made_at, rows }) = records.next()? {
                if progress.commits <= read {
                    continue;
                }
                if progress.commits - 1 > read {
                    return Err(BackupProblem::damaged(file, &format!("the commits after {read} are missing")));
                }
                read = progress.commits;
                is_beyond |= match until {
                    Until::Newest => false,
                    // The commit that has the event is the last one, and those after it that have none.
                    Until::Position(position) | Until::Event(EventId { position, .. }) => {
                        reached.head >= position && progress.head > reached.head
                    }
                    Until::Time(time) => made_at.is_some_and(|at| at > time),
                };
                if is_beyond {
                    record::read_body(rows, &mut |key, value| note_epoch(key, value, known));
                } else {
                    self.add_rows(rows, known)?;
                    reached = progress;
                    last_made_at = made_at;
                }
            }
        }
        if reached.commits < manifest.end.commit {
            return Err(BackupProblem::Damaged(format!("the commits after {} are missing", reached.commits)));
        }
        if let Until::Position(position) | Until::Event(EventId { position, .. }) = until
            && reached.head < position
        {
            let last = reached.head.get();
            return Err(BackupProblem::OutOfReach(format!("the last event in it has the position {last:016}")));
        }
        Ok(Replayed { progress: reached, made_at: last_made_at, is_end: !is_beyond })
    }

    fn finish(mut self, format: u32, progress: Progress) -> Result<(), BackupProblem> {
        self.batch.insert(keys::setting(FORMAT_SETTING), &format.to_be_bytes());
        self.batch.insert(keys::setting(keys::PROGRESS_SETTING), &codec::encode_progress(progress));
        self.apply()?;
        self.tree.flush().map_err(failed)?;
        Ok(())
    }
}

fn failed(error: sled::Error) -> BackupProblem {
    match error {
        sled::Error::Io(error) => BackupProblem::File("the restored database".to_owned(), error),
        other => BackupProblem::Server(Error::Storage(other.to_string())),
    }
}

/// Notes the epoch in a row, if it has one.
fn note_epoch(key: &[u8], value: Option<&[u8]>, known: &mut Vec<u32>) {
    if key.starts_with(keys::EPOCHS)
        && let Some(Ok(epoch)) = value.map(TryInto::try_into)
    {
        known.push(u32::from_be_bytes(epoch));
    }
}

/// Ends all sign-ins, and drops whatever else may have been used since the backup. Returns how many users there are.
fn renew(store: &Store, committer: &mut Committer, known: &[u32], now: Timestamp) -> Result<u64, BackupProblem> {
    // The first commit draws another lineage, as of each database that goes on with fewer commits than were made.
    // With those that an earlier restore has spent.
    let before = store.setting(keys::SPENT_EPOCHS_SETTING)?.map(|spent| codec::decode_epochs(&spent));
    let mut transaction = committer.begin(now)?;
    let all: BTreeSet<u32> = known.iter().copied().chain(before.into_iter().flatten().map(Epoch::get)).collect();
    let spent: Vec<u8> = all.iter().flat_map(|epoch| epoch.to_be_bytes()).collect();
    transaction.put_setting(keys::SPENT_EPOCHS_SETTING, spent);
    drop(transaction.commit()?.reveal());

    let mut users = Users::new(None);
    let mut count = 0;
    loop {
        let mut found: Vec<User> = Vec::new();
        let is_more = users.next(store, |_, user| {
            found.extend(user);
            Ok(false)
        })?;
        count += found.len() as u64;
        let mut transaction = committer.begin(now)?;
        for user in found {
            // One change each, since all together may be more than one may write.
            transaction.put_user(&renewed(user, now));
            transaction.keep()?;
            if transaction.is_full() {
                drop(transaction.commit()?.reveal());
                transaction = committer.begin(now)?;
            }
        }
        drop(transaction.commit()?.reveal());
        if !is_more {
            break;
        }
    }
    for prefix in PERMISSIONS {
        remove_rows(store, committer, prefix, now)?;
    }
    Ok(count)
}

/// A user without what may have been used: a new generation ends all tokens and sessions, wherever they are.
fn renewed(user: User, now: Timestamp) -> User {
    let generation = Generation(u64::from_be_bytes(crate::random::bytes()));
    // A code of the next step is accepted too, if an app's clock is ahead.
    let step = now.as_secs() / 30 + 1;
    let totp_spent_step = user.two_factor.map(|_| step).max(user.totp_spent_step);
    User { generation, totp_spent_step, pending_totp: None, reset: None, ..user }
}

fn remove_rows(store: &Store, committer: &mut Committer, prefix: &[u8], now: Timestamp) -> Result<(), BackupProblem> {
    loop {
        let mut found = Vec::new();
        store.scan_prefix(prefix, &mut |key, _| {
            found.push(key.to_vec());
            Ok(found.len() < ROWS_A_COMMIT)
        })?;
        if found.is_empty() {
            return Ok(());
        }
        let mut transaction = committer.begin(now)?;
        found.into_iter().for_each(|key| transaction.remove(key));
        drop(transaction.commit()?.reveal());
    }
}
