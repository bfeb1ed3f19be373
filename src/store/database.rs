use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use super::account_cache::AccountCache;
use super::activity::Activity;
use super::damage::ReportedDamage;
use super::disk::FullDisk;
use super::epochs::Epochs;
use super::keeping::Keeping;
use super::mqtt_cursors::MqttCursors;
use super::open_mark::OpenMark;
use super::overlay::Overlay;
use super::progress::Progress;
use super::readers::{Lane, Readers};
use super::rows::Rows;
use super::{codec, keys};
use crate::domain::{Account, EventId, Position, TenantName, Timestamp, User, Username};
use crate::error::Error;
use crate::fair::{Patience, Task};
use crate::metrics::Metrics;

/// The database, for reading: a cheap clone. Reads never wait for the writer.
#[derive(Clone)]
pub struct Store {
    pub(super) keeping: Keeping,
    pub(super) is_new_course: Arc<AtomicBool>,
    /// The last commit that there was when it was opened.
    pub(super) opened_at: u64,
    pub(super) tree: sled::Tree,
    pub(super) overlay: Arc<Overlay>,
    /// The last position that is on disk. Nothing after it may be shown: a crash could take it back.
    pub(super) head: Arc<AtomicU64>,
    /// How far readers see, for those who wait for more.
    pub(super) revealed: Arc<watch::Sender<Progress>>,
    pub(super) epochs: Epochs,
    pub(super) path: Arc<PathBuf>,
    pub(super) accounts: Arc<AccountCache>,
    pub(super) activity: Arc<Activity>,
    pub(super) reported: Arc<ReportedDamage>,
    pub(super) mqtt_cursors: Arc<MqttCursors>,
    pub(super) readers: Readers,
    pub(super) full_disk: Arc<FullDisk>,
    pub(super) metrics: Metrics,
    /// Held while the database is open. The last field: sled is closed before it is released.
    pub(super) _lock: Arc<OpenMark>,
}

impl Store {
    /// Whether this start goes on with fewer commits than were made, as an operator may decide after damage: further commits then have
    /// numbers that others had before.
    pub fn is_new_course(&self) -> bool {
        self.is_new_course.load(Ordering::Acquire)
    }

    /// Notes that other commits of the same numbers were made before: the database is an earlier one that was put back. The next commit
    /// gives it another lineage.
    pub fn begins_a_course(&self) {
        self.is_new_course.store(true, Ordering::Release);
    }

    /// The last commit that there was when it was opened.
    pub fn opened_at(&self) -> u64 {
        self.opened_at
    }

    /// Notes that it has another lineage now.
    pub(super) fn goes_its_course(&self) {
        self.is_new_course.store(false, Ordering::Release);
    }

    /// Removes what an earlier start has kept of the journal for an archive.
    ///
    /// # Errors
    /// Of the file system.
    pub fn keep_nothing(&self) -> std::io::Result<()> {
        self.keeping.clear()
    }

    /// Keeps nothing of the journal for the archive any more.
    pub fn keep_nothing_more(&self) {
        self.keeping.let_go();
    }

    /// The directory of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is counted of the server that has this database open.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many bytes of memory the commits take that are not in the database's own files yet, about.
    pub fn overlay_bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// The position of the last event that is on disk.
    pub fn head(&self) -> Position {
        Position::new(self.head.load(Ordering::Acquire))
    }

    /// Lets readers see everything up to here.
    pub(super) fn reveal(&self, progress: Progress) {
        self.head.store(progress.head.get(), Ordering::Release);
        self.revealed.send_replace(progress);
    }

    /// How far readers see.
    pub fn seen(&self) -> Progress {
        *self.revealed.borrow()
    }

    /// Waits until readers see the commit of this height, and with it every earlier one. That may never be, so whoever waits sets an end.
    pub async fn reaches(&self, height: u64) {
        self.wait_for(|seen| seen.commits >= height).await;
    }

    /// Waits until readers see the event at this position, and with it every earlier one.
    pub async fn reaches_position(&self, position: Position) {
        self.wait_for(|seen| seen.head >= position).await;
    }

    async fn wait_for(&self, is_enough: impl FnMut(&Progress) -> bool) {
        // It cannot fail: the sender lives as long as the store.
        let _ = self.revealed.subscribe().wait_for(is_enough).await;
    }

    /// The id that subscribers see for the event at a position.
    pub fn event_id(&self, position: Position) -> EventId {
        EventId { position, epoch: self.epochs.of(position) }
    }

    /// The position in an id, if this database gave out the id. An id of another database, or of an event that a
    /// restored copy lacks, has no position here.
    pub fn position_of(&self, id: EventId) -> Option<Position> {
        (id.position <= self.head() && id.epoch == self.epochs.of(id.position)).then_some(id.position)
    }

    /// The tenants that inserted events recently, and when something is due next.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// How far the sessions of MQTT have come.
    pub fn mqtt_cursors(&self) -> &MqttCursors {
        &self.mqtt_cursors
    }

    /// The user with this name.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn user(&self, username: &Username) -> Result<Option<User>, Error> {
        self.decoded(&keys::user(username), codec::decode_user)
    }

    /// The account of this user: the fields that every request needs, usually from memory.
    ///
    /// # Errors
    /// As [`Store::user`].
    pub fn account(&self, username: &Username) -> Result<Option<Arc<Account>>, Error> {
        self.accounts.get_or_read(username, || {
            let Some(account) = self.decoded(&keys::user(username), codec::decode_account)? else { return Ok(None) };
            let sessions = self.session_names(username, account.generation)?;
            Ok(Some(Account { sessions, ..account }))
        })
    }

    /// A value of which the whole server has one.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.get(&keys::setting(name))?.map(|value| value.to_vec()))
    }

    /// The time of the newest commit that noted its time, to within a minute. Databases of earlier versions have none.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn newest_timestamp(&self) -> Result<Option<Timestamp>, Error> {
        self.decoded(&keys::setting(keys::TIME_SETTING), codec::decode_moment)
    }

    /// How many names of a tenant have a value, as far as they have been counted.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn names(&self, tenant: &TenantName) -> Result<u64, Error> {
        Ok(self.decoded(&keys::names(tenant), codec::decode_count)?.unwrap_or(0))
    }

    /// Up to this position, only the latest event of each name is kept.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn floor(&self, tenant: &TenantName) -> Result<Position, Error> {
        self.position_at(&keys::floor(tenant))
    }

    /// Up to this position, removals of the tenant are forgotten.
    ///
    /// # Errors
    /// As [`Store::floor`].
    pub fn forgotten(&self, tenant: &TenantName) -> Result<Position, Error> {
        self.position_at(&keys::forgotten(tenant))
    }

    /// Up to this position, transient events of the tenant are forgotten.
    ///
    /// # Errors
    /// As [`Store::floor`].
    pub(super) fn forgotten_transients(&self, tenant: &TenantName) -> Result<Position, Error> {
        self.position_at(&keys::forgotten_transients(tenant))
    }

    /// Runs the first step of a read on a thread that may wait for the disk, when its lane's turn comes. A step must be
    /// short, a few milliseconds. A longer read continues with [`Store::read_on`], behind all others.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many reads wait; the errors of `read`.
    pub async fn read<T: Send + 'static>(
        &self,
        lane: &Lane,
        read: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.submit(lane, Patience::Refusable, read).await?
    }

    /// Runs a step of a read that has already begun, or that belongs to a stream. It is never refused. Each such read
    /// has one step in the queue at a time, and a step that is dropped leaves the queue.
    pub fn read_on<T: Send + 'static>(&self, lane: &Lane, read: impl FnOnce(&Self) -> T + Send + 'static) -> Task<T> {
        self.submit(lane, Patience::Unbounded, read)
    }

    fn submit<T: Send + 'static>(
        &self,
        lane: &Lane,
        patience: Patience,
        read: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Task<T> {
        let store = self.clone();
        self.readers.submit(lane, patience, move || read(&store))
    }

    /// The value that was read, or `None` if it is damaged. The log names each damaged value once.
    ///
    /// # Errors
    /// Any error but [`Error::Damaged`].
    pub fn unless_damaged<T>(&self, read: Result<T, Error>) -> Result<Option<T>, Error> {
        match read {
            Err(Error::Damaged(why)) => {
                self.reported.report(why);
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The result of a function on a value, without a copy of the value.
    pub(super) fn look<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Error> {
        match self.overlay.get(key) {
            Some(known) => Ok(known.map(|value| read(&value))),
            None => self.look_in_sled(key, read),
        }
    }

    fn look_in_sled<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Error> {
        let value = self.tree.get(key).map_err(|error| failed(key, &error))?;
        Ok(value.map(|value| read(&value)))
    }

    /// The damage that the log has named.
    #[cfg(test)]
    pub fn damage_told(&self) -> Vec<String> {
        self.reported.all()
    }

    /// Puts a value under a key past the writer.
    #[cfg(test)]
    pub fn smuggle(&self, key: Vec<u8>, value: &'static [u8]) {
        use super::{overlay, progress};
        self.overlay.apply([(key, overlay::Write::Put(value.into()))], progress::Progress::default());
    }
}

impl Rows for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, Error> {
        if let Some(known) = self.overlay.get(key) {
            return Ok(known);
        }
        self.look_in_sled(key, |value| Arc::from(value))
    }
}

/// The error for a failure of sled at a key, or at the first of several keys.
pub(super) fn failed(key: &[u8], error: &sled::Error) -> Error {
    Error::Storage(format!("reading key {}: {error}", key.escape_ascii()))
}
