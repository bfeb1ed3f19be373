mod fetch;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::ending::End;
use super::format::{Format, FormatKey};
use super::hub::ChannelGuard;
use super::index::{Index, patterns_of};
use super::permits::Permits;
use super::reading::Missed;
use super::shared_event::{SharedEvent, join};
use super::stream_id::Serial;
use super::subscriber::Subscriber;
use super::weak_map::WeakMap;
use super::worker_streams::WorkerStreams;
use crate::clock::Clock;
use crate::domain::{EventFilter, EventKind, Pattern, Position, Rights, TenantName, Username, inbox_owner};
use crate::error::Error;

/// How many subscriptions of a tenant on a worker have something read for them at the same time. This is enough for all threads that
/// read while other subscriptions take what was read, and it bounds how much of that is in memory.
const READING: usize = 4;

/// How many connections are written to before other tasks of the same thread run: about half a millisecond.
const WRITES_IN_A_ROW: usize = 256;

/// What the subscriptions of a group have in common; in the end, whether they get transient events.
type GroupKey = (EventFilter, Rights, FormatKey, bool);

/// The number of a group in its tenant.
type GroupId = u64;

/// The tenants of a worker.
pub type Tenants<S> = WeakMap<TenantName, TenantSubscriptions<S>>;

/// The subscriptions to one tenant's events on one worker. It exists while there is one.
pub struct TenantSubscriptions<S: Subscriber + ?Sized> {
    pub(super) guard: ChannelGuard,
    /// The permits to have something read, by user.
    pub(super) readings: Rc<Permits<Username>>,
    /// Up to here every live subscription has been given everything, or is about to be.
    position: Cell<Position>,
    /// Up to here every live subscription has been given everything.
    given: Cell<Position>,
    /// The events of the last round, and those that came during it. If clients answer each, about as many follow.
    expected: Cell<usize>,
    groups: WeakMap<GroupKey, SubscriptionGroup<S>>,
    /// The groups, by the names of the events that they want.
    index: RefCell<Index<GroupId, SubscriptionGroup<S>>>,
    last_group: Cell<GroupId>,
    /// The subscriptions of users who may see events that others may not, by the names of those events.
    own: RefCell<Index<Serial, S>>,
    /// The subscriptions that are told which users are present.
    watchers: RefCell<HashSet<Serial>>,
    /// The live subscriptions that have yet to say that they are in sync, since something of their snapshot is on its way.
    unsynced: RefCell<BTreeSet<Serial>>,
    missed: RefCell<State>,
    streams: Rc<WorkerStreams<S>>,
    tenants: Rc<Tenants<S>>,
}

/// What the live subscriptions have missed, since more events came than the channel keeps.
enum State {
    Nothing,
    /// The next of it is being read.
    Reading(JoinHandle<()>),
    /// It has been read, of the events up to a position.
    Read(Box<Result<Missed, Error>>, Position),
}

/// Events that are about to be given to the live subscriptions of a tenant.
pub struct Fetched {
    events: Vec<Arc<SharedEvent>>,
    /// The position after them.
    until: Position,
    /// Whether there were more that were not fetched.
    is_cut: bool,
}

impl<S: Subscriber + ?Sized> TenantSubscriptions<S> {
    /// Those of a tenant on a worker, none yet.
    pub fn new(guard: ChannelGuard, streams: &Rc<WorkerStreams<S>>, tenants: &Rc<Tenants<S>>) -> Self {
        // After the guard was taken: the worker is told of what comes later.
        let end = guard.channel.end();
        Self {
            guard,
            readings: Permits::new(READING),
            position: Cell::new(end),
            given: Cell::new(end),
            expected: Cell::default(),
            groups: WeakMap::default(),
            index: RefCell::new(Index::new()),
            last_group: Cell::new(0),
            own: RefCell::new(Index::new()),
            watchers: RefCell::default(),
            unsynced: RefCell::default(),
            missed: RefCell::new(State::Nothing),
            streams: Rc::clone(streams),
            tenants: Rc::clone(tenants),
        }
    }

    /// Up to here every live subscription has been given everything, or is about to be.
    pub fn position(&self) -> Position {
        self.position.get()
    }

    /// Up to here every live subscription has been given everything.
    pub fn given(&self) -> Position {
        self.given.get()
    }

    /// The group of subscriptions with a filter, rights and a format, which get transient events or do not.
    pub fn group(
        self: &Rc<Self>,
        filter: EventFilter,
        rights: Rights,
        format: &'static dyn Format,
        transient: bool,
    ) -> Rc<SubscriptionGroup<S>> {
        // Subscriptions come and go, each with what its filter counts for its user.
        let filter = filter.unheld();
        let key = (filter.clone(), rights.clone(), format.key(), transient);
        if let Some(group) = self.groups.get(&key) {
            return group;
        }
        let id = self.last_group.get() + 1;
        self.last_group.set(id);
        let group = Rc::new(SubscriptionGroup::new(self, id, filter, rights, format, transient));
        self.groups.insert(key, &group);
        group.with_patterns(|patterns| self.index.borrow_mut().add(patterns, id, &Rc::downgrade(&group)));
        group
    }

    /// Has a subscription found by the names that its user alone may see.
    pub fn attach(&self, subscription: &Rc<S>, own: &[Pattern]) {
        if !own.is_empty() {
            self.own.borrow_mut().add(Some(own), subscription.serial(), &Rc::downgrade(subscription));
        }
    }

    /// Takes a subscription that is not live out of the lists by which its events find it. It gets another view, or is being dropped.
    pub fn detach(&self, serial: Serial, own: &[Pattern]) {
        if !own.is_empty() {
            self.own.borrow_mut().remove(Some(own), serial);
        }
        self.unsynced.borrow_mut().remove(&serial);
    }

    /// Has a subscription told of users that come and go.
    pub fn watch(&self, serial: Serial) {
        if self.watchers.borrow_mut().insert(serial) {
            self.guard.hub().registry().watch(self.guard.tenant());
        }
    }

    /// A subscription goes to another tenant, or is being dropped. Nothing else may end this: a user that comes or goes while the
    /// tenant has no watcher is told to nobody.
    pub fn unwatch(&self, serial: Serial) {
        if self.watchers.borrow_mut().remove(&serial) {
            self.guard.hub().registry().unwatch(self.guard.tenant());
        }
    }

    #[cfg(test)]
    pub fn has_own(&self) -> bool {
        self.own.borrow().len() > 0
    }

    /// How many groups there are, entries by which they and single subscriptions are found, and watchers.
    #[cfg(test)]
    pub fn sizes(&self) -> [usize; 4] {
        let of_index = self.index.borrow().len();
        [self.groups.len(), of_index, self.own.borrow().len(), self.watchers.borrow().len()]
    }

    /// Adds a live subscription that is to say that it is in sync once everything up to the position that it waits for was given.
    pub fn add_unsynced(&self, subscription: &Rc<S>) {
        self.unsynced.borrow_mut().insert(subscription.serial());
    }

    /// Has the subscriptions say that they are in sync which waited for what has been given now.
    fn tell_synced(&self) {
        let unsynced: Vec<_> = self.unsynced.borrow().iter().filter_map(|serial| self.streams.get(*serial)).collect();
        for synced in unsynced.iter().filter(|one| one.left_out() <= self.given()) {
            self.unsynced.borrow_mut().remove(&synced.serial());
            synced.fall_behind();
        }
    }

    /// Has the subscriptions that are told which users are present tell of a user that has come or gone.
    pub fn tell_presence(&self, username: &Username) {
        let watchers = self.watchers.borrow().iter().filter_map(|serial| self.streams.get(*serial)).collect::<Vec<_>>();
        watchers.iter().for_each(|watcher| watcher.note_presence(username));
    }

    /// Gives what was fetched to every live subscription. Returns whether there was more that was not fetched.
    pub async fn give(&self, Fetched { events, until, is_cut }: Fetched, clock: &Clock) -> bool {
        let from = self.position.replace(until);
        // Before the groups are written to: these subscriptions are not in them then.
        events.iter().for_each(|event| self.give_own(event));
        let mut given = 0;
        for group in self.dispatch(&events) {
            given += group.serve(from, until).await;
        }
        // Once for all of them, and of the oldest: it has waited longest.
        if let Some(oldest) = events.first().filter(|_| given > 0) {
            let metrics = self.streams.metrics();
            metrics.deliveries.add(given);
            metrics.delivery_lag.observe_duration(clock.now().since(oldest.timestamp()));
        }
        self.given.set(until);
        self.tell_synced();
        self.expected.set(events.len() + self.guard.channel.count_after(until));
        is_cut
    }

    /// Has the subscriptions of a user who alone may see an event fetch it, and what else is new, by themselves.
    fn give_own(&self, event: &SharedEvent) {
        let name = event.name.as_str();
        let wanting = match inbox_owner(name) {
            Some(owner) => Username::parse(owner).map_or_else(|_| Vec::new(), |owner| self.streams.of_user(&owner)),
            // Nothing may be borrowed while one of them ends.
            None => self.own.borrow().wanting(name),
        };
        wanting.iter().for_each(|subscription| subscription.fetch_own(self.guard.tenant(), event));
    }

    /// Hands events to the groups that want them, and returns those groups.
    fn dispatch(&self, events: &[Arc<SharedEvent>]) -> Vec<Rc<SubscriptionGroup<S>>> {
        let mut wanting = Vec::new();
        let index = self.index.borrow();
        for event in events {
            for group in index.wanting(event.name.as_str()) {
                if !group.wants(event) {
                    continue;
                }
                let mut of_group = group.events.borrow_mut();
                if of_group.is_empty() {
                    wanting.push(Rc::clone(&group));
                }
                of_group.push(Arc::clone(event));
            }
        }
        wanting
    }
}

impl<S: Subscriber + ?Sized> Drop for TenantSubscriptions<S> {
    fn drop(&mut self) {
        if let State::Reading(reading) = self.missed.get_mut() {
            reading.abort();
        }
        self.tenants.remove(self.guard.tenant());
    }
}

/// Subscriptions that get the same bytes: they want the same events, transient ones or not, may see the same, and have the same format.
/// What a user alone may see, that user's subscriptions fetch by themselves.
pub struct SubscriptionGroup<S: Subscriber + ?Sized> {
    pub(super) subscriptions: Rc<TenantSubscriptions<S>>,
    id: GroupId,
    /// It changes only with the only subscription that has it.
    filter: RefCell<EventFilter>,
    pub(super) rights: Rights,
    pub(super) format: &'static dyn Format,
    /// Whether they get transient events.
    transient: bool,
    /// The subscriptions that have been given everything so far.
    live: RefCell<Vec<Rc<S>>>,
    /// The events that are about to be written to them.
    events: RefCell<Vec<Arc<SharedEvent>>>,
}

impl<S: Subscriber + ?Sized> SubscriptionGroup<S> {
    /// A group of nobody yet.
    fn new(
        subscriptions: &Rc<TenantSubscriptions<S>>,
        id: GroupId,
        filter: EventFilter,
        rights: Rights,
        format: &'static dyn Format,
        transient: bool,
    ) -> Self {
        let (live, events) = (RefCell::default(), RefCell::default());
        Self {
            subscriptions: Rc::clone(subscriptions),
            id,
            filter: filter.into(),
            rights,
            format,
            transient,
            live,
            events,
        }
    }

    /// The events that are wanted.
    pub fn filter(&self) -> EventFilter {
        self.filter.borrow().clone()
    }

    /// Gives the group another filter, if one subscription alone has it and there is no group with that filter yet. Returns whether it
    /// has. So a client that has many names, and adds one, costs as much as that one.
    pub fn change_filter(self: &Rc<Self>, filter: &EventFilter) -> bool {
        let key = self.key_with(filter.clone().unheld());
        if Rc::strong_count(self) > 1 || self.subscriptions.groups.get(&key).is_some() {
            return false;
        }
        self.subscriptions.groups.remove(&self.key_with(self.filter()));
        let before = self.filter.replace(key.0.clone());
        self.subscriptions.groups.insert(key, self);
        let mut index = self.subscriptions.index.borrow_mut();
        let (before, now) = (patterns_of(&before, &self.rights), self.filter.borrow());
        index.replace(before, patterns_of(&now, &self.rights), self.id, &Rc::downgrade(self));
        true
    }

    fn key_with(&self, filter: EventFilter) -> GroupKey {
        (filter, self.rights.clone(), self.format.key(), self.transient)
    }

    /// Whether an event is given to all of them.
    pub fn wants(&self, event: &SharedEvent) -> bool {
        let name = event.name.as_str();
        (self.transient || event.kind != EventKind::Transient)
            && self.rights.allow(name)
            && self.filter.borrow().matches(name)
    }

    /// Uses the patterns outside of which it wants nothing.
    fn with_patterns(&self, with: impl FnOnce(Option<&[Pattern]>)) {
        with(patterns_of(&self.filter.borrow(), &self.rights));
    }

    /// Adds a subscription that has been given everything up to the tenant's position, or a little more. Returns its place.
    pub fn add_live(&self, subscription: &Rc<S>) -> u32 {
        let mut live = self.live.borrow_mut();
        live.push(Rc::clone(subscription));
        live.len() as u32 - 1
    }

    /// Takes out the subscription at a place.
    pub fn remove_live(&self, place: u32) {
        let mut live = self.live.borrow_mut();
        let removed = live.swap_remove(place as usize);
        if let Some(moved) = live.get(place as usize) {
            moved.set_place(place);
        }
        // Not to be dropped while the list is borrowed.
        drop(live);
        drop(removed);
    }

    /// The subscriptions that have been given everything so far. Nothing is borrowed while they are used.
    fn live(&self) -> Vec<Rc<S>> {
        self.live.borrow().clone()
    }

    /// The events of their tenant cannot be read.
    fn end_unreadable(&self) {
        self.live().iter().for_each(|subscription| subscription.end(End::Unreadable));
    }

    /// Writes the events that were collected to every live subscription, and lets others on this thread work in between. Returns how
    /// many were given, each counted for each subscription.
    ///
    /// From the last to the first: a subscription that leaves meanwhile is replaced by the last one, which has been served already and
    /// knows it. One that comes meanwhile is at the end, and has read up to here by itself.
    async fn serve(&self, from: Position, until: Position) -> u64 {
        let events = std::mem::take(&mut *self.events.borrow_mut());
        let joined = join(self.format, &events);
        let mut next = self.live.borrow().len();
        let (mut written, mut given) = (0, 0);
        while next > 0 {
            next -= 1;
            let subscription = self.live.borrow().get(next).cloned();
            let Some(subscription) = subscription else { continue };
            given += u64::from(subscription.give(&joined, from, until));
            written += 1;
            if written % WRITES_IN_A_ROW == 0 {
                tokio::task::yield_now().await;
            }
        }
        given * events.len() as u64
    }
}

impl<S: Subscriber + ?Sized> Drop for SubscriptionGroup<S> {
    fn drop(&mut self) {
        let key = self.key_with(self.filter());
        self.subscriptions.groups.remove(&key);
        self.with_patterns(|patterns| self.subscriptions.index.borrow_mut().remove(patterns, self.id));
    }
}
