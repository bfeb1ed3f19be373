//! Every stream of every user: one record each, from when its client asks for it until its grace is over.
//!
//! All of it is one table under one lock, whichever worker a stream is on. So a stream that ends and may be taken over, or that is
//! taken over, is never between two tables; and the users that are present are counted from the same records.

mod access;
mod grace;
mod presence;
mod record;
mod table;

use std::cell::Cell;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::lock::lock;
use super::mailbox::Mailbox;
use super::stream_id::{Serial, StreamId};
use super::survey::Survey;
use crate::domain::{Position, SessionId, TenantName, Timestamp, Username};
use access::Access;
pub use grace::{GRACE, GoesOnFor, GoneStream};
pub use presence::{Crowd, PEOPLE_AT_ONCE, Person, Presence};
pub use record::Lease;
use table::Table;

/// Over how many milliseconds the clients of a server that stops come back, at the most. Up to that it is one for each stream.
const LONGEST_SPREAD: u32 = 30_000;

/// The streams of a hub. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Table>>);

/// A handle to a user's streams, with which one is opened. A request takes it before it looks at the user's rights: every change
/// after that look ends the handle, or is counted by it.
pub struct UserStreams {
    registry: Registry,
    access: Arc<Access>,
}

/// One connection of a stream of a user. The stream has a record as long as this exists, and for the grace after that. Once another
/// connection has taken the stream over, the record is that one's, and this changes nothing any more.
pub struct PresenceGuard {
    user_streams: UserStreams,
    /// The stream's name for its user.
    pub id: StreamId,
    /// When it ends if it is not renewed; `None` is never.
    pub expires_at: Cell<Option<Timestamp>>,
    serial: Serial,
}

impl Registry {
    /// A handle to the streams of a user, with which one is opened. Those that have been ended are not among them. Take it *before*
    /// the last check of the user's rights, so that no change falls between the two.
    pub fn user_streams(&self, username: &Username) -> UserStreams {
        let access = lock(&self.0).take_handle(username);
        UserStreams { registry: self.clone(), access }
    }

    /// Ends the streams of a user, also those that are about to be opened with a handle. The writer waits for this, so it costs about
    /// the same however many streams the user has: their workers do the rest.
    pub fn end_streams_of(&self, username: &Username) {
        let ended = lock(&self.0).end_user(username);
        // Not under the lock: the list may be long.
        drop(ended);
    }

    /// Notes that a user may see other events than before: each of their streams looks at their rights before it gives more.
    pub fn change_rights_of(&self, username: &Username) {
        lock(&self.0).change_user(username);
    }

    /// The serial of a user's stream, and its worker, if it is open.
    pub fn open_stream(&self, username: &Username, id: StreamId) -> Option<(Serial, Arc<Mailbox>)> {
        lock(&self.0).open_stream(username, id)
    }

    /// Renews a user's stream, if it is open and this sign-in may. Returns its serial, its worker, and by what it goes on.
    pub fn renew(&self, username: &Username, id: StreamId, by: Lease) -> Option<(Serial, Arc<Mailbox>, Lease)> {
        lock(&self.0).renew(username, id, by)
    }

    /// Whether a user has a stream that is open, about to be, or ended within the grace. Once it is not, it never is again.
    pub fn has_stream(&self, username: &Username, id: StreamId) -> bool {
        lock(&self.0).has_stream(username, id)
    }

    /// How many users are present, and where most of them are.
    pub fn crowd(&self) -> Crowd {
        self.look(Presence::crowd)
    }

    /// Looks at the users that are present. Meanwhile nobody comes or goes.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Presence) -> T) -> T {
        at(&lock(&self.0).presence)
    }

    /// Some of the users of a tenant that are present, by name and after one of them. Returns also whether there are more.
    pub fn people_after(&self, tenant: &TenantName, after: Option<&Username>) -> (Vec<Person>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        // Not all of them under the lock: every user that comes or goes waits for it.
        let people = self.look(|presence| presence.people(tenant, from, PEOPLE_AT_ONCE));
        let is_more = people.len() == PEOPLE_AT_ONCE;
        (people, is_more)
    }

    /// The users of a tenant that are present, by name. A user that comes or goes meanwhile is among them or not.
    pub fn people(&self, tenant: &TenantName) -> Vec<Person> {
        let mut people: Vec<Person> = Vec::new();
        loop {
            let (next, is_more) = self.people_after(tenant, people.last().map(|last| &last.username));
            people.extend(next);
            if !is_more {
                return people;
            }
        }
    }

    /// One more stream is told which users of a tenant are present.
    pub fn watch(&self, tenant: &TenantName) {
        lock(&self.0).presence.watch(tenant);
    }

    /// One stream less is told.
    pub fn unwatch(&self, tenant: &TenantName) {
        lock(&self.0).presence.unwatch(tenant);
    }

    /// Takes a stream of before the start for one that ends now; or, at a position, for one that leaves its tenant now.
    pub fn recall(&self, id: StreamId, tenant: &TenantName, username: &Username, moved_at: Option<Position>) {
        lock(&self.0).recall(id, tenant, username, moved_at, Instant::now());
    }

    /// Notes that the grace of a stream is over.
    pub fn forget(&self, gone: GoneStream) {
        lock(&self.0).forget(gone);
    }

    /// Takes out the streams whose grace is over, and tells of the users that have gone with them.
    pub fn take_gone(&self) -> Vec<GoneStream> {
        let mut all = Vec::new();
        loop {
            // With the lock given back after each part: users that went all at once may come back all at once, and wait for it.
            let (gone, is_more) = lock(&self.0).take_gone(Instant::now());
            all.extend(gone);
            if !is_more {
                return all;
            }
        }
    }

    /// Adds a worker. Its mailbox is told of its streams and of users that come and go.
    pub fn add_worker(&self) -> Arc<Mailbox> {
        lock(&self.0).add_worker()
    }

    /// Forgets a worker that has ended.
    pub fn remove_worker(&self, mailbox: &Mailbox) {
        lock(&self.0).remove_worker(mailbox.id());
    }

    /// Has every worker end its streams. Each receiver resolves when one of them has. The more streams there are, the longer is the time
    /// over which their clients come back.
    pub fn close(&self) -> Vec<oneshot::Receiver<()>> {
        let table = lock(&self.0);
        let spread = u32::try_from(table.records()).unwrap_or(u32::MAX).min(LONGEST_SPREAD);
        table.workers().iter().map(|worker| worker.post_closing(spread)).collect()
    }

    /// Has every worker end the streams that it has now, one after the other within this time.
    pub fn drain(&self, within: Duration) {
        lock(&self.0).workers().iter().for_each(|worker| worker.post_drain(within));
    }

    /// Asks every worker what its streams do.
    pub fn survey(&self) -> Vec<oneshot::Receiver<Survey>> {
        lock(&self.0).workers().iter().map(|worker| worker.post_survey()).collect()
    }

    /// Has every grace that has begun be over.
    #[cfg(test)]
    pub fn end_graces(&self) {
        while lock(&self.0).take_gone(Instant::now() + GRACE).1 {}
    }

    /// The only stream that a user has open.
    #[cfg(test)]
    pub fn only(&self, username: &Username) -> StreamId {
        lock(&self.0).only(username)
    }

    /// Whether a user has no stream that is open, about to be, or about to close.
    #[cfg(test)]
    pub fn is_gone(&self, username: &Username) -> bool {
        lock(&self.0).is_gone(username)
    }
}

impl UserStreams {
    /// The user.
    pub fn username(&self) -> &Username {
        self.access.username()
    }

    /// Whether the streams must write nothing more. This is so before an event of the commit that ended them can be seen.
    pub fn is_ended(&self) -> bool {
        self.access.is_ended()
    }

    /// How often the events that the user may see have changed. It is counted before an event of the commit that changed them can be
    /// seen.
    pub fn changes(&self) -> u64 {
        self.access.changes()
    }

    /// Begins a stream in a tenant, by a sign-in: the user is present from now on.
    pub fn arrive_by(self, lease: Lease, tenant: &TenantName, goes_on: GoesOnFor, now: Timestamp) -> PresenceGuard {
        let (id, serial) = lock(&self.registry.0).arrive((&self.access, lease), tenant, goes_on, now);
        PresenceGuard { user_streams: self, id, expires_at: Cell::new(lease.expires_at), serial }
    }

    /// The same by a sign-in without a session that does not expire.
    #[cfg(test)]
    pub fn arrive(self, tenant: &TenantName, goes_on: GoesOnFor, now: Timestamp) -> PresenceGuard {
        self.arrive_by(Lease::default(), tenant, goes_on, now)
    }
}

impl Drop for UserStreams {
    fn drop(&mut self) {
        lock(&self.registry.0).release_handle(self.access.username());
    }
}

impl PresenceGuard {
    /// The streams of its user.
    pub fn user_streams(&self) -> &UserStreams {
        &self.user_streams
    }

    /// The number by which its worker knows it.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// The session that it belongs to, if its client has signed in by one. It is asked for when rights have changed, so each stream need
    /// not have it.
    pub fn session(&self) -> Option<SessionId> {
        lock(&self.user_streams.registry.0).lease_of(self.id, self.serial)?.session
    }

    /// A worker has it now. If its user has more than so many streams open then, the oldest ones end. Returns whether the stream is still
    /// this one's, and no later connection has taken it over.
    pub fn open(&self, worker: &Mailbox, at_most: usize) -> bool {
        lock(&self.user_streams.registry.0).open((self.id, self.serial), worker.id(), at_most)
    }

    /// Its user goes to another tenant with it. No event after this position is bound to it in the tenant before, unless they come
    /// back.
    pub fn move_to(&self, tenant: &TenantName, now: Timestamp, head: Position) {
        lock(&self.user_streams.registry.0).move_to((self.id, self.serial), tenant, (now, Instant::now(), head));
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        lock(&self.user_streams.registry.0).leave((self.id, self.serial), Instant::now());
    }
}

#[cfg(test)]
mod tests;
