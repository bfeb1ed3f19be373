//! The one way to write: changes are decided against a [`Transaction`], which is committed whole.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::checkpoint::Checkpointer;
use super::commit_watermark::CommitWatermark;
use super::events::Due;
use super::integrity_scan::IntegrityScan;
use super::journal::{Journal, ROW_HEAD_BYTES};
use super::overlay::Write;
use super::room::{MAX_CHANGE_BYTES, MAX_COMMIT_BYTES};
use super::{Store, TIME_SETTING, codec, keys};
use crate::domain::{Account, AuthContext, Event, MAX_USER_BYTES, Position, TenantName, Timestamp, User, Username};
use crate::error::Error;

/// How near the time on disk is to that of the newest commit.
const TIME_WITHIN: Duration = Duration::from_secs(60);

/// The writer's end of the store. There is one, and it does not clone: two writers would be two orders.
pub struct Committer {
    pub(super) store: Store,
    journal: Journal,
    /// How long the journal grows before a checkpoint.
    journal_bytes: u64,
    checkpointer: Checkpointer,
    integrity_scan: IntegrityScan,
    commit_watermark: CommitWatermark,
    /// How many commits there have been.
    commits: u64,
    /// Whether the epoch of this start is on disk, as it is with its first event.
    is_epoch_kept: bool,
    /// The time that is on disk, once something was committed since the start.
    time_kept: Option<Timestamp>,
    /// The floors of tenants that inserted something of late.
    pub(super) floors: HashMap<TenantName, Position>,
    /// How many names those tenants have for which that is not written down.
    pub(super) counted: HashMap<TenantName, u64>,
    /// Held for as long as the database is open.
    _lock: File,
}

/// What is on disk, but not yet shown to anybody.
#[must_use]
pub struct Durable {
    events: Vec<Event>,
    head: Position,
    store: Store,
}

impl Durable {
    /// Lets readers see it, and gives the events in order. Before the next transaction begins.
    pub fn reveal(self) -> Vec<Event> {
        self.store.head.store(self.head.get(), Ordering::Release);
        self.events
    }
}

/// How far the database has come.
#[derive(Clone, Copy, Default)]
pub struct Progress {
    /// The position of the last event.
    pub head: Position,
    /// How many commits there have been.
    pub commits: u64,
}

impl Progress {
    /// Where it is kept.
    pub const SETTING: &str = "progress";
}

/// What a [`Committer`] works with.
pub(super) struct Tools {
    pub journal: Journal,
    pub journal_bytes: u64,
    pub checkpointer: Checkpointer,
    pub integrity_scan: IntegrityScan,
    pub commit_watermark: CommitWatermark,
    pub lock: File,
}

impl Committer {
    pub(super) fn new(store: Store, commits: u64, tools: Tools) -> Self {
        let Tools { journal, journal_bytes, checkpointer, integrity_scan, commit_watermark, lock } = tools;
        let (floors, counted) = (HashMap::new(), HashMap::new());
        let is_epoch_kept = false;
        Self {
            store,
            journal,
            journal_bytes,
            checkpointer,
            integrity_scan,
            commit_watermark,
            commits,
            is_epoch_kept,
            time_kept: None,
            floors,
            counted,
            _lock: lock,
        }
    }

    /// Starts a transaction at a moment, which every event in it gets as its timestamp.
    ///
    /// # Errors
    /// [`Error::StorageFull`] where the disk has no room for another commit; [`Error::Overloaded`] where something else is lacking
    /// that comes back; [`Error::Storage`] where the database failed.
    pub fn begin(&mut self, now: Timestamp) -> Result<Transaction<'_>, Error> {
        self.checkpointer.failure()?;
        self.integrity_scan.outcome()?;
        let room = self.make_room();
        self.checkpointer.note_room(&room);
        room?;
        let head = self.store.head();
        Ok(Transaction {
            committer: self,
            now,
            head,
            pending: HashMap::new(),
            users: HashMap::new(),
            bytes: 0,
            shown: 0,
            events: Vec::new(),
            notes_time: false,
            undo: Undo { head, ..Undo::default() },
            due: Due::default(),
        })
    }

    /// Sees to it that the next commit has room in the journal.
    ///
    /// Closes this fault: on a small disk the journal took the room that the checkpoint lacked, after which no commit had room either,
    /// whatever was given back by others. So a checkpoint comes first, also with what was set aside for the next commit.
    fn make_room(&mut self) -> Result<(), Error> {
        if self.checkpointer.is_short_of_room() {
            self.journal.give_back()?;
            self.checkpointer.ask_again()?;
        }
        if self.journal.bytes() >= self.journal_bytes
            || self.store.overlay.active_bytes() as u64 >= self.journal_bytes / 2
        {
            self.checkpoint()?;
        }
        match self.journal.reserve() {
            // What is in the journal may take less room in sled, where names that changed often are there once. And what is free on
            // the disk may not be ours.
            Err(Error::StorageFull) if self.is_checkpoint_worth_it() => {
                self.checkpoint()?;
                self.journal.reserve()
            }
            reserved => reserved,
        }
    }

    /// Whether one can be begun that gives back something worth it.
    fn is_checkpoint_worth_it(&self) -> bool {
        self.journal.bytes_of_file() > MAX_COMMIT_BYTES as u64 && !self.store.overlay.is_frozen()
    }

    /// Begins a checkpoint, once the one before is made: so at most two tables are ever in memory.
    fn checkpoint(&mut self) -> Result<(), Error> {
        self.checkpointer.wait()?;
        let journal = self.journal.rotate()?;
        self.checkpointer.begin(self.store.overlay.freeze(), journal);
        Ok(())
    }
}

/// Changes that are decided one after another, each seeing those before it, and that reach the disk together or not at all.
pub struct Transaction<'a> {
    pub(super) committer: &'a mut Committer,
    now: Timestamp,
    pub(super) head: Position,
    /// What is to be written.
    pending: HashMap<Vec<u8>, Write>,
    /// The users that change, as they are after the changes so far.
    users: HashMap<Username, (User, Arc<Account>)>,
    /// The size of what is to be written, in the journal.
    bytes: usize,
    /// The size of the events that were read for those who are refused: they are in memory until all are answered.
    pub(super) shown: usize,
    pub(super) events: Vec<Event>,
    /// When something of it is due.
    pub(super) due: Due,
    notes_time: bool,
    undo: Undo,
}

/// What was under some keys, or that nothing was.
type Before<K, V> = Vec<(K, Option<V>)>;

/// How everything was before the change that is being decided: what was there in place of what it wrote, the last first.
#[derive(Default)]
struct Undo {
    writes: Before<Vec<u8>, Write>,
    users: Before<Username, (User, Arc<Account>)>,
    floors: Before<TenantName, Position>,
    head: Position,
    events: usize,
    bytes: usize,
    /// How much the change has written. What is written a second time counts twice: it is a bound.
    written: usize,
}

impl Transaction<'_> {
    /// The moment of this transaction.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Has the moment of this transaction noted, if it writes anything: the clock is measured by it at the next start. Only for one
    /// that may be ([`crate::clock::Clock::is_vouched_for`]).
    pub fn note_time(&mut self) {
        self.notes_time = true;
    }

    /// Whether no further change may be decided: there is room for one of [`MAX_CHANGE_BYTES`] only up to here, and what those are
    /// shown who are refused is bounded in the same way.
    pub fn is_full(&self) -> bool {
        self.bytes + self.shown >= MAX_COMMIT_BYTES
    }

    /// How much the change that is being decided has written, in bytes of the journal. It may be [`MAX_CHANGE_BYTES`].
    pub fn written(&self) -> usize {
        self.undo.written
    }

    /// Lets the change stand that was decided: what is written from now on is the next one's.
    ///
    /// # Errors
    /// [`Error::ChangeTooLarge`]; the change must be undone then.
    pub fn keep(&mut self) -> Result<(), Error> {
        if self.undo.written > MAX_CHANGE_BYTES {
            return Err(Error::ChangeTooLarge);
        }
        let Undo { writes, users, floors, .. } = &mut self.undo;
        writes.clear();
        users.clear();
        floors.clear();
        self.undo.head = self.head;
        self.undo.events = self.events.len();
        self.undo.bytes = self.bytes;
        self.undo.written = 0;
        Ok(())
    }

    /// Takes back everything since [`Transaction::keep`], as if the change had never been looked at.
    pub fn undo(&mut self) {
        while let Some((key, before)) = self.undo.writes.pop() {
            put_back(&mut self.pending, key, before);
        }
        while let Some((username, before)) = self.undo.users.pop() {
            put_back(&mut self.users, username, before);
        }
        while let Some((tenant, before)) = self.undo.floors.pop() {
            put_back(&mut self.committer.floors, tenant, before);
        }
        self.head = self.undo.head;
        self.events.truncate(self.undo.events);
        self.bytes = self.undo.bytes;
        self.undo.written = 0;
    }

    /// The user of this name, with every change that was decided before.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails; [`Error::Damaged`].
    pub fn user(&self, username: &Username) -> Result<Option<User>, Error> {
        match self.users.get(username) {
            Some((user, _)) => Ok(Some(user.clone())),
            None => self.committer.store.user(username),
        }
    }

    /// The account of a user who upholds what somebody's rights rest on.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where there is no such user, or not any more; those of [`Transaction::user`].
    pub fn account(&self, username: &Username, auth_context: &AuthContext) -> Result<Arc<Account>, Error> {
        self.account_of(username)?.filter(|account| account.upholds(auth_context)).ok_or(Error::Unauthorized)
    }

    /// Whether a user of this name is of a tenant.
    ///
    /// # Errors
    /// Those of [`Transaction::user`].
    pub fn is_in_tenant(&self, username: &str, tenant: &TenantName) -> Result<bool, Error> {
        let Ok(username) = Username::parse(username) else { return Ok(false) };
        Ok(self.account_of(&username)?.is_some_and(|account| account.tenant == *tenant))
    }

    fn account_of(&self, username: &Username) -> Result<Option<Arc<Account>>, Error> {
        match self.users.get(username) {
            Some((_, account)) => Ok(Some(Arc::clone(account))),
            None => self.committer.store.account(username),
        }
    }

    /// Writes a user with what the server itself has changed of them. Never refused: nobody may be so large that they cannot
    /// be revoked.
    pub fn put_user(&mut self, user: &User) {
        self.put(keys::user(&user.username), codec::encode_user(user));
        let before = self.users.insert(user.username.clone(), (user.clone(), Arc::new(user.into())));
        self.undo.users.push((user.username.clone(), before));
    }

    /// Writes a user as an admin has made them, or changed them from what they were before. They must leave room for all that
    /// the server may write of them later; who lacks it already may be changed, but not grow.
    ///
    /// # Errors
    /// [`Error::UserTooLarge`]; nothing is written then.
    pub fn put_user_as_given(&mut self, user: &User, before: Option<&User>) -> Result<(), Error> {
        let bytes = codec::user_bytes_at_most(user);
        if bytes > MAX_USER_BYTES && before.is_none_or(|before| bytes > codec::user_bytes_at_most(before)) {
            return Err(Error::UserTooLarge);
        }
        self.put_user(user);
        Ok(())
    }

    /// Writes a value that the whole server has one of.
    pub fn put_setting(&mut self, name: &str, value: Vec<u8>) {
        self.put(keys::setting(name), value);
    }

    /// The position of the last event so far.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Writes everything, and makes it durable with one write and one sync.
    ///
    /// # Errors
    /// [`Error::ChangeTooLarge`] where the last change was neither kept nor undone, and cannot be kept.
    /// [`Error::Storage`]. What is on disk is then unknown, and the server must stop: trying again after a failed sync
    /// may find it succeed without the data being there.
    pub fn commit(mut self) -> Result<Durable, Error> {
        self.keep()?;
        if !self.events.is_empty() && !self.committer.is_epoch_kept {
            let (first, epoch) = self.committer.store.epochs.current();
            self.put(keys::epoch(first), epoch.get().to_be_bytes().to_vec());
        }
        if !self.pending.is_empty() && self.notes_time {
            self.keep_time();
        }
        let Self { committer, pending, events, head, users, due, .. } = self;
        let durable = Durable { events, head, store: committer.store.clone() };
        if pending.is_empty() {
            return Ok(durable);
        }
        // With the events, so that a position is never given twice (sled's `generate_id` is not).
        let progress = Progress { head, commits: committer.commits + 1 };
        committer.journal.append(progress, pending.iter())?;
        committer.store.overlay.apply(pending, progress);
        // After the new ones can be read, or somebody busy would be remembered as they were; and before anybody is told.
        users.keys().for_each(|username| committer.store.accounts.forget(username));
        committer.store.activity.add(&durable.events);
        committer.store.activity.add_due(due);
        committer.commits = progress.commits;
        committer.is_epoch_kept |= !durable.events.is_empty();
        committer.commit_watermark.note(progress.commits);
        Ok(durable)
    }

    /// Writes down the time of this commit: not with each, but to within a minute.
    fn keep_time(&mut self) {
        let is_near = |kept: Timestamp| kept.max(self.now).since(kept.min(self.now)) < TIME_WITHIN;
        if !self.committer.time_kept.is_some_and(is_near) {
            self.put(keys::setting(TIME_SETTING), codec::encode_moment(self.now).to_vec());
            self.committer.time_kept = Some(self.now);
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Error> {
        match self.pending.get(key) {
            Some(write) => Ok(write.value().cloned()),
            None => self.committer.store.get(key),
        }
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.write(key, Write::Put(value.into()));
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.write(key, Write::Remove);
    }

    pub(super) fn write(&mut self, key: Vec<u8>, write: Write) {
        let row = |write: &Write| ROW_HEAD_BYTES + key.len() + write.value().map_or(0, |value| value.len());
        let bytes = row(&write);
        self.undo.written += bytes;
        // It will be refused, so it need not be remembered: memory is bounded too.
        if self.undo.written > MAX_CHANGE_BYTES {
            return;
        }
        let before = self.pending.insert(key.clone(), write);
        self.bytes += bytes;
        self.bytes -= before.as_ref().map_or(0, row);
        self.undo.writes.push((key, before));
    }

    pub(super) fn raise_floor(&mut self, tenant: &TenantName, floor: Position) {
        let before = self.committer.floors.insert(tenant.clone(), floor);
        self.undo.floors.push((tenant.clone(), before));
    }
}

fn put_back<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, before: Option<V>) {
    match before {
        Some(before) => drop(map.insert(key, before)),
        None => drop(map.remove(&key)),
    }
}

#[cfg(test)]
mod tests;
