use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::access::Access;
use super::grace::{Due, DueOf, GRACE, GoesOnFor, GoneStream, Left};
use super::presence::{Counted, PEOPLE_AT_ONCE, Presence};
use super::record::{Lease, Record, State, User};
use crate::domain::{Position, TenantName, Timestamp, Username};
use crate::events::ending::End;
use crate::events::mailbox::{Command, Mailbox, WorkerId};
use crate::events::small_map::SmallMap;
use crate::events::stream_id::{Serial, StreamId};

/// The records of all streams, and the lists by which they are found. Only [`Table::put`] changes a record, and brings every list
/// up to date with it.
#[derive(Default)]
pub struct Table {
    streams: HashMap<StreamId, Record>,
    left: BTreeMap<(StreamId, TenantName), Left>,
    users: HashMap<Username, User>,
    pub presence: Presence,
    /// When each grace is over, in that order. The stream may have been taken over since.
    due: VecDeque<Due>,
    /// Streams whose grace was over before the start.
    gone: Vec<GoneStream>,
    workers: Vec<Arc<Mailbox>>,
    last_worker: WorkerId,
    last: Serial,
}

impl Table {
    /// Adds a worker. Its mailbox is told of its streams and of users that come and go.
    pub fn add_worker(&mut self) -> Arc<Mailbox> {
        self.last_worker = self.last_worker.next();
        let mailbox = Arc::new(Mailbox::new(self.last_worker));
        self.workers.push(Arc::clone(&mailbox));
        mailbox
    }

    /// Forgets a worker that has ended.
    pub fn remove_worker(&mut self, id: WorkerId) {
        self.workers.retain(|worker| worker.id() != id);
    }

    /// The mailboxes of all workers.
    pub fn workers(&self) -> &[Arc<Mailbox>] {
        &self.workers
    }

    fn worker(&self, id: WorkerId) -> Option<&Arc<Mailbox>> {
        self.workers.iter().find(|worker| worker.id() == id)
    }

    /// One more handle of a user, to the access that they have now.
    pub fn take_handle(&mut self, username: &Username) -> Arc<Access> {
        let user = self.user(username);
        user.handles += 1;
        Arc::clone(&user.access)
    }

    /// One handle less.
    pub fn release_handle(&mut self, username: &Username) {
        let user = self.user(username);
        user.handles = user.handles.saturating_sub(1);
        self.forget_user(username);
    }

    fn user(&mut self, username: &Username) -> &mut User {
        self.users.entry(username.clone()).or_insert_with(|| User::new(username))
    }

    /// Forgets a user of whom there is nothing any more.
    fn forget_user(&mut self, username: &Username) {
        let is_gone = |user: &User| user.handles == 0 && user.open.is_empty() && user.orphaned.is_empty();
        if self.users.get(username).is_some_and(is_gone) {
            self.users.remove(username);
        }
    }

    /// A user asks for a stream with a handle: its id, and its serial.
    pub fn arrive(
        &mut self,
        (access, lease): (&Arc<Access>, Lease),
        tenant: &TenantName,
        goes_on: GoesOnFor,
        now: Timestamp,
    ) -> (StreamId, Serial) {
        let username = access.username();
        let id = self.taken_over(tenant, username, goes_on).unwrap_or_else(|| self.unused(StreamId::random));
        // Before its record is replaced. The id is that of the new stream from now on, whatever becomes of the old connection.
        self.end(id, End::Replaced);
        let (serial, state) = (self.next_serial(), State::Opening);
        self.come(tenant, username, now);
        self.put(id, Some(Record { access: Arc::clone(access), tenant: tenant.clone(), lease, serial, state }));
        (id, serial)
    }

    /// The first id drawn that no other stream has.
    pub fn unused(&self, mut draw: impl FnMut() -> StreamId) -> StreamId {
        loop {
            let id = draw();
            if !self.streams.contains_key(&id) {
                return id;
            }
        }
    }

    /// The stream of a user that ended a moment ago, or is open, and that a new one is to take over.
    fn taken_over(&self, tenant: &TenantName, username: &Username, goes_on: GoesOnFor) -> Option<StreamId> {
        let is_theirs = |id: &StreamId| {
            let record = self.streams.get(id);
            record.filter(|record| record.tenant == *tenant && record.access.username() == username)
        };
        let may_be = |id: &StreamId| is_theirs(id).is_some_and(|record| record.state == State::Orphaned);
        match goes_on {
            GoesOnFor::Last => self.users.get(username)?.orphaned.values().rev().copied().find(may_be),
            GoesOnFor::This(id) => Some(id).filter(may_be),
            GoesOnFor::Replaces(id) => Some(id).filter(|id| is_theirs(id).is_some()),
            GoesOnFor::None => None,
        }
    }

    /// The record of a stream, if it is that of this connection: another one may have taken the stream over.
    fn of_connection(&self, id: StreamId, serial: Serial) -> Option<&Record> {
        self.streams.get(&id).filter(|record| record.serial == serial)
    }

    /// A worker has a stream now. If its user has too many open then, the oldest ones end. Returns whether no other connection has taken
    /// it over by now.
    pub fn open(&mut self, (id, serial): (StreamId, Serial), worker: WorkerId, at_most: usize) -> bool {
        let Some(access) = self.of_connection(id, serial).map(|record| Arc::clone(&record.access)) else {
            return false;
        };
        // The end may have come between the request and this. The subscription looks at its access, too.
        let state = if access.is_ended() { State::Ending } else { State::Open(worker) };
        self.set_state(id, state);
        let oldest = self.too_many(access.username(), at_most);
        oldest.into_iter().for_each(|id| self.end(id, End::TooManyStreams));
        true
    }

    /// The oldest streams of a user, but for those of shares, that are open beyond so many.
    fn too_many(&self, username: &Username, at_most: usize) -> Vec<StreamId> {
        let Some(user) = self.users.get(username).filter(|user| user.open.len() > at_most) else { return Vec::new() };
        let is_own = |id: &&StreamId| self.streams.get(id).is_some_and(|record| !record.lease.is_of_share);
        let own = user.open.values().filter(is_own).count();
        user.open.values().filter(is_own).take(own.saturating_sub(at_most)).copied().collect()
    }

    /// Has a stream end for a reason, if it is open.
    pub fn end(&mut self, id: StreamId, why: End) {
        let Some(&Record { serial, state: State::Open(worker), .. }) = self.streams.get(&id) else { return };
        self.set_state(id, State::Ending);
        if let Some(worker) = self.worker(worker) {
            worker.post_command(serial, Command::End(why));
        }
    }

    /// Ends the streams that a user has, and those for which there is a handle by now. No record is changed: that they have been ended
    /// is read from their access. Returns the list of those that were open, which is to be dropped without the lock of this table.
    #[must_use]
    pub fn end_user(&mut self, username: &Username) -> SmallMap<Serial, StreamId> {
        let Some(user) = self.users.get_mut(username) else { return SmallMap::default() };
        std::mem::replace(&mut user.access, Arc::new(Access::new(username))).end();
        let open = std::mem::take(&mut user.open);
        if !open.is_empty() {
            self.workers.iter().for_each(|worker| worker.post_end(username));
        }
        open
    }

    /// Notes that a user may see other events than before, and has the workers look at their rights.
    pub fn change_user(&self, username: &Username) {
        if let Some(user) = self.users.get(username) {
            user.access.change();
            self.workers.iter().for_each(|worker| worker.post_change(username));
        }
    }

    /// The connection of a stream has closed. It may be taken over until the grace is over, unless that has happened.
    pub fn leave(&mut self, (id, serial): (StreamId, Serial), now: Instant) {
        if let Some(Record { access, tenant, .. }) = self.of_connection(id, serial) {
            let (access, tenant) = (Arc::clone(access), tenant.clone());
            self.orphan(id, access, tenant, now);
        }
    }

    /// A stream of a user has ended. Whoever takes it over brings a sign-in of their own.
    fn orphan(&mut self, id: StreamId, access: Arc<Access>, tenant: TenantName, now: Instant) {
        let (serial, state, lease) = (self.next_serial(), State::Orphaned, Lease::default());
        self.put(id, Some(Record { access, tenant, lease, serial, state }));
        self.due.push_back(Due { at: now + GRACE, stream: id, of: DueOf::Ended(serial) });
    }

    /// The user of a stream goes to another tenant with it, at a position.
    pub fn move_to(&mut self, (id, serial): (StreamId, Serial), to: &TenantName, now: (Timestamp, Instant, Position)) {
        let Some(mut record) = self.of_connection(id, serial).cloned() else { return };
        let from = std::mem::replace(&mut record.tenant, to.clone());
        let access = Arc::clone(&record.access);
        self.leave_behind(id, &from, access.username(), now.2, now.1);
        self.come(to, access.username(), now.0);
        self.put(id, Some(record));
        // If it comes back within the grace, it was never gone.
        self.forget_left(id, to);
    }

    /// Takes a stream of before the start for one that ends now, or that leaves a tenant now, at a position.
    pub fn recall(
        &mut self,
        id: StreamId,
        tenant: &TenantName,
        username: &Username,
        moved_at: Option<Position>,
        now: Instant,
    ) {
        match moved_at {
            Some(moved_at) => self.leave_behind(id, tenant, username, moved_at, now),
            None => {
                let access = Arc::clone(&self.user(username).access);
                self.orphan(id, access, tenant.clone(), now);
            }
        }
    }

    fn leave_behind(
        &mut self,
        id: StreamId,
        tenant: &TenantName,
        username: &Username,
        moved_at: Position,
        now: Instant,
    ) {
        let until = now + GRACE;
        self.presence.add(tenant, username, Counted::Orphaned);
        self.forget_left(id, tenant);
        self.left.insert((id, tenant.clone()), Left { username: username.clone(), until, moved_at });
        self.due.push_back(Due { at: until, stream: id, of: DueOf::Left(tenant.clone()) });
    }

    fn forget_left(&mut self, id: StreamId, tenant: &TenantName) {
        if let Some(left) = self.left.remove(&(id, tenant.clone())) {
            self.uncount(tenant, &left.username, Counted::Orphaned);
        }
    }

    /// Whether a user has a stream: it is open, about to be, or ended so lately that it may be taken over.
    pub fn has_stream(&self, username: &Username, id: StreamId) -> bool {
        self.streams.get(&id).is_some_and(|record| record.access.username() == username)
    }

    /// The serial of a user's stream, and its worker, if it is open.
    pub fn open_stream(&self, username: &Username, id: StreamId) -> Option<(Serial, Arc<Mailbox>)> {
        let record = self.streams.get(&id).filter(|record| record.access.username() == username)?;
        match record.state {
            State::Open(worker) if !record.access.is_ended() => Some((record.serial, Arc::clone(self.worker(worker)?))),
            _ => None,
        }
    }

    /// By which sign-in a stream goes on, unless another connection has the stream by now.
    pub fn lease_of(&self, id: StreamId, serial: Serial) -> Option<Lease> {
        Some(self.of_connection(id, serial)?.lease)
    }

    /// Renews an open stream of a user, if this sign-in may. Returns what it goes on by.
    pub fn renew(&mut self, username: &Username, id: StreamId, by: Lease) -> Option<(Serial, Arc<Mailbox>, Lease)> {
        let (serial, worker) = self.open_stream(username, id)?;
        let lease = &mut self.streams.get_mut(&id)?.lease;
        *lease = lease.renewed_by(by)?;
        Some((serial, worker, *lease))
    }

    /// Notes that the grace of a stream is over.
    pub fn forget(&mut self, gone: GoneStream) {
        self.gone.push(gone);
    }

    /// Takes out some of the streams whose grace is over, and tells of the users that have gone with them. Returns the streams, and
    /// whether there are more.
    pub fn take_gone(&mut self, now: Instant) -> (Vec<GoneStream>, bool) {
        let mut gone = std::mem::take(&mut self.gone);
        for _ in 0..PEOPLE_AT_ONCE {
            let Some(due) = self.due.pop_front_if(|due| due.at <= now) else { break };
            gone.extend(self.let_go(due));
        }
        (gone, self.due.front().is_some_and(|due| due.at <= now))
    }

    /// A grace is over, unless the stream has been taken over, or has come back to the tenant, since it began.
    fn let_go(&mut self, Due { at, stream, of }: Due) -> Option<GoneStream> {
        match of {
            DueOf::Ended(serial) => {
                self.streams.get(&stream).filter(|record| record.serial == serial)?;
                self.put(stream, None);
                // With events that were bound to it in another tenant after it had left this one.
                Some(GoneStream { stream, only: None })
            }
            DueOf::Left(tenant) => {
                let moved_at = self.left.get(&(stream, tenant.clone())).filter(|left| left.until == at)?.moved_at;
                self.forget_left(stream, &tenant);
                Some(GoneStream { stream, only: Some((tenant, moved_at)) })
            }
        }
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        self.streams.len()
    }

    fn next_serial(&mut self) -> Serial {
        self.last = self.last.next();
        self.last
    }

    fn set_state(&mut self, id: StreamId, state: State) {
        if let Some(record) = self.streams.get(&id).cloned() {
            self.put(id, Some(Record { state, ..record }));
        }
    }

    /// Puts a record in the place of the one that a stream has, and brings the lists and the presence of its user up to date.
    fn put(&mut self, id: StreamId, record: Option<Record>) {
        let before = self.streams.remove(&id);
        let is_counted = before.as_ref().map(Record::counts) == record.as_ref().map(Record::counts);
        if let Some(before) = &before
            && let Some(list) = self.user(before.access.username()).list(before)
        {
            list.remove(&before.serial);
        }
        // Before the other one is uncounted: its user is not gone in between.
        if let Some(record) = record {
            let username = record.access.username();
            if let Some(list) = self.user(username).list(&record) {
                list.insert(record.serial, id);
            }
            if !is_counted {
                self.presence.add(&record.tenant, username, record.state.counted());
            }
            self.streams.insert(id, record);
        }
        if let Some(Record { access, tenant, state, .. }) = before {
            if !is_counted {
                self.uncount(&tenant, access.username(), state.counted());
            }
            self.forget_user(access.username());
        }
    }

    /// A user comes to a tenant, in which a record of theirs is about to be counted.
    fn come(&mut self, tenant: &TenantName, username: &Username, now: Timestamp) {
        // Nobody is there because events are shared.
        if !username.is_of_shares() && self.presence.come(tenant, username, now) {
            self.tell(tenant, username);
        }
    }

    fn uncount(&mut self, tenant: &TenantName, username: &Username, counted: Counted) {
        if self.presence.remove(tenant, username, counted) {
            self.tell(tenant, username);
        }
    }

    /// Tells every worker of a user that has come or gone. A worker that looks at the presence, and then into its mailbox, knows of
    /// everybody: both change under the lock of this table.
    fn tell(&self, tenant: &TenantName, username: &Username) {
        self.workers.iter().for_each(|worker| worker.post_presence(tenant, username));
    }

    #[cfg(test)]
    pub fn serial(&self, id: StreamId) -> Serial {
        self.streams.get(&id).map_or_else(Serial::default, |record| record.serial)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let Self { streams, left, users, presence, due, .. } = self;
        streams.is_empty() && left.is_empty() && users.is_empty() && presence.is_empty() && due.is_empty()
    }

    /// The only stream that a user has open.
    #[cfg(test)]
    pub fn only(&self, username: &Username) -> StreamId {
        let open: Vec<_> = self.users[username].open.values().collect();
        assert_eq!(open.len(), 1);
        *open[0]
    }

    /// Whether a user has no stream that is open, about to be, or about to close.
    #[cfg(test)]
    pub fn is_gone(&self, username: &Username) -> bool {
        self.users.get(username).is_none_or(|user| user.handles == 0)
    }
}
