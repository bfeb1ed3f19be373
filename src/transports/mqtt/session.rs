//! The session of a client that connects.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use tokio::sync::oneshot;

use super::filters::Filters;
use super::keeping::{Keeper, progress, shares, subscriptions};
use super::outbound::Progress;
use super::packet::Reason;
use super::reasons;
use super::shares::Options;
use crate::app::{App, BegunSession, ConnectingClient, HeldSession, KeptSession};
use crate::domain::{MqttSession, MqttSessionId, SharedFilter, TopicFilter};
use crate::error::Error;
use crate::events::MqttSessionBefore;
use crate::identity::Principal;

/// A session that has begun, or goes on. Dropped before its connection has it, the client is not let in.
pub struct Begun {
    /// What of it is on disk, and which connection has it. In this order: it is written before another connection has it.
    parts: Option<(Keeper, HeldSession)>,
    /// What there was of it; `None` if it begins anew.
    pub before: Option<Before>,
}

/// A session that goes on.
pub struct Before {
    /// How far it has come.
    pub progress: Progress,
    /// Its subscriptions.
    pub filters: Filters,
    /// Their filters.
    pub topics: Vec<TopicFilter>,
    /// Its shared subscriptions.
    pub shares: Vec<(SharedFilter, Options)>,
    /// The identifiers of messages of QoS 2 that the client has not released.
    pub unreleased: BTreeSet<NonZeroU16>,
    /// What it was on disk.
    on_disk: Box<MqttSessionBefore>,
}

impl Before {
    fn new(session: MqttSession, on_disk: Box<MqttSessionBefore>) -> Self {
        let (filters, topics) = subscriptions(&session);
        let shares = shares(&session);
        Self { progress: progress(&session.progress), filters, topics, shares, unreleased: session.unreleased, on_disk }
    }
}

impl Begun {
    /// What it is called on disk, if there may be messages for it: it outlives its connection, or has outlived another.
    pub fn session(&self) -> Option<MqttSessionId> {
        let (keeper, _) = self.parts.as_ref()?;
        keeper.kept().map(KeptSession::id)
    }

    /// Hands the session over to its connection.
    pub fn into_parts(mut self) -> Option<(Keeper, HeldSession, Option<Before>)> {
        let (keeper, held) = self.parts.take()?;
        Some((keeper, held, self.before.take()))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some((keeper, held)) = self.parts.take() {
            keeper.refuse(self.before.take().map(|before| before.on_disk));
            drop(held);
        }
    }
}

/// Begins the session of a client, or has it go on.
///
/// # Errors
/// Why the client is not let in.
pub async fn begin(
    app: App,
    principal: Principal,
    client: ConnectingClient,
    held: HeldSession,
) -> Result<Begun, Reason> {
    let (sender, begun) = oneshot::channel();
    // A task of its own, so that the session is ended that a client has begun and never seen.
    tokio::task::spawn_local(async move {
        let _ = sender.send(begin_on_disk(&app, &principal, client, held).await);
    });
    match begun.await {
        Ok(begun) => begun.map_err(|error| error.map_or(Reason::QuotaExceeded, |error| reasons::of_connect(&error))),
        Err(_) => Err(Reason::Unspecified),
    }
}

async fn begin_on_disk(
    app: &App,
    principal: &Principal,
    client: ConnectingClient,
    held: HeldSession,
) -> Result<Begun, Option<Error>> {
    let expiry = client.expiry;
    let (id, before) = match app.events.begin_mqtt_session(principal, client).await? {
        BegunSession::Anew(id) => (id, None),
        BegunSession::Present(id, session, on_disk) => (Some(id), Some(Before::new(*session, on_disk))),
        BegunSession::TooMany => return Err(None),
    };
    let outlives = expiry > 0 || before.is_some();
    let session = id.map(|id| KeptSession::new(&app.events, principal, id, outlives));
    let keeper = Keeper::new(session, expiry, before.is_some());
    Ok(Begun { parts: Some((keeper, held)), before })
}
