//! The one way to write: changes are decided against a [`Transaction`], which is committed whole.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::checkpoint::Checkpointer;
use super::inspection::Inspection;
use super::journal::Journal;
use super::overlay::Write;
use super::witness::Witness;
use super::{RETAINED_BYTES, RETAINED_EVENTS, Store, codec, damaged, keys};
use crate::domain::{
    Account, Event, EventName, MAX_USER_BYTES, Payload, Position, Standing, TenantName, Timestamp, User, Username,
};
use crate::error::Error;

/// How much one commit may write; the room for it has been set aside on the disk before.
pub const MAX_COMMIT_BYTES: usize = 2 << 20;
/// By how many events a tenant's tail may outgrow its bounds before it is cut: the floor is then written once for many.
const TAIL_SLACK: usize = 64;

/// The writer's end of the store. There is one, and it does not clone: two writers would be two orders.
pub struct Committer {
    store: Store,
    journal: Journal,
    /// How long the journal grows before a checkpoint.
    journal_bytes: u64,
    checkpointer: Checkpointer,
    inspection: Inspection,
    witness: Witness,
    /// How many commits there have been.
    commits: u64,
    tails: HashMap<TenantName, Tail>,
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

/// The events of one tenant that are kept beyond the latest of each name: those after the floor.
#[derive(Clone, Copy)]
struct Tail {
    floor: Position,
    events: usize,
    bytes: usize,
}

/// What a [`Committer`] works with.
pub(super) struct Tools {
    pub journal: Journal,
    pub journal_bytes: u64,
    pub checkpointer: Checkpointer,
    pub inspection: Inspection,
    pub witness: Witness,
    pub lock: File,
}

impl Committer {
    pub(super) fn new(store: Store, commits: u64, tools: Tools) -> Self {
        let Tools { journal, journal_bytes, checkpointer, inspection, witness, lock } = tools;
        let tails = HashMap::new();
        Self { store, journal, journal_bytes, checkpointer, inspection, witness, commits, tails, _lock: lock }
    }

    /// Starts a transaction at a moment, which every event in it gets as its timestamp.
    ///
    /// # Errors
    /// [`Error::StorageFull`] where the disk has no room for another commit; [`Error::Storage`] where the database failed.
    pub fn begin(&mut self, now: Timestamp) -> Result<Transaction<'_>, Error> {
        self.checkpointer.failure()?;
        self.inspection.outcome()?;
        if self.journal.bytes() >= self.journal_bytes
            || self.store.overlay.active_bytes() as u64 >= self.journal_bytes / 2
        {
            self.checkpoint()?;
        }
        match self.journal.reserve() {
            // What is in the journal may take less room in sled, where names that changed often are there once.
            Err(Error::StorageFull)
                if self.journal.bytes() > MAX_COMMIT_BYTES as u64 && !self.store.overlay.is_frozen() =>
            {
                self.checkpoint()?;
                self.journal.reserve()?;
            }
            reserved => reserved?,
        }
        let head = self.store.head();
        Ok(Transaction {
            committer: self,
            now,
            head,
            pending: HashMap::new(),
            users: HashMap::new(),
            bytes: 0,
            events: Vec::new(),
        })
    }

    /// Begins a checkpoint, once the one before is made: so at most two tables are ever in memory.
    fn checkpoint(&mut self) -> Result<(), Error> {
        if self.store.overlay.is_frozen() {
            self.checkpointer.wait()?;
        }
        let journal = self.journal.rotate()?;
        self.checkpointer.begin(self.store.overlay.freeze(), journal);
        Ok(())
    }
}

/// Changes that are decided one after another, each seeing those before it, and that reach the disk together or not at all.
pub struct Transaction<'a> {
    committer: &'a mut Committer,
    now: Timestamp,
    head: Position,
    /// What is to be written.
    pending: HashMap<Vec<u8>, Write>,
    /// The users that change, as they are after the changes so far.
    users: HashMap<Username, (User, Account)>,
    bytes: usize,
    events: Vec<Event>,
}

impl Transaction<'_> {
    /// The moment of this transaction.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether nothing more should be added, lest the room set aside for it be too little.
    pub fn is_full(&self) -> bool {
        self.bytes >= MAX_COMMIT_BYTES
    }

    /// The user of this name, with every change that was decided before.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails or the record is damaged.
    pub fn user(&self, username: &Username) -> Result<Option<User>, Error> {
        match self.users.get(username) {
            Some((user, _)) => Ok(Some(user.clone())),
            None => self.committer.store.user(username),
        }
    }

    /// Whether there is such a user, who upholds what somebody's rights rest on.
    ///
    /// # Errors
    /// As [`Transaction::user`].
    pub fn upholds(&self, username: &Username, standing: &Standing) -> Result<bool, Error> {
        match self.users.get(username) {
            Some((_, account)) => Ok(account.upholds(standing)),
            None => Ok(self.committer.store.account(username)?.is_some_and(|account| account.upholds(standing))),
        }
    }

    /// Writes a user, new or changed.
    ///
    /// # Errors
    /// [`Error::UserTooLarge`]; nothing is written then.
    pub fn put_user(&mut self, user: &User) -> Result<(), Error> {
        let value = codec::encode_user(user);
        if value.len() > MAX_USER_BYTES {
            return Err(Error::UserTooLarge);
        }
        self.put(keys::user(&user.username), value);
        self.users.insert(user.username.clone(), (user.clone(), user.into()));
        Ok(())
    }

    /// Writes a value that the whole server has one of.
    pub fn put_setting(&mut self, name: &str, value: Vec<u8>) {
        self.put(keys::setting(name), value);
    }

    /// Gives an event the next position and makes it the latest of its name.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails.
    pub fn insert_event(
        &mut self,
        tenant: TenantName,
        username: Username,
        name: EventName,
        data: Payload,
    ) -> Result<Event, Error> {
        let name_key = keys::name(&tenant, name.as_str());
        let previous = self.position_at(&name_key)?;
        let mut tail = self.tail(&tenant)?;
        // Below the floor only the latest is kept, and this one no longer is.
        if let Some(previous) = previous.filter(|previous| *previous <= tail.floor) {
            self.remove(keys::event(&tenant, previous));
        }

        let event =
            Event { position: self.head.next(), tenant: tenant.clone(), name, username, timestamp: self.now, data };
        let value = codec::encode_event(&event);
        tail.events += 1;
        tail.bytes += value.len();
        self.put(name_key, codec::encode_position(event.position).to_vec());
        self.write(keys::event(&tenant, event.position), Write::PutNew(value.into()));
        if tail.events > RETAINED_EVENTS + TAIL_SLACK || tail.bytes > RETAINED_BYTES {
            self.shorten(&tenant, &mut tail)?;
        }
        self.committer.tails.insert(tenant, tail);
        self.head = event.position;
        self.events.push(event.clone());
        Ok(event)
    }

    /// Raises the floor of a tenant until its tail is within its bounds: superseded events go, latest ones stay.
    fn shorten(&mut self, tenant: &TenantName, tail: &mut Tail) -> Result<(), Error> {
        let from = keys::event(tenant, tail.floor.next());
        // Only what is on disk is looked at: a transaction is far shorter than a tail.
        let until = keys::event(tenant, self.committer.store.head().next());
        let store = self.committer.store.clone();
        store.scan(&from, &until, &mut |key, value| {
            if tail.events <= RETAINED_EVENTS && tail.bytes <= RETAINED_BYTES {
                return Ok(false);
            }
            let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
            let name = codec::event_parts(value).map_err(|why| damaged(key, why))?.name;
            if self.position_at(&keys::name(tenant, name))? != Some(position) {
                self.remove(key.to_vec());
            }
            tail.floor = position;
            tail.events -= 1;
            tail.bytes -= value.len();
            Ok(true)
        })?;
        self.put(keys::floor(tenant), codec::encode_position(tail.floor).to_vec());
        Ok(())
    }

    /// How long the tail of a tenant is: counted once after the start, then carried along.
    fn tail(&mut self, tenant: &TenantName) -> Result<Tail, Error> {
        if let Some(tail) = self.committer.tails.get(tenant) {
            return Ok(*tail);
        }
        let floor = self.committer.store.floor(tenant)?;
        let mut tail = Tail { floor, events: 0, bytes: 0 };
        let (first, end) = (keys::event(tenant, floor.next()), keys::event(tenant, Position::END));
        self.committer.store.scan(&first, &end, &mut |_, value| {
            tail.events += 1;
            tail.bytes += value.len();
            Ok(true)
        })?;
        Ok(tail)
    }

    /// The position of the last event so far.
    pub fn head(&self) -> Position {
        self.head
    }

    /// Writes everything, and makes it durable with one write and one sync.
    ///
    /// # Errors
    /// [`Error::Storage`]. What is on disk is then unknown, and the server must stop: trying again after a failed sync
    /// may find it succeed without the data being there.
    pub fn commit(self) -> Result<Durable, Error> {
        let Self { committer, pending, events, head, users, .. } = self;
        let durable = Durable { events, head, store: committer.store.clone() };
        if pending.is_empty() {
            return Ok(durable);
        }
        // With the events, so that a position is never given twice (sled's `generate_id` is not).
        let progress = Progress { head, commits: committer.commits + 1 };
        committer.journal.append(progress, pending.iter())?;
        // Before anybody is told.
        users.keys().for_each(|username| committer.store.accounts.forget(username));
        committer.store.overlay.apply(pending, progress);
        committer.commits = progress.commits;
        committer.witness.note(progress.commits);
        Ok(durable)
    }

    fn position_at(&self, key: &[u8]) -> Result<Option<Position>, Error> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        codec::decode_position(&value).map(Some).map_err(|why| damaged(key, why))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Error> {
        match self.pending.get(key) {
            Some(write) => Ok(write.value().cloned()),
            None => self.committer.store.get(key),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.write(key, Write::Put(value.into()));
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.write(key, Write::Remove);
    }

    fn write(&mut self, key: Vec<u8>, write: Write) {
        self.bytes += key.len() + write.value().map_or(0, |value| value.len());
        self.pending.insert(key, write);
    }
}
