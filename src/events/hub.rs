use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use tokio::sync::oneshot;

use super::channel::{Channel, Used};
use super::filters::Filters;
use super::gate::Gate;
use super::insert::RemoveOf;
use super::lock::lock;
use super::mailbox::{Command, Mailbox, WorkerNotifier};
use super::pending_presence::PendingPresence;
use super::presence::{GoesOnFor, Gone, PEOPLE_AT_ONCE, Person, Presence};
use super::shared_event::SharedEvent;
use super::user_streams::{Serial, Serials, StreamId, UserStreams};
use crate::domain::{Authorize, Event, EventFilter, TenantName, Timestamp, Username};
use crate::error::Error;
use crate::store::Store;
use crate::writer::Committed;

/// How many channels without a listener are kept, those that were left last: whoever comes back, or comes alone, is then
/// served from memory too.
const KEPT_UNHEARD: usize = 64;

/// Who listens: a cheap clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

pub(super) struct Inner {
    store: Store,
    rules: Rules,
    channels: Mutex<Channels>,
    used_by_channels: Arc<Used>,
    filters: Arc<Filters>,
    pub(super) user_streams: Mutex<HashMap<Username, Weak<UserStreams>>>,
    serials: Serials,
    /// Of every worker.
    mailboxes: Mutex<Vec<Arc<Mailbox>>>,
    presence: Mutex<Presence>,
    /// Streams that have gone for good.
    gone: Mutex<Vec<RemoveOf>>,
    closed: AtomicBool,
    /// Where the writer has revealed events that are in no channel yet.
    before_push: Gate,
    /// Where a thread has read a step of what a stream, or a room, has missed.
    after_step: Gate,
}

/// What streams are given and allowed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What decides who sees what.
    pub authorize: Authorize,
    /// How many streams a user may have open; one more ends the oldest.
    pub streams_per_user: usize,
}

/// The channels of those tenants that somebody listens to, and of some that somebody listened to a while ago.
#[derive(Default)]
struct Channels {
    of_tenant: HashMap<TenantName, Arc<Channel>>,
    /// Those without a listener; the one that was left last stands last.
    unheard: VecDeque<TenantName>,
}

/// Somebody's being there by one stream, which ends when this is dropped.
pub struct PresenceGuard {
    hub: Hub,
    tenant: RefCell<TenantName>,
    username: Username,
    /// What they call the stream by.
    pub id: StreamId,
}

impl PresenceGuard {
    /// They are there in another tenant from now on, by the same stream.
    pub(super) fn move_to(&self, tenant: &TenantName, now: Timestamp) {
        let before = self.tenant.replace(tenant.clone());
        // They are of the other tenant by now: nothing that comes after it is bound in the one before, unless they come back.
        let head = self.hub.0.store.head();
        let mut presence = lock(&self.hub.0.presence);
        if presence.move_to(&before, tenant, &self.username, self.id, (now, Instant::now(), head)) {
            self.hub.tell_presence(tenant, &self.username);
        }
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        let tenant = self.tenant.get_mut();
        lock(&self.hub.0.presence).leave(tenant, &self.username, self.id, Instant::now());
    }
}

/// A worker's place in a tenant's channel, given back when dropped.
pub(super) struct ChannelGuard {
    hub: Hub,
    pub(super) channel: Arc<Channel>,
    notifier: Arc<WorkerNotifier>,
}

impl Hub {
    /// A hub over a store, with nobody listening.
    pub fn new(store: Store, rules: Rules) -> Self {
        Self(Arc::new(Inner {
            store,
            rules,
            channels: Mutex::default(),
            used_by_channels: Arc::default(),
            filters: Arc::default(),
            user_streams: Mutex::default(),
            serials: Serials::default(),
            mailboxes: Mutex::default(),
            presence: Mutex::default(),
            gone: Mutex::default(),
            closed: AtomicBool::new(false),
            before_push: Gate::default(),
            after_step: Gate::default(),
        }))
    }

    /// Takes what became durable to everybody who listens. Called by the writer, in order.
    pub fn publish(&self, committed: Committed) {
        // Before anybody can see the events: whoever lost the right to them in this batch gets none of them. A worker looks
        // for ended sessions after it has fetched events and before it writes them.
        for username in &committed.ended {
            self.end_streams_of(username);
        }
        for username in &committed.changed {
            self.change_rights_of(username);
        }
        let events = committed.durable.reveal();
        self.0.before_push.pass();
        // For the channels that there are by now: one that is made later begins after these events.
        let heard: Vec<_> = {
            let channels = lock(&self.0.channels);
            let channel = |event: &Event| channels.of_tenant.get(&event.tenant).map(Arc::clone);
            events.into_iter().filter_map(|event| Some((channel(&event)?, event))).collect()
        };
        // With nothing locked, so that a stream that is opened meanwhile does not wait for it.
        let share = |event: Event| {
            let id = self.0.store.event_id(event.position);
            Arc::new(SharedEvent::of(event, id))
        };
        let shared: Vec<_> = heard.into_iter().map(|(channel, event)| (channel, share(event))).collect();
        let mut filled: Vec<Arc<Channel>> = Vec::new();
        {
            // Held throughout: a worker that joins meanwhile is there for all of these or has none of them yet.
            let _all = lock(&self.0.channels);
            for (channel, event) in shared {
                if channel.push(event) {
                    filled.push(channel);
                }
            }
        }
        filled.iter().for_each(|channel| channel.notify());
    }

    /// The session of a user, shared by all of their streams. Whoever opens a stream takes it *before* the last check of
    /// the user's rights, so that no change falls between the two.
    pub fn user_streams(&self, username: &Username) -> Arc<UserStreams> {
        let mut of_users = lock(&self.0.user_streams);
        if let Some(user_streams) = of_users.get(username).and_then(Weak::upgrade) {
            return user_streams;
        }
        let user_streams = Arc::new(UserStreams::new(username.clone(), Arc::downgrade(&self.0)));
        of_users.insert(username.clone(), Arc::downgrade(&user_streams));
        user_streams
    }

    fn end_streams_of(&self, username: &Username) {
        // Out of the map first: who comes from now on gets a session of their own.
        let user_streams = lock(&self.0.user_streams).remove(username).and_then(|user_streams| user_streams.upgrade());
        if let Some(user_streams) = user_streams {
            user_streams.end();
            lock(&self.0.mailboxes).iter().for_each(|mailbox| mailbox.post_end(&user_streams));
        }
    }

    fn change_rights_of(&self, username: &Username) {
        if let Some(user_streams) = self.user_streams_of(username) {
            user_streams.change();
            lock(&self.0.mailboxes).iter().for_each(|mailbox| mailbox.post_change(&user_streams));
        }
    }

    /// What a new stream is told apart by.
    pub(super) fn next_serial(&self) -> Serial {
        self.0.serials.next()
    }

    /// The session of a user who has a stream.
    pub(super) fn user_streams_of(&self, username: &Username) -> Option<Arc<UserStreams>> {
        lock(&self.0.user_streams).get(username).and_then(Weak::upgrade)
    }

    /// Has somebody's stream want something else from now on. Returns when it does.
    ///
    /// # Errors
    /// [`Error::StreamUnknown`] where they have no such stream; those of [`Hub::keep_filter`].
    pub async fn change_filter(
        &self,
        tenant: &TenantName,
        username: &Username,
        id: StreamId,
        filter: EventFilter,
    ) -> Result<(), Error> {
        let user_streams = self.user_streams_of(username).ok_or(Error::StreamUnknown)?;
        let (stream, mailbox) = user_streams.stream(id).ok_or(Error::StreamUnknown)?;
        let filter = self.keep_filter(tenant, username, filter)?;
        let (done, changed) = oneshot::channel();
        mailbox.post_command(&user_streams, stream, Command::Filter(filter, done));
        // A stream that has ended meanwhile answers nothing.
        changed.await.map_err(|_| Error::StreamUnknown)
    }

    /// A filter as somebody of a tenant is to have it for longer than a moment: it counts for them until its last copy goes.
    ///
    /// # Errors
    /// [`Error::TooManyFilters`] if their different filters take too much; [`Error::Overloaded`] if those of their tenant do.
    pub fn keep_filter(
        &self,
        tenant: &TenantName,
        username: &Username,
        filter: EventFilter,
    ) -> Result<EventFilter, Error> {
        self.0.filters.keep(tenant, username, filter)
    }

    /// Whether a stream is this user's, and open, about to be, or ended but a moment ago. Once it is not, it never will be
    /// again.
    pub fn has_stream(&self, username: &Username, id: StreamId) -> bool {
        lock(&self.0.presence).has_stream(username, id)
    }

    /// Some of those of a tenant who are there, by name and after one of them; whether there are more.
    pub fn people_after(&self, tenant: &TenantName, after: Option<&Username>) -> (Vec<Person>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        // Not all of them under the lock, which everybody who comes or goes waits for.
        let people = lock(&self.0.presence).people(tenant, from, PEOPLE_AT_ONCE);
        let is_more = people.len() == PEOPLE_AT_ONCE;
        (people, is_more)
    }

    /// Who of a tenant is there, by name. Whoever comes or goes meanwhile is in it or not.
    pub(super) fn people(&self, tenant: &TenantName) -> Vec<Person> {
        let mut people: Vec<Person> = Vec::new();
        loop {
            let (next, is_more) = self.people_after(tenant, people.last().map(|last| &last.username));
            people.extend(next);
            if !is_more {
                return people;
            }
        }
    }

    /// Somebody opens a stream: they are there from now on. It goes on for one of theirs that ended a moment ago, where there is the
    /// one that is asked for.
    pub fn arrive(
        &self,
        tenant: &TenantName,
        username: &Username,
        goes_on: GoesOnFor,
        now: Timestamp,
    ) -> PresenceGuard {
        let mut presence = lock(&self.0.presence);
        let (id, is_news) = presence.arrive(tenant, username, goes_on, now);
        if is_news {
            self.tell_presence(tenant, username);
        }
        drop(presence);
        PresenceGuard { hub: self.clone(), tenant: RefCell::new(tenant.clone()), username: username.clone(), id }
    }

    /// Takes the streams of before the start for such as end now: who comes back goes on with them. Before anybody can come.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails.
    pub fn recall_streams(&self) -> Result<(), Error> {
        let mut presence = lock(&self.0.presence);
        for (stream, tenant, username) in self.0.store.bound_streams()? {
            // They may have come to another tenant since, with the stream.
            let account = self.0.store.unless_damaged(self.0.store.account(&username))?.flatten();
            let is_there = account.is_some_and(|account| account.tenant == tenant);
            let moved_at = (!is_there).then(|| self.0.store.head());
            presence.orphan(&tenant, &username, StreamId::new(stream), moved_at, Instant::now());
        }
        // Those that had gone for good by then had lost a part of what goes with them.
        for (stream, tenant) in self.0.store.ended_streams()? {
            let only = tenant.map(|tenant| (tenant, self.0.store.head()));
            self.forget(RemoveOf { stream: StreamId::new(stream), only });
        }
        Ok(())
    }

    /// Has what goes with a stream removed, soon: the stream has gone for good.
    pub(super) fn forget(&self, gone: RemoveOf) {
        lock(&self.0.gone).push(gone);
    }

    /// Tells of those who have gone for good; what is to go with the streams whose grace is over.
    pub(super) fn take_gone(&self) -> Vec<RemoveOf> {
        let mut gone = std::mem::take(&mut *lock(&self.0.gone));
        loop {
            let mut presence = lock(&self.0.presence);
            let Gone { streams, people, is_more } = presence.take_gone(Instant::now());
            for (tenant, username) in people {
                self.tell_presence(&tenant, &username);
            }
            // Those who have left all at once may come back all at once, too, and wait for this.
            drop(presence);
            gone.extend(streams);
            if !is_more {
                return gone;
            }
        }
    }

    /// Called while who is there is locked: whoever looks there and then into a mailbox knows of everybody.
    fn tell_presence(&self, tenant: &TenantName, username: &Username) {
        lock(&self.0.mailboxes).iter().for_each(|mailbox| mailbox.post_presence(tenant, username));
    }

    pub(super) fn watch(&self, tenant: &TenantName) {
        lock(&self.0.presence).watch(tenant);
    }

    pub(super) fn unwatch(&self, tenant: &TenantName) {
        lock(&self.0.presence).unwatch(tenant);
    }

    pub(super) fn told(&self, tenant: &TenantName, pending: &mut PendingPresence) -> Vec<(Username, Option<Person>)> {
        pending.tell(&lock(&self.0.presence), tenant)
    }

    pub(super) fn rules(&self) -> Rules {
        self.0.rules
    }

    /// Ends every stream, for good. Returns when each worker has said goodbye on all of its own.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        let closings: Vec<_> = lock(&self.0.mailboxes).iter().map(|mailbox| mailbox.post_closing()).collect();
        for closing in closings {
            // A worker that has ended has no streams.
            let _ = closing.await;
        }
    }

    /// Whether the hub was closed.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn after_step(&self) -> &Gate {
        &self.0.after_step
    }

    #[cfg(test)]
    pub(super) fn before_push(&self) -> &Gate {
        &self.0.before_push
    }

    pub(super) fn add_worker(&self, mailbox: &Arc<Mailbox>) {
        lock(&self.0.mailboxes).push(Arc::clone(mailbox));
    }

    pub(super) fn remove_worker(&self, mailbox: &Arc<Mailbox>) {
        lock(&self.0.mailboxes).retain(|other| !Arc::ptr_eq(other, mailbox));
    }

    pub(super) fn guard(&self, tenant: &TenantName, mailbox: &Arc<Mailbox>) -> ChannelGuard {
        let mut channels = lock(&self.0.channels);
        channels.unheard.retain(|unheard| unheard != tenant);
        let channel = match channels.of_tenant.entry(tenant.clone()) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            // What is on disk by now is read from there; the channel takes what comes after.
            Entry::Vacant(entry) => {
                let channel = Channel::new(self.0.store.head(), Arc::clone(&self.0.used_by_channels));
                Arc::clone(entry.insert(Arc::new(channel)))
            }
        };
        let notifier = channel.join(tenant.clone(), mailbox);
        ChannelGuard { hub: self.clone(), channel, notifier }
    }
}

impl ChannelGuard {
    pub(super) fn tenant(&self) -> &TenantName {
        &self.notifier.tenant
    }

    pub(super) fn store(&self) -> &Store {
        self.hub.store()
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Has the worker look into the channel, where it is not about to.
    pub(super) fn tell(&self) {
        self.notifier.tell();
    }
}

impl Drop for ChannelGuard {
    fn drop(&mut self) {
        // Under the same lock that places are taken under, so that nobody joins a channel as it goes.
        let mut channels = lock(&self.hub.0.channels);
        if !self.channel.leave(&self.notifier) {
            return;
        }
        channels.unheard.push_back(self.notifier.tenant.clone());
        if channels.unheard.len() > KEPT_UNHEARD
            && let Some(oldest) = channels.unheard.pop_front()
        {
            channels.of_tenant.remove(&oldest);
        }
    }
}
