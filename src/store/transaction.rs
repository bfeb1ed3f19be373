//! The one way to write: changes are decided against a [`Transaction`], which is committed as a whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::codec::NAME_HEAD_BYTES;
use super::committer::{Committer, Durable};
use super::lineage::{LINEAGE_SETTING, Lineage};
use super::overlay::Write;
use super::progress::Progress;
use super::rows::Rows;
use super::sealed::Record;
use super::sizes::{MAX_CHANGE_BYTES, MAX_COMMIT_BYTES, ROW_HEAD_BYTES};
use super::tidings::Tidings;
use super::{codec, keys};
use crate::domain::{
    Account, AuthContext, Event, MAX_USER_BYTES, Position, SessionId, TenantName, Timestamp, User, Username,
};
use crate::error::Error;

/// How far the time on disk may be from the time of the newest commit.
const TIME_WITHIN: Duration = Duration::from_secs(60);

/// Changes that are decided one after another. Each sees the changes before it. They reach the disk together or not at
/// all.
pub struct Transaction<'a> {
    pub(super) committer: &'a mut Committer,
    now: Timestamp,
    pub(super) head: Position,
    /// The rows to write.
    pending: HashMap<Vec<u8>, Write>,
    /// The users that change, as they are after the changes so far; `None` if they are deleted.
    users: HashMap<Username, ChangedUser>,
    /// The size of these rows in the journal.
    bytes: usize,
    /// The size of the events that were read to be shown in refusals. They stay in memory until all changes are
    /// answered.
    pub(super) shown: usize,
    pub(super) events: Vec<Event>,
    /// The floors that were raised, the last one of a tenant last.
    pub(super) raised: Vec<(TenantName, Position)>,
    /// What is to be done beside that.
    pub(super) tidings: Tidings,
    notes_time: bool,
    undo: Undo,
}

/// A user that changes; `None` if the user is deleted.
type ChangedUser = Option<(User, Arc<Account>)>;

/// The values of some keys before a change, if they had one.
type Before<K, V> = Vec<(K, Option<V>)>;

/// The state before the change that is being decided: the values that it replaced, in the order in which it wrote.
#[derive(Default)]
struct Undo {
    writes: Before<Vec<u8>, Write>,
    users: Before<Username, ChangedUser>,
    before: Mark,
    /// How much the change has written. A row that is written twice counts twice, since this is an upper bound.
    written: usize,
}

/// How far a change had come at some moment, so that what it does later can be undone alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    writes: usize,
    users: usize,
    raised: usize,
    head: Position,
    events: usize,
    /// Ended, changed, cursors, found again.
    tidings: [usize; 4],
    bytes: usize,
    written: usize,
}

impl Committer {
    /// Starts a transaction at a moment, which is the timestamp of every event in it.
    ///
    /// # Errors
    /// [`Error::StorageFull`] if the disk has no room for another commit; [`Error::Overloaded`] if another resource is
    /// lacking that becomes free again; [`Error::Storage`] if the database failed.
    pub fn begin(&mut self, now: Timestamp) -> Result<Transaction<'_>, Error> {
        self.prepare()?;
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
            undo: Undo { before: Mark { head, ..Mark::default() }, ..Undo::default() },
            raised: Vec::new(),
            tidings: Tidings::default(),
        })
    }
}

impl<'a> Transaction<'a> {
    /// The moment of this transaction.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Writes the moment of this transaction with it, if it writes anything. The next start checks its clock against
    /// that moment, so call this only if the clock is trusted ([`crate::clock::Clock::is_vouched_for`]).
    pub fn note_time(&mut self) {
        self.notes_time = true;
    }

    /// Whether no further change may be decided. Beyond this size there may be no room for a change of
    /// [`MAX_CHANGE_BYTES`]. The events that refusals show are bounded in the same way.
    pub fn is_full(&self) -> bool {
        self.bytes + self.shown >= MAX_COMMIT_BYTES
    }

    /// How much the change that is being decided has written, in bytes of the journal. At most [`MAX_CHANGE_BYTES`] are
    /// allowed.
    pub fn written(&self) -> usize {
        self.undo.written
    }

    /// Keeps the change that was decided. The rows that are written from now on belong to the next change.
    ///
    /// # Errors
    /// [`Error::ChangeTooLarge`]; then the change must be undone.
    pub fn keep(&mut self) -> Result<(), Error> {
        if self.undo.written > MAX_CHANGE_BYTES {
            return Err(Error::ChangeTooLarge);
        }
        let Undo { writes, users, .. } = &mut self.undo;
        writes.clear();
        users.clear();
        self.undo.written = 0;
        self.undo.before = self.mark();
        Ok(())
    }

    /// How far the change that is being decided has come.
    pub fn mark(&self) -> Mark {
        let Undo { writes, users, written, .. } = &self.undo;
        let Tidings { ended, changed, cursors, found_again } = &self.tidings;
        Mark {
            writes: writes.len(),
            users: users.len(),
            raised: self.raised.len(),
            head: self.head,
            events: self.events.len(),
            tidings: [ended.len(), changed.len(), cursors.len(), found_again.len()],
            bytes: self.bytes,
            written: *written,
        }
    }

    /// Undoes everything since [`Transaction::keep`], as if the change had never been tried.
    pub fn undo(&mut self) {
        self.undo_since(self.undo.before);
    }

    /// Undoes what the change that is being decided has done since it had come so far.
    pub fn undo_since(&mut self, mark: Mark) {
        for (key, before) in self.undo.writes.drain(mark.writes..).rev() {
            put_back(&mut self.pending, key, before);
        }
        for (username, before) in self.undo.users.drain(mark.users..).rev() {
            put_back(&mut self.users, username, before);
        }
        self.raised.truncate(mark.raised);
        self.head = mark.head;
        self.events.truncate(mark.events);
        let Tidings { ended, changed, cursors, found_again } = &mut self.tidings;
        let [ended_before, changed_before, cursors_before, found_before] = mark.tidings;
        ended.truncate(ended_before);
        changed.truncate(changed_before);
        cursors.truncate(cursors_before);
        found_again.truncate(found_before);
        self.bytes = mark.bytes;
        self.undo.written = mark.written;
    }

    /// The user with this name, with every change that was decided before.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn user(&self, username: &Username) -> Result<Option<User>, Error> {
        match self.users.get(username) {
            Some(changed) => Ok(changed.as_ref().map(|(user, _)| user.clone())),
            None => self.committer.store.user(username),
        }
    }

    /// The account of a user or a guest, if that by which a request was authenticated is still valid at the moment of this
    /// transaction.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if it is not valid any more, or if there is no such user; the errors of
    /// [`Transaction::user`].
    pub fn account(&self, username: &Username, auth_context: &AuthContext) -> Result<Arc<Account>, Error> {
        let account = match auth_context {
            AuthContext::User(sign_in) => self.account_of(username)?.filter(|account| account.upholds(sign_in)),
            AuthContext::Guest(guest) => guest.account_at(username, self.now()).cloned(),
        };
        account.ok_or(Error::Unauthorized)
    }

    /// Whether a tenant has a user with this name.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn is_in_tenant(&self, username: &str, tenant: &TenantName) -> Result<bool, Error> {
        let Ok(username) = Username::parse(username) else { return Ok(false) };
        Ok(self.account_of(&username)?.is_some_and(|account| account.tenant == *tenant))
    }

    fn account_of(&self, username: &Username) -> Result<Option<Arc<Account>>, Error> {
        match self.users.get(username) {
            Some(changed) => Ok(changed.as_ref().map(|(_, account)| Arc::clone(account))),
            None => self.committer.store.account(username),
        }
    }

    /// Writes a user after a change by the server itself. It is never refused: no user may be so large that they cannot
    /// be revoked.
    pub fn put_user(&mut self, user: &User) {
        self.put(keys::user(&user.username), codec::encode_user(user));
        let sessions = self.session_names(user);
        self.note_user(user, sessions);
    }

    /// Takes the row of a user away.
    pub(super) fn remove_user(&mut self, username: &Username) {
        self.remove(keys::user(username));
        self.change_user(username, None);
    }

    /// Notes a user who has changed, or whose sessions have, for the changes after this one and for the cache of accounts.
    pub(super) fn note_user(&mut self, user: &User, sessions: Box<[SessionId]>) {
        let account = Arc::new(Account::of(user, sessions));
        self.change_user(&user.username, Some((user.clone(), account)));
    }

    fn change_user(&mut self, username: &Username, changed: ChangedUser) {
        let before = self.users.insert(username.clone(), changed);
        self.undo.users.push((username.clone(), before));
    }

    /// Writes a user that an admin created or changed. The user must leave room for everything that the server may add
    /// to it later. A user that is too large already may be changed, but may not grow.
    ///
    /// # Errors
    /// [`Error::UserTooLarge`]; then nothing is written.
    pub fn put_user_as_given(&mut self, user: &User, before: Option<&User>) -> Result<(), Error> {
        let bytes = codec::user_bytes_at_most(user);
        if bytes > MAX_USER_BYTES && before.is_none_or(|before| bytes > codec::user_bytes_at_most(before)) {
            return Err(Error::UserTooLarge);
        }
        self.put_user(user);
        Ok(())
    }

    /// A value of which the whole server has one.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.get(&keys::setting(name))?.map(|value| value.to_vec()))
    }

    /// Writes a value of which the whole server has one.
    pub fn put_setting(&mut self, name: &str, value: Vec<u8>) {
        self.put(keys::setting(name), value);
    }

    /// The position of the last event, those of this transaction included.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Ends the open streams of a user, once this is durable.
    pub fn end_streams_of(&mut self, username: &Username) {
        self.count(NAME_HEAD_BYTES + username.as_str().len());
        self.tidings.ended.push(username.clone());
    }

    /// Makes the open streams of a user check their rights again, once this is durable.
    pub fn change_rights_of(&mut self, username: &Username) {
        self.count(NAME_HEAD_BYTES + username.as_str().len());
        self.tidings.changed.push(username.clone());
    }

    /// Ends the deciding: what was decided is in the record, and nothing has happened yet.
    ///
    /// # Errors
    /// [`Error::ChangeTooLarge`] if the last change was neither kept nor undone, and cannot be kept.
    pub fn seal(self) -> Result<Record, Error> {
        self.end().map(|(_, record)| record)
    }

    /// Seals what was decided, and makes the commit.
    ///
    /// # Errors
    /// As [`Transaction::seal`] and [`Committer::apply`].
    pub fn commit(self) -> Result<Durable, Error> {
        let (committer, record) = self.end()?;
        Ok(committer.apply(record)?)
    }

    fn end(mut self) -> Result<(&'a mut Committer, Record), Error> {
        self.keep()?;
        if let Some((first, epoch)) = self.committer.store.epochs.drawn()
            && !self.events.is_empty()
        {
            self.put(keys::epoch(first), epoch.get().to_be_bytes().to_vec());
        }
        if !self.pending.is_empty() && self.notes_time {
            self.keep_time();
        }
        // In the first commit, so that no archive takes one course of commits for the other, whenever the server is killed.
        if !self.pending.is_empty() && self.committer.store.is_new_course() {
            self.put_setting(LINEAGE_SETTING, Lineage::draw().0.to_be_bytes().to_vec());
        }
        let Self { committer, now, pending, events, head, mut tidings, .. } = self;
        for names in [&mut tidings.ended, &mut tidings.changed] {
            names.sort_unstable();
            names.dedup();
        }
        // The head is in the same record as the events, so that no position is given twice (sled's `generate_id` may give one twice).
        let is_empty = pending.is_empty() && tidings == Tidings::default();
        let commits = committer.progress().commits + u64::from(!is_empty);
        let progress = Progress { head, commits };
        Ok((committer, Record { progress, made_at: now, writes: pending, tidings, events }))
    }

    /// Writes the time of this commit, if the time on disk is more than a minute away from it.
    fn keep_time(&mut self) {
        let is_near = |kept: Timestamp| kept.max(self.now).since(kept.min(self.now)) < TIME_WITHIN;
        if !self.committer.time_kept.is_some_and(is_near) {
            self.put(keys::setting(keys::TIME_SETTING), codec::encode_moment(self.now).to_vec());
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
        // The change will be refused, so the row need not be kept. This bounds memory.
        if self.undo.written > MAX_CHANGE_BYTES {
            return;
        }
        let before = self.pending.insert(key.clone(), write);
        self.bytes += bytes;
        self.bytes -= before.as_ref().map_or(0, row);
        self.undo.writes.push((key, before));
    }

    /// Counts what the change adds to the record beside its rows.
    pub(super) fn count(&mut self, bytes: usize) {
        self.undo.written += bytes;
        self.bytes += bytes;
    }
}

impl Rows for Transaction<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Error> {
        match self.pending.get(key) {
            Some(write) => Ok(write.value().cloned()),
            None => self.committer.store.get(key),
        }
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
