use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::channel::{Channel, Pushed, Used};
use super::filters::Filters;
use super::gate::Gate;
use super::lock::lock;
use super::mailbox::{Command, Mailbox, WorkerNotifier};
use super::registry::{GoneStream, Lease, Registry};
use super::shared_event::SharedEvent;
use super::stream_id::StreamId;
use super::survey::Survey;
use crate::domain::{
    Authorize, Event, EventFilter, FilterChange, MqttSessionId, Own, Rights, TenantName, Timestamp, Username,
};
use crate::error::Error;
use crate::store::{Durable, Store};

/// How many channels that no worker listens to are kept, those that were left last: a client that comes back, or comes alone, is then
/// served from memory too.
const KEPT_UNHEARD: usize = 64;

/// Takes committed events to every stream that wants them. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    store: Store,
    authorize: Authorize,
    /// [`Rules::streams_per_user`].
    streams_per_user: AtomicUsize,
    channels: Mutex<Channels>,
    used_by_channels: Arc<Used>,
    filters: Arc<Filters>,
    registry: Registry,
    closed: AtomicBool,
    /// Holds the writer, in tests, after it has revealed events and before they are in a channel.
    before_push: Gate,
    /// Holds a thread, in tests, that has read a step of what a stream or a tenant has missed.
    after_step: Gate,
}

/// What streams are given and allowed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How it is decided which events a user may see.
    pub authorize: Authorize,
    /// How many streams a user may have open; one more ends the oldest.
    pub streams_per_user: usize,
}

impl Rules {
    /// A limit of streams as it is set, where 0 is none.
    pub fn streams(per_user: u32) -> usize {
        if per_user == 0 { usize::MAX } else { per_user as usize }
    }

    /// How many streams a user may have open. A guest is not one client, but all that were given the same name.
    pub(super) fn streams_of(&self, username: &Username) -> usize {
        if username.is_guest() { usize::MAX } else { self.streams_per_user }
    }
}

/// The channels of those tenants that a worker listens to, and of some that one listened to a while ago.
#[derive(Default)]
struct Channels {
    of_tenant: HashMap<TenantName, Arc<Channel>>,
    /// Those that no worker listens to; the one that was left last stands last.
    unheard: VecDeque<TenantName>,
}

/// A worker's place in a tenant's channel, given back when dropped.
pub(super) struct ChannelGuard {
    hub: Hub,
    pub(super) channel: Arc<Channel>,
    notifier: Arc<WorkerNotifier>,
}

/// What a connection may hold at some server that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A stream.
    Stream(StreamId),
    /// A session of MQTT.
    MqttSession(MqttSessionId),
}

/// A change of a stream's filter that was asked for. Resolves with its number once the stream goes by it.
pub struct Changing(oneshot::Receiver<Result<u32, Error>>);

impl Future for Changing {
    type Output = Result<u32, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A stream that has ended meanwhile answers nothing.
        Pin::new(&mut self.0).poll(context).map(|changed| changed.unwrap_or(Err(Error::StreamUnknown)))
    }
}

impl Hub {
    /// A hub over a store, without streams.
    pub fn new(store: Store, rules: Rules) -> Self {
        Self(Arc::new(Inner {
            store,
            authorize: rules.authorize,
            streams_per_user: AtomicUsize::new(rules.streams_per_user),
            channels: Mutex::default(),
            used_by_channels: Arc::default(),
            filters: Arc::default(),
            registry: Registry::default(),
            closed: AtomicBool::new(false),
            before_push: Gate::default(),
            after_step: Gate::default(),
        }))
    }

    /// Takes what became durable to every stream. The writer calls this, in the order of its commits.
    pub fn publish(&self, durable: Durable) {
        // Before anybody can see the events: a stream that loses the right to them in this commit gets none of them. A worker looks
        // into its mailbox after it has fetched events and before it writes them.
        for username in durable.ended() {
            self.0.registry.end_streams_of(username);
        }
        for username in durable.changed() {
            self.0.registry.change_rights_of(username);
        }
        let events = durable.reveal();
        self.0.before_push.pass();
        // For the channels that exist by now: one that is made later begins after these events.
        let heard: Vec<_> = {
            let channels = lock(&self.0.channels);
            let channel = |event: &Event| channels.of_tenant.get(&event.tenant).map(Arc::clone);
            events.into_iter().map(|event| (channel(&event), event)).collect()
        };
        // With nothing locked, so that a stream that is opened meanwhile does not wait for it, nor for the events without a channel to
        // be freed.
        let share = |event: Event| {
            let id = self.0.store.event_id(event.position);
            Arc::new(SharedEvent::new(event, id))
        };
        let shared: Vec<_> = heard.into_iter().filter_map(|(channel, event)| Some((channel?, share(event)))).collect();
        // The latest events that are no longer kept, and the channels, which nobody else may have any more, are freed in the end: with
        // nothing locked, and after the workers were told.
        let (mut filled, mut freed) = (Vec::new(), Vec::new());
        {
            // Held throughout: a worker that joins meanwhile is there for all of these or has none of them yet.
            let _all = lock(&self.0.channels);
            for (channel, event) in &shared {
                let Pushed { is_first, too_much } = channel.push(Arc::clone(event));
                freed.extend(too_much);
                if is_first {
                    filled.push(channel);
                }
            }
        }
        filled.iter().for_each(|channel| channel.notify());
    }

    /// Forgets the events of a tenant that are in memory, since some of them were erased on the disk. They are read from there
    /// again.
    pub fn forget_in_memory(&self, tenant: &TenantName) {
        let channel = lock(&self.0.channels).of_tenant.get(tenant).map(Arc::clone);
        // Freed with nothing locked, since the writer may wait.
        drop(channel.map(|channel| channel.forget()));
    }

    /// The streams of all users.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Changes the filter of a user's stream, after every change that was asked for before; and its rights if these are given: those
    /// of a guest, which nothing else changes. What is returned resolves once the stream goes by them, with the number of the change:
    /// the first of a stream is 1.
    ///
    /// # Errors
    /// [`Error::StreamUnknown`] if they have no such stream open; later that, [`Error::FilterInvalid`] if the filter would have too many
    /// entries, and those of [`Hub::keep_filter`].
    pub fn change_filter(
        &self,
        username: &Username,
        id: StreamId,
        change: FilterChange,
        guest: Option<(Rights, Own)>,
    ) -> Result<Changing, Error> {
        let (stream, worker) = self.0.registry.open_stream(username, id).ok_or(Error::StreamUnknown)?;
        let (done, changed) = oneshot::channel();
        worker.post_command(stream, Command::Filter(change, guest, done));
        Ok(Changing(changed))
    }

    /// Has a user's stream go on by a later sign-in, if it would end sooner. Returns when it ends now; `None` is never.
    ///
    /// # Errors
    /// [`Error::StreamUnknown`] if they have no such stream open, or none that a sign-in of this kind renews.
    pub fn renew(&self, username: &Username, id: StreamId, by: Lease) -> Result<Option<Timestamp>, Error> {
        let (stream, worker, lease) = self.0.registry.renew(username, id, by).ok_or(Error::StreamUnknown)?;
        if let Some(until) = lease.expires_at {
            worker.post_command(stream, Command::Renew(until));
        }
        Ok(lease.expires_at)
    }

    /// A filter that a user of a tenant is to have for longer than a moment: it counts for them until its last copy is dropped.
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

    /// Takes the streams whose connections ended with a server for streams that end now: a client that comes back takes its own over.
    /// Notes the sessions of MQTT that lost their connections in the same way. What is still held is left alone. Called before the first
    /// client can come.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn recall_streams(&self, is_held: impl Fn(Held) -> bool) -> Result<(), Error> {
        let Inner { store, registry, .. } = &*self.0;
        store.recall_mqtt_sessions(|id| is_held(Held::MqttSession(id)))?;
        for (stream, tenant, username) in store.bound_streams()? {
            let stream = StreamId::new(stream);
            if is_held(Held::Stream(stream)) {
                continue;
            }
            // The user may have gone to another tenant since, with the stream.
            let account = store.unless_damaged(store.account(&username))?.flatten();
            let is_there = account.is_some_and(|account| account.tenant == tenant);
            let moved_at = (!is_there).then(|| store.head());
            registry.recall(stream, &tenant, &username, moved_at);
        }
        // The grace of these was over by then, and some of the events that were bound to them had been removed.
        for (stream, tenant) in store.ended_streams()? {
            let only = tenant.map(|tenant| (tenant, store.head()));
            registry.forget(GoneStream { stream: StreamId::new(stream), only });
        }
        Ok(())
    }

    /// What streams are given and allowed.
    pub fn rules(&self) -> Rules {
        let streams_per_user = self.0.streams_per_user.load(Ordering::Relaxed);
        Rules { authorize: self.0.authorize, streams_per_user }
    }

    /// Lets a user have so many streams open from now on; 0 is no limit. Those that are open stay, until the user opens the next.
    pub fn allow_streams(&self, per_user: u32) {
        self.0.streams_per_user.store(Rules::streams(per_user), Ordering::Relaxed);
    }

    /// Ends every stream, for good. Returns once every worker has told its clients so.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        for closing in self.0.registry.close() {
            // A worker that has ended has no streams.
            let _ = closing.await;
        }
    }

    /// What the open streams do. Each worker looks at all of its streams for that, so ask seldom.
    pub async fn survey(&self) -> Survey {
        let mut all = Survey::default();
        for survey in self.0.registry.survey() {
            // A worker that has ended has no streams.
            all.add(survey.await.unwrap_or_default());
        }
        all
    }

    /// Ends the streams that there are now, one after the other within this time. Others may be opened meanwhile.
    pub fn drain(&self, within: Duration) {
        self.0.registry.drain(within);
    }

    /// Whether the hub was closed.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// The store that streams are read from.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn after_step(&self) -> &Gate {
        &self.0.after_step
    }

    #[cfg(test)]
    pub(super) fn before_push(&self) -> &Gate {
        &self.0.before_push
    }

    pub(super) fn guard(&self, tenant: &TenantName, mailbox: &Arc<Mailbox>) -> ChannelGuard {
        let mut channels = lock(&self.0.channels);
        channels.unheard.retain(|unheard| unheard != tenant);
        let channel = match channels.of_tenant.entry(tenant.clone()) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            // What is on disk by now is read from there; the channel takes the events after that.
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

    /// Has the worker look into the channel, if it is not about to.
    pub(super) fn tell(&self) {
        self.notifier.tell();
    }
}

impl Drop for ChannelGuard {
    fn drop(&mut self) {
        // Under the lock under which places are taken, so that no worker joins a channel as it goes.
        let mut channels = lock(&self.hub.0.channels);
        if !self.channel.leave(&self.notifier) {
            return;
        }
        channels.unheard.push_back(self.notifier.tenant.clone());
        let is_one_too_many = channels.unheard.len() > KEPT_UNHEARD;
        let oldest = if is_one_too_many { channels.unheard.pop_front() } else { None };
        let forgotten = oldest.and_then(|oldest| channels.of_tenant.remove(&oldest));
        // The writer may wait for the lock, and much may be in the channel's memory.
        drop(channels);
        drop(forgotten);
    }
}
