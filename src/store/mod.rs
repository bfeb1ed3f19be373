//! The embedded database: the only place that names sled.
//!
//! A commit goes to the end of the `journal`, which makes it durable, and to the `overlay` in memory; now and then a
//! `checkpoint` moves both into sled, where one tree holds everything. Whoever reads finds the overlay first (`scan`).
//! `keys` is the layout, `codec` the values; `open`, `disk` and `witness` are the recipe that makes sled safe;
//! `inspection` reads it through before and while it serves; `room` is how much a commit may need of the disk, `touched` how much sled
//! writes of some rows; `transaction` is the one way to write, `events` what is written of events, `chunks` how large data is, `answers` what is remembered of inserts with a key;
//! `tail` and `due` find what is to go, and take it away; `replay`, `latest_events`, `names`, `history` and `chain` are the ways to
//! read events, `readers` the threads that do so for who must not wait, `users` that to read all users, `epochs` tells their ids from those that another course of things gave out; `account_cache` is what is remembered of
//! users, `lookalikes` which names are taken, `damage` what becomes of a value that cannot be read.

mod account_cache;
mod answers;
mod chain;
mod checkpoint;
mod chunks;
mod codec;
mod commit_watermark;
mod damage;
mod disk;
mod due;
mod epochs;
mod events;
mod history;
mod integrity_scan;
mod journal;
mod keys;
mod latest_events;
mod lookalikes;
mod names;
mod open;
mod overlay;
mod readers;
mod replay;
mod room;
mod scan;
mod tail;
mod touched;
mod transaction;
mod users;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Account, EventId, Position, Timestamp, User, Username};
use crate::error::Error;

pub use answers::NewAnswer;
pub use codec::Answered;
pub use due::{Found, Search};
pub use events::{Activity, Due};
pub use history::{History, HistoryQuery, Page};
pub use latest_events::LatestEvents;
pub use lookalikes::NamesNoted;
pub use names::Names;
pub use open::{OPENING_THREAD, OpenError};
pub use readers::Lane;
pub use replay::{Missing, Replay, StoredEvent, Wanted};
pub use room::{MAX_CHANGE_BYTES, of_insert as bytes_of_insert};
pub use tail::{Oldest, TailCount, TooMuch};
pub use transaction::{Committer, Durable, Transaction};
pub use users::Users;

use account_cache::AccountCache;
use damage::{Told, damaged};
use epochs::Epochs;
use overlay::Overlay;
use readers::Readers;

/// The name of the setting with the time of the newest commit, to within a minute.
const TIME_SETTING: &str = "time";

/// The database, for reading: a cheap clone. Reads never wait for the writer.
#[derive(Clone)]
pub struct Store {
    tree: sled::Tree,
    overlay: Arc<Overlay>,
    /// The last position that is on disk. Nothing after it may be shown: a crash could take it back.
    head: Arc<AtomicU64>,
    epochs: Epochs,
    path: Arc<PathBuf>,
    accounts: Arc<AccountCache>,
    activity: Arc<Activity>,
    told: Arc<Told>,
    readers: Readers,
}

impl Store {
    /// Opens the database in a directory, which is made where there is none, and gives the reader's and the writer's end.
    /// A checkpoint begins whenever the journal has `journal_bytes`, or the overlay half as many.
    ///
    /// # Errors
    /// [`OpenError`], whose sentence says what is wrong and what to do.
    pub fn open(path: &Path, journal_bytes: u64) -> Result<(Self, Committer), OpenError> {
        open::open(path, journal_bytes)
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The position of the last event that is on disk.
    pub fn head(&self) -> Position {
        Position::new(self.head.load(Ordering::Acquire))
    }

    /// The id that subscribers see for the event at a position.
    pub fn event_id(&self, position: Position) -> EventId {
        EventId { position, epoch: self.epochs.of(position) }
    }

    /// The position in an id, where it is of this database, as it went on, and not from after its end.
    pub fn position_of(&self, id: EventId) -> Option<Position> {
        (id.position <= self.head() && id.epoch == self.epochs.of(id.position)).then_some(id.position)
    }

    /// Where events were inserted of late.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The user of this name.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails; [`Error::Damaged`].
    pub fn user(&self, username: &Username) -> Result<Option<User>, Error> {
        let key = keys::user(username);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        codec::decode_user(&value).map(Some).map_err(|why| damaged(&key, why))
    }

    /// What is asked of the user of this name at every door, usually from memory.
    ///
    /// # Errors
    /// As [`Store::user`].
    pub fn account(&self, username: &Username) -> Result<Option<Arc<Account>>, Error> {
        self.accounts.get_or_read(username, || {
            let key = keys::user(username);
            let Some(value) = self.get(&key)? else { return Ok(None) };
            codec::decode_account(&value).map(Some).map_err(|why| damaged(&key, why))
        })
    }

    /// A value that the whole server has one of.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.get(&keys::setting(name))?.map(|value| value.to_vec()))
    }

    /// When the newest commit was made that noted its time, to within a minute; `None` where there is none, as of earlier versions.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails.
    pub fn newest_timestamp(&self) -> Result<Option<Timestamp>, Error> {
        let key = keys::setting(TIME_SETTING);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        codec::decode_moment(&value).map(Some).map_err(|why| damaged(&key, why))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Error> {
        if let Some(known) = self.overlay.get(key) {
            return Ok(known);
        }
        self.look_in_sled(key, |value| Arc::from(value))
    }

    /// What something makes of a value, without a copy of it.
    fn look<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Error> {
        match self.overlay.get(key) {
            Some(known) => Ok(known.map(|value| read(&value))),
            None => self.look_in_sled(key, read),
        }
    }

    fn look_in_sled<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Error> {
        let value = self.tree.get(key).map_err(|error| failed(key, &error))?;
        Ok(value.map(|value| read(&value)))
    }
}

/// What sled says of a failure at a key, or at the first of several, for the log.
fn failed(key: &[u8], error: &sled::Error) -> Error {
    Error::Storage(format!("reading key {}: {error}", key.escape_ascii()))
}

#[cfg(test)]
mod tests;
