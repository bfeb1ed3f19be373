use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::presence::{Counted, PEOPLE_AT_ONCE, Presence};
use super::{Access, GRACE, GoesOnFor, GoneStream};
use crate::domain::{Position, TenantName, Timestamp, Username};
use crate::events::mailbox::{Command, Mailbox};
use crate::events::stream_id::{Serial, StreamId};

/// The records of all streams, and the lists by which they are found. Only [`Table::put`] changes a record, and brings every list
/// up to date with it.
#[derive(Default)]
pub struct Table {
    streams: HashMap<StreamId, Record>,
    left: BTreeMap<(StreamId, TenantName), Left>,
    /// The open streams of each user, the oldest first, and those that may be taken over, the one that ended last at the end.
    by_user: BTreeMap<(Username, Listed, Serial), StreamId>,
    users: HashMap<Username, User>,
    pub presence: Presence,
    /// When each grace is over, in that order. The stream may have been taken over since.
    due: VecDeque<Due>,
    /// Streams whose grace was over before the start.
    gone: Vec<GoneStream>,
    pub workers: Vec<Arc<Mailbox>>,
    last: Serial,
}

/// A stream, from when its client asks for it until its grace is over.
#[derive(Clone)]
struct Record {
    username: Username,
    tenant: TenantName,
    /// That of the connection, or of its end.
    serial: Serial,
    state: State,
}

#[derive(Clone)]
enum State {
    /// Its client has been promised it. No worker has it yet.
    Opening,
    /// A worker has it.
    Open(Arc<Mailbox>),
    /// It has been told to end, and is there until its connection has closed.
    Ending,
    /// It has ended, and may be taken over until then.
    Orphaned(Instant),
}

/// That a stream was in a tenant that its user has moved out of: for the grace it counts as there.
struct Left {
    username: Username,
    until: Instant,
    /// The last position by then. Events that were bound to the stream later were bound by a user who has come back.
    moved_at: Position,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Listed {
    Open,
    Orphaned,
}

/// A user as long as somebody has a handle of theirs, which every stream has that has not ended.
#[derive(Default)]
struct User {
    access: Arc<Access>,
    handles: usize,
    /// How many of the streams are open.
    open: usize,
}

struct Due {
    at: Instant,
    stream: StreamId,
    /// The tenant that it has left; `None` if the stream itself has ended.
    left: Option<TenantName>,
}

impl Record {
    fn listed(&self) -> Option<Listed> {
        match self.state {
            State::Open(_) => Some(Listed::Open),
            State::Orphaned(_) => Some(Listed::Orphaned),
            State::Opening | State::Ending => None,
        }
    }

    fn counted(&self) -> Counted {
        match self.state {
            State::Orphaned(_) => Counted::Orphaned,
            State::Opening | State::Open(_) | State::Ending => Counted::Connected,
        }
    }
}

impl Table {
    /// One more handle of a user, to the access that they have now.
    pub fn take_handle(&mut self, username: &Username) -> Arc<Access> {
        let user = self.users.entry(username.clone()).or_default();
        user.handles += 1;
        Arc::clone(&user.access)
    }

    /// One handle less.
    pub fn release_handle(&mut self, username: &Username) {
        let Some(user) = self.users.get_mut(username) else { return };
        user.handles = user.handles.saturating_sub(1);
        if user.handles == 0 {
            self.users.remove(username);
        }
    }

    /// A user asks for a stream: its id, and its serial.
    pub fn arrive(
        &mut self,
        tenant: &TenantName,
        username: &Username,
        goes_on: GoesOnFor,
        now: Timestamp,
    ) -> (StreamId, Serial) {
        let id = self.orphan_for(tenant, username, goes_on).unwrap_or_else(StreamId::random);
        let (serial, state) = (self.next_serial(), State::Opening);
        let record = Record { username: username.clone(), tenant: tenant.clone(), serial, state };
        self.come(tenant, username, now);
        self.put(id, Some(record));
        (id, serial)
    }

    /// The stream of a user that ended a moment ago and that a new one is to take over.
    fn orphan_for(&self, tenant: &TenantName, username: &Username, goes_on: GoesOnFor) -> Option<StreamId> {
        let may_be = |id: &StreamId| {
            self.streams.get(id).is_some_and(|record| {
                matches!(record.state, State::Orphaned(_)) && record.tenant == *tenant && record.username == *username
            })
        };
        match goes_on {
            GoesOnFor::Last => self.of_user(username, Listed::Orphaned).rev().find(may_be),
            GoesOnFor::This(id) => Some(id).filter(may_be),
            GoesOnFor::None => None,
        }
    }

    /// A worker has a stream now. If its user has too many open then, the oldest ones end.
    pub fn open(&mut self, id: StreamId, access: &Access, mailbox: &Arc<Mailbox>, at_most: usize) {
        // The end came between the request and this. Its subscription looks at the access, too.
        let is_ended = access.is_ended();
        let state = if is_ended { State::Ending } else { State::Open(Arc::clone(mailbox)) };
        let Some(username) = self.change(id, |record| record.state = state) else { return };
        let open = self.users.get(&username).map_or(0, |user| user.open);
        let oldest = self.of_user(&username, Listed::Open).take(open.saturating_sub(at_most));
        for id in oldest.collect::<Vec<_>>() {
            self.end(id);
        }
    }

    /// Has a stream end, if it is open.
    fn end(&mut self, id: StreamId) {
        let Some(Record { serial, state: State::Open(mailbox), .. }) = self.streams.get(&id).cloned() else { return };
        self.change(id, |record| record.state = State::Ending);
        mailbox.post_command(serial, Command::End);
    }

    /// Ends the streams that a user has, and those for which there is a handle by now.
    pub fn end_user(&mut self, username: &Username) {
        let Some(user) = self.users.get_mut(username) else { return };
        std::mem::take(&mut user.access).end();
        for id in self.of_user(username, Listed::Open).collect::<Vec<_>>() {
            self.end(id);
        }
    }

    /// Notes that a user may see other events than before, and has the workers look at their rights.
    pub fn change_user(&self, username: &Username) {
        if let Some(user) = self.users.get(username) {
            user.access.change();
            self.workers.iter().for_each(|worker| worker.post_change(username));
        }
    }

    /// The connection of a stream has closed. It may be taken over until the grace is over.
    pub fn leave(&mut self, id: StreamId, now: Instant) {
        if let Some(Record { username, tenant, .. }) = self.streams.get(&id).cloned() {
            self.orphan(id, username, tenant, now);
        }
    }

    fn orphan(&mut self, id: StreamId, username: Username, tenant: TenantName, now: Instant) {
        let (serial, until) = (self.next_serial(), now + GRACE);
        self.put(id, Some(Record { username, tenant, serial, state: State::Orphaned(until) }));
        self.due.push_back(Due { at: until, stream: id, left: None });
    }

    /// The user of a stream goes to another tenant with it, at a position.
    pub fn move_to(&mut self, id: StreamId, to: &TenantName, now: (Timestamp, Instant, Position)) {
        let Some(mut record) = self.streams.get(&id).cloned() else { return };
        let from = std::mem::replace(&mut record.tenant, to.clone());
        let username = record.username.clone();
        self.leave_behind(id, &from, &username, now.2, now.1);
        self.come(to, &username, now.0);
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
            None => self.orphan(id, username.clone(), tenant.clone(), now),
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
        self.due.push_back(Due { at: until, stream: id, left: Some(tenant.clone()) });
    }

    fn forget_left(&mut self, id: StreamId, tenant: &TenantName) {
        if let Some(left) = self.left.remove(&(id, tenant.clone())) {
            self.uncount(tenant, &left.username, Counted::Orphaned);
        }
    }

    /// Whether a user has a stream: it is open, about to be, or ended so lately that it may be taken over.
    pub fn has_stream(&self, username: &Username, id: StreamId) -> bool {
        self.streams.get(&id).is_some_and(|record| record.username == *username)
    }

    /// The serial of a user's stream, and its worker, if it is open.
    pub fn open_stream(&self, username: &Username, id: StreamId) -> Option<(Serial, Arc<Mailbox>)> {
        let record = self.streams.get(&id).filter(|record| record.username == *username)?;
        match &record.state {
            State::Open(mailbox) => Some((record.serial, Arc::clone(mailbox))),
            State::Opening | State::Ending | State::Orphaned(_) => None,
        }
    }

    /// The serials of the streams that a user has open on a worker.
    pub fn serials_on(&self, username: &Username, worker: &Arc<Mailbox>) -> Vec<Serial> {
        let records = self.of_user(username, Listed::Open).filter_map(|id| self.streams.get(&id));
        let is_there = |record: &&Record| matches!(&record.state, State::Open(mailbox) if Arc::ptr_eq(mailbox, worker));
        records.filter(is_there).map(|record| record.serial).collect()
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
    fn let_go(&mut self, Due { at, stream, left }: Due) -> Option<GoneStream> {
        let Some(tenant) = left else {
            let is_over = |record: &Record| matches!(record.state, State::Orphaned(until) if until == at);
            self.streams.get(&stream).filter(|record| is_over(record))?;
            self.put(stream, None);
            // With events that were bound to it in another tenant after it had left this one.
            return Some(GoneStream { stream, only: None });
        };
        let moved_at = self.left.get(&(stream, tenant.clone())).filter(|left| left.until == at)?.moved_at;
        self.forget_left(stream, &tenant);
        Some(GoneStream { stream, only: Some((tenant, moved_at)) })
    }

    fn next_serial(&mut self) -> Serial {
        self.last = self.last.next();
        self.last
    }

    fn of_user(&self, username: &Username, listed: Listed) -> impl DoubleEndedIterator<Item = StreamId> {
        let of = |serial| (username.clone(), listed, serial);
        self.by_user.range(of(Serial::MIN)..=of(Serial::MAX)).map(|(_, id)| *id)
    }

    /// Changes the record of a stream. Returns its user.
    fn change(&mut self, id: StreamId, change: impl FnOnce(&mut Record)) -> Option<Username> {
        let mut record = self.streams.get(&id)?.clone();
        change(&mut record);
        let username = record.username.clone();
        self.put(id, Some(record));
        Some(username)
    }

    /// Puts a record in the place of the one that a stream has, and brings the lists and the people up to date with that.
    fn put(&mut self, id: StreamId, record: Option<Record>) {
        let before = self.streams.remove(&id);
        if let Some(before) = &before {
            self.list(id, before, false);
        }
        // Before the other one is taken out: its user is not gone in between.
        if let Some(record) = record {
            self.list(id, &record, true);
            self.presence.add(&record.tenant, &record.username, record.counted());
            self.streams.insert(id, record);
        }
        if let Some(before) = before {
            self.uncount(&before.tenant, &before.username, before.counted());
        }
    }

    fn list(&mut self, id: StreamId, record: &Record, is_in: bool) {
        let Some(listed) = record.listed() else { return };
        let key = (record.username.clone(), listed, record.serial);
        if let (Listed::Open, Some(user)) = (listed, self.users.get_mut(&record.username)) {
            user.open = if is_in { user.open + 1 } else { user.open.saturating_sub(1) };
        }
        if is_in {
            self.by_user.insert(key, id);
        } else {
            self.by_user.remove(&key);
        }
    }

    /// A user comes to a tenant, in which a record of theirs is about to be counted.
    fn come(&mut self, tenant: &TenantName, username: &Username, now: Timestamp) {
        if self.presence.come(tenant, username, now) {
            self.tell(tenant, username);
        }
    }

    fn uncount(&mut self, tenant: &TenantName, username: &Username, counted: Counted) {
        if self.presence.remove(tenant, username, counted) {
            self.tell(tenant, username);
        }
    }

    /// Tells every worker of a user that has come or gone. A worker that looks at the people, and then into its mailbox, knows of
    /// everybody: both change under the lock of this table.
    fn tell(&self, tenant: &TenantName, username: &Username) {
        self.workers.iter().for_each(|worker| worker.post_presence(tenant, username));
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
            && self.left.is_empty()
            && self.by_user.is_empty()
            && self.users.is_empty()
            && self.presence.is_empty()
            && self.due.is_empty()
    }

    /// The only stream that a user has open.
    #[cfg(test)]
    pub fn only(&self, username: &Username) -> StreamId {
        let open: Vec<_> = self.of_user(username, Listed::Open).collect();
        assert_eq!(open.len(), 1);
        open[0]
    }

    /// Whether a user has no stream that is open, about to be, or about to close.
    #[cfg(test)]
    pub fn is_gone(&self, username: &Username) -> bool {
        !self.users.contains_key(username)
    }
}
