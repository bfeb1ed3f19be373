use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, Weak};

use tokio_util::sync::CancellationToken;

use super::channel::{Channel, Listener, lock};
use super::frame::Frame;
use super::relay::Relay;
use crate::domain::{TenantName, Username};
use crate::store::Store;
use crate::writer::Committed;

/// Who listens: a cheap clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    store: Store,
    channels: Mutex<HashMap<TenantName, Arc<Channel>>>,
    sessions: Mutex<HashMap<Username, Weak<Session>>>,
    closing: CancellationToken,
}

/// The open streams of one user, which end together.
pub struct Session {
    username: Username,
    ended: CancellationToken,
    hub: Weak<Inner>,
}

/// A place in a tenant's channel, given back when dropped.
pub(super) struct Seat {
    hub: Hub,
    tenant: TenantName,
    pub(super) channel: Arc<Channel>,
    pub(super) listener: Arc<Listener>,
    pub(super) place: usize,
}

impl Hub {
    /// A hub over a store, with nobody listening.
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Inner {
            store,
            channels: Mutex::default(),
            sessions: Mutex::default(),
            closing: CancellationToken::new(),
        }))
    }

    /// Takes what became durable to everybody who listens. Called by the writer, in order.
    pub fn publish(&self, committed: Committed) {
        // Before anybody can see the events: whoever lost the right to them in this batch gets none of them.
        for username in &committed.ended {
            self.end_streams_of(username);
        }
        let events = committed.durable.reveal();
        let mut filled: Vec<Arc<Channel>> = Vec::new();
        {
            // Held throughout: whoever joins meanwhile either is there for all of these or reads them from the store.
            let channels = lock(&self.0.channels);
            for event in &events {
                let Some(channel) = channels.get(&event.tenant) else { continue };
                channel.push(Frame::encode(event, self.0.store.event_id(event.position)));
                if !filled.iter().any(|other| Arc::ptr_eq(other, channel)) {
                    filled.push(Arc::clone(channel));
                }
            }
        }
        filled.iter().for_each(|channel| channel.notify());
    }

    /// The session of a user, shared by all of their streams. Whoever opens a stream takes it *before* the last check of
    /// the user's rights, so that no change falls between the two.
    pub fn session(&self, username: &Username) -> Arc<Session> {
        let mut sessions = lock(&self.0.sessions);
        if let Some(session) = sessions.get(username).and_then(Weak::upgrade) {
            return session;
        }
        let session = Arc::new(Session {
            username: username.clone(),
            ended: self.0.closing.child_token(),
            hub: Arc::downgrade(&self.0),
        });
        sessions.insert(username.clone(), Arc::downgrade(&session));
        session
    }

    fn end_streams_of(&self, username: &Username) {
        // Out of the map first: who comes from now on gets a session of their own.
        let session = lock(&self.0.sessions).remove(username).and_then(|session| session.upgrade());
        if let Some(session) = session {
            session.ended.cancel();
        }
    }

    /// Ends every stream, for good.
    pub fn close(&self) {
        self.0.closing.cancel();
    }

    /// Whether the hub was closed.
    pub fn is_closed(&self) -> bool {
        self.0.closing.is_cancelled()
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn seat(&self, tenant: TenantName, relay: &Relay) -> Seat {
        let mut channels = lock(&self.0.channels);
        let channel = match channels.entry(tenant.clone()) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            // What is on disk by now is read from there; the channel takes what comes after.
            Entry::Vacant(entry) => Arc::clone(entry.insert(Arc::new(Channel::new(self.0.store.head())))),
        };
        let listener = channel.listener(relay.mailbox());
        let place = listener.join();
        Seat { hub: self.clone(), tenant, channel, listener, place }
    }
}

impl Session {
    /// Cancelled when the streams must end.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(hub) = self.hub.upgrade() else { return };
        let mut sessions = lock(&hub.sessions);
        // Another may have taken the name's place since.
        if sessions.get(&self.username).is_some_and(|session| session.strong_count() == 0) {
            sessions.remove(&self.username);
        }
    }
}

impl Seat {
    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(super) fn tenant(&self) -> &TenantName {
        &self.tenant
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Under the same lock that places are taken under, so that nobody joins a channel as it goes.
        let mut channels = lock(&self.hub.0.channels);
        self.listener.leave(self.place);
        if self.channel.prune() {
            channels.remove(&self.tenant);
        }
    }
}
