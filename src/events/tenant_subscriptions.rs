use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::channel::Found;
use super::format::{Format, FormatKey, JOINED_BYTES};
use super::hub::ChannelGuard;
use super::index::Index;
use super::permits::Permits;
use super::reading::{Step, read_events};
use super::shared_event::{SharedEvent, join};
use super::stream_id::Serial;
use super::subscription::Subscription;
use super::worker::Worker;
use crate::domain::{EventFilter, Pattern, Position, Rights, Username, inbox_owner};
use crate::error::Error;
use crate::store::{Replay, Wanted};

/// How many connections are written to before others on the same thread get their turn: about half a millisecond.
const WRITES_IN_A_ROW: usize = 256;

/// How many subscriptions of a tenant on a worker have something read for them at the same time: enough for all threads that read
/// while others of them take what was read, and what is in memory of that is bounded.
const READING: usize = 4;

/// What one worker has of a tenant: those of its subscriptions that wait for the next event, by what they want. It exists
/// while there is one.
pub struct TenantSubscriptions {
    pub(super) guard: ChannelGuard,
    /// Up to here everybody who waits has been given everything, or is about to be.
    position: Cell<Position>,
    /// Up to here they have been given it.
    given: Cell<Position>,
    groups: RefCell<HashMap<GroupKey, Weak<SubscriptionGroup>>>,
    /// The classes by which event names they want.
    index: RefCell<Index<SubscriptionGroup>>,
    /// The subscriptions of those who may see something that others may not, by the names of that.
    own: RefCell<Index<Subscription>>,
    /// The subscriptions that are told who is there.
    watchers: RefCell<HashSet<Serial>>,
    /// Those live ones of which it has yet to be said that they are in sync, since something of their snapshot is on its way.
    unsynced: RefCell<Vec<Weak<Subscription>>>,
    /// The turns of those who have something read for them, by user.
    pub(super) readings: Rc<Permits<Username>>,
    /// What those who wait for the next event have missed, since more came than the channel keeps.
    missed: RefCell<Missed>,
    worker: Weak<Worker>,
}

/// What all of a room have missed.
enum Missed {
    Nothing,
    /// Somebody reads the next of it.
    UnderWay(JoinHandle<()>),
    /// It has been read, of what there is up to a position.
    Read(Box<Result<Step<Vec<Arc<SharedEvent>>>, Error>>, Position),
}

type GroupKey = (EventFilter, Rights, FormatKey);

/// Subscriptions that get the same bytes: they want the same events, may see the same, and have the same format. What a user alone
/// may see, that user's subscriptions fetch by themselves.
pub struct SubscriptionGroup {
    pub(super) subscriptions: Rc<TenantSubscriptions>,
    pub(super) filter: EventFilter,
    pub(super) rights: Rights,
    pub(super) format: &'static dyn Format,
    /// Those who have been given everything so far.
    live: RefCell<Vec<Rc<Subscription>>>,
    /// What is about to be written to them.
    events: RefCell<Vec<Arc<SharedEvent>>>,
}

impl TenantSubscriptions {
    pub fn new(guard: ChannelGuard, worker: Weak<Worker>) -> Self {
        // Taken after the seat: what comes later is told.
        let end = guard.channel.end();
        let (position, given) = (Cell::new(end), Cell::new(end));
        let (index, own) = (RefCell::new(Index::new()), RefCell::new(Index::new()));
        let (groups, watchers, unsynced) = (RefCell::default(), RefCell::default(), RefCell::default());
        let (readings, missed) = (Permits::new(READING), RefCell::new(Missed::Nothing));
        Self { guard, position, given, groups, index, own, watchers, unsynced, readings, missed, worker }
    }

    /// Up to here everybody who waits has been given everything, or is about to be.
    pub fn position(&self) -> Position {
        self.position.get()
    }

    /// Up to here everybody who waits has been given everything.
    pub fn given(&self) -> Position {
        self.given.get()
    }

    /// Those who get the same.
    pub fn group(
        self: &Rc<Self>,
        filter: EventFilter,
        rights: Rights,
        format: &'static dyn Format,
    ) -> Rc<SubscriptionGroup> {
        // Those who have it come and go, each with what it counts for them.
        let filter = filter.unheld();
        let key = (filter.clone(), rights.clone(), format.key());
        if let Some(group) = self.groups.borrow().get(&key).and_then(Weak::upgrade) {
            return group;
        }
        let group = Rc::new(SubscriptionGroup {
            subscriptions: Rc::clone(self),
            filter,
            rights,
            format,
            live: RefCell::default(),
            events: RefCell::default(),
        });
        self.groups.borrow_mut().insert(key, Rc::downgrade(&group));
        self.index.borrow_mut().add(group.patterns(), &Rc::downgrade(&group));
        group
    }

    /// Has a subscription found by the names that its user alone may see, and told who is there if it wants that.
    pub fn attach(&self, subscription: &Rc<Subscription>, own: &[Pattern], is_watching: bool) {
        if !own.is_empty() {
            self.own.borrow_mut().add(Some(own), &Rc::downgrade(subscription));
        }
        if is_watching && self.watchers.borrow_mut().insert(subscription.presence_guard.serial()) {
            self.guard.hub().registry().watch(self.guard.tenant());
        }
    }

    /// Takes a subscription out of everything that [`TenantSubscriptions::attach`] has put it into: `one` if it goes elsewhere, or
    /// nothing if it is being dropped.
    pub fn detach(&self, serial: Serial, own: &[Pattern], one: Option<&Weak<Subscription>>) {
        if !own.is_empty() {
            self.own.borrow_mut().remove(Some(own), one);
        }
        if self.watchers.borrow_mut().remove(&serial) {
            self.guard.hub().registry().unwatch(self.guard.tenant());
        }
    }

    #[cfg(test)]
    pub fn has_own(&self) -> bool {
        self.own.borrow().len() > 0
    }

    /// How much there is of classes, of what they and single subscriptions are found by, and of watchers.
    #[cfg(test)]
    pub fn sizes(&self) -> [usize; 4] {
        let of_index = self.index.borrow().len();
        [self.groups.borrow().len(), of_index, self.own.borrow().len(), self.watchers.borrow().len()]
    }

    /// Adds a live subscription that is to say that it is in sync once the room has come to where it waits for.
    pub fn add_unsynced(&self, subscription: &Rc<Subscription>) {
        self.unsynced.borrow_mut().push(Rc::downgrade(subscription));
    }

    /// Has those say so who waited for what has been given now.
    fn tell_synced(&self) {
        let came_to = |one: &Weak<Subscription>| one.upgrade().is_none_or(|one| one.left_out() <= self.given());
        let synced: Vec<_> = self.unsynced.borrow_mut().extract_if(.., |one| came_to(one)).collect();
        synced.iter().filter_map(Weak::upgrade).for_each(|subscription| subscription.fall_behind());
    }

    /// Has the subscriptions that are told who is there tell of a user that has come or gone.
    pub fn tell_presence(&self, worker: &Worker, username: &Username) {
        let watchers: Vec<_> =
            self.watchers.borrow().iter().filter_map(|serial| worker.subscription(*serial)).collect();
        watchers.iter().for_each(|watcher| watcher.note_presence(username));
    }

    /// Gives some of what is new to everybody who waits for it; whether there is more. A part at a time, since the other tenants
    /// of this worker wait, too, and a busy one may never come to its end.
    pub async fn catch_up(self: &Rc<Self>, worker: &Rc<Worker>) -> bool {
        match self.missed.replace(Missed::Nothing) {
            Missed::Nothing => match self.guard.channel.between(self.position(), Position::END, JOINED_BYTES) {
                Found::Nothing => return false,
                Found::Events(events, until) => self.give(worker, &events, until).await,
                // More came than the channel keeps, before this worker had the time for it.
                Found::Behind => {
                    self.read_missed();
                    return false;
                }
            },
            Missed::UnderWay(reading) => {
                self.missed.replace(Missed::UnderWay(reading));
                return false;
            }
            Missed::Read(read, until) => self.give_missed(worker, *read, until).await,
        }
        self.position() < self.guard.channel.end()
    }

    /// Has the next read of what the channel has no more, once for everybody: up to the channel's end, and not to that of the store,
    /// which is further on while what was revealed is on its way into the channel. Whoever stands in between would miss it. The
    /// worker is told when it is there, and serves the other tenants until then.
    fn read_missed(self: &Rc<Self>) {
        let until = self.guard.channel.end();
        let replay = Replay::events(self.guard.tenant().clone(), Wanted::All, self.position(), until);
        let (reading, subscriptions) = (read_events(&self.guard, replay), Rc::downgrade(self));
        let reading = tokio::task::spawn_local(async move {
            let read = reading.await;
            if let Some(subscriptions) = subscriptions.upgrade() {
                subscriptions.missed.replace(Missed::Read(Box::new(read), until));
                subscriptions.guard.tell();
            }
        });
        self.missed.replace(Missed::UnderWay(reading));
    }

    async fn give_missed(
        &self,
        worker: &Rc<Worker>,
        read: Result<Step<Vec<Arc<SharedEvent>>>, Error>,
        until: Position,
    ) {
        let failed = match read {
            Ok(Step { reading, read: Ok(events), .. }) => {
                if reading.has_gap() {
                    self.leave_behind();
                }
                return self.give(worker, &events, reading.position()).await;
            }
            Ok(Step { read: Err(error), .. }) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(
            tenant = %self.guard.tenant(),
            error = failed,
            "the streams of a tenant end because its events cannot be read"
        );
        self.position.set(until);
        for group in self.groups() {
            group.end();
        }
    }

    /// Of what comes next only the latest of each name is left: who asks for marks is to be told so. They find out by themselves,
    /// from where they stand. To the others what is left can be given together.
    fn leave_behind(&self) {
        for group in self.groups() {
            let live = group.live.borrow().clone();
            live.iter().filter(|subscription| subscription.wants_marks()).for_each(|marked| marked.fall_behind());
        }
    }

    async fn give(&self, worker: &Rc<Worker>, events: &[Arc<SharedEvent>], until: Position) {
        // Now that the events are here: sessions that ended before them have been told by now.
        worker.drain_mailbox();
        let from = self.position.replace(until);
        // Before the others are written to: these are not among them then.
        events.iter().for_each(|event| self.give_own(worker, event));
        for group in self.dispatch(events) {
            group.serve(from, until).await;
        }
        self.given.set(until);
        self.tell_synced();
    }

    /// Has the subscriptions of a user who alone may see an event fetch it, and what else is new, by themselves.
    fn give_own(&self, worker: &Rc<Worker>, event: &SharedEvent) {
        let name = event.name.as_str();
        let fetch = |subscription: Rc<Subscription>| {
            if subscription.is_live_in(self) && !subscription.group().wants(name) && subscription.view().matches(name) {
                subscription.fall_behind();
            }
        };
        match inbox_owner(name) {
            Some(owner) => {
                let of_owner = Username::parse(owner).map(|owner| worker.subscriptions_of(&owner));
                of_owner.into_iter().flatten().for_each(fetch);
            }
            None => {
                // Nothing may be borrowed while one of them ends.
                let wanting: Vec<_> = self.own.borrow().wanting(name).collect();
                wanting.into_iter().for_each(fetch);
            }
        }
    }

    fn groups(&self) -> Vec<Rc<SubscriptionGroup>> {
        self.groups.borrow().values().filter_map(Weak::upgrade).collect()
    }

    /// Hands events to the groups that want them, and returns those groups.
    fn dispatch(&self, events: &[Arc<SharedEvent>]) -> Vec<Rc<SubscriptionGroup>> {
        let mut wanting = Vec::new();
        let index = self.index.borrow();
        for event in events {
            for group in index.wanting(event.name.as_str()) {
                let mut of_group = group.events.borrow_mut();
                // Two patterns of one filter may both want it.
                let is_same = |last: &Arc<SharedEvent>| Arc::ptr_eq(last, event);
                if of_group.last().is_some_and(is_same) || !group.wants(event.name.as_str()) {
                    continue;
                }
                if of_group.is_empty() {
                    wanting.push(Rc::clone(&group));
                }
                of_group.push(Arc::clone(event));
            }
        }
        wanting
    }
}

impl Drop for TenantSubscriptions {
    fn drop(&mut self) {
        if let Missed::UnderWay(reading) = self.missed.get_mut() {
            reading.abort();
        }
        if let Some(worker) = self.worker.upgrade() {
            worker.forget_tenant(self.guard.tenant());
        }
    }
}

impl SubscriptionGroup {
    /// Whether events of a name are given to all of them.
    pub fn wants(&self, name: &str) -> bool {
        self.rights.allow(name) && self.filter.matches(name)
    }

    /// Patterns outside of which it wants nothing.
    fn patterns(&self) -> Option<&[Pattern]> {
        self.filter.patterns().or(match &self.rights {
            Rights::All => None,
            Rights::Of(patterns) => Some(patterns),
        })
    }

    /// Adds a subscription that has been given everything up to the room's position, or a little more.
    pub fn add_live(&self, subscription: &Rc<Subscription>) {
        let mut live = self.live.borrow_mut();
        subscription.place.set(Some(live.len() as u32));
        live.push(Rc::clone(subscription));
    }

    /// Takes one out.
    pub fn remove_live(&self, subscription: &Subscription) {
        let Some(place) = subscription.place.take() else { return };
        let mut live = self.live.borrow_mut();
        let removed = live.swap_remove(place as usize);
        if let Some(moved) = live.get(place as usize) {
            moved.place.set(Some(place));
        }
        // Not to be dropped while the list is borrowed.
        drop(live);
        drop(removed);
    }

    fn end(&self) {
        let live = self.live.borrow().clone();
        live.iter().for_each(|subscription| subscription.end());
    }

    /// Writes what was collected to everybody, and lets others on this thread work in between.
    ///
    /// From the last to the first: who leaves meanwhile is replaced by the last, who has been served already and knows it;
    /// who comes meanwhile is at the end, and has read up to here by themselves.
    async fn serve(&self, from: Position, until: Position) {
        let events = std::mem::take(&mut *self.events.borrow_mut());
        let joined = join(self.format, &events);
        let mut next = self.live.borrow().len();
        let mut written = 0;
        while next > 0 {
            next -= 1;
            let subscription = self.live.borrow().get(next).cloned();
            let Some(subscription) = subscription else { continue };
            subscription.give(&joined, from, until);
            written += 1;
            if written % WRITES_IN_A_ROW == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Drop for SubscriptionGroup {
    fn drop(&mut self) {
        let key = (self.filter.clone(), self.rights.clone(), self.format.key());
        self.subscriptions.groups.borrow_mut().remove(&key);
        self.subscriptions.index.borrow_mut().remove(self.patterns(), None);
    }
}
