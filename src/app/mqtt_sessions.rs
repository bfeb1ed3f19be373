//! Sessions of MQTT that outlive their connections.

use std::num::NonZeroU16;
use std::task::{Context, Poll};

use super::events::{Events, Inserting};
use crate::central::Rate;
use crate::domain::{KeptWill, MqttProgress, MqttSession, MqttSessionId, MqttSessionKey, Position, PublisherId};
use crate::error::Error;
use crate::events::{
    BeginMqttSession, BegunMqttSession, ChangeMqttSession, Condition, Insert, MqttSessionBefore, MqttSessionChange,
    NewEvent, WillFate,
};
use crate::identity::Principal;
use crate::store::{Lane, MqttCursor, Store};
use crate::writer::Outcome;

/// A client of MQTT that connects, as its session is begun by.
#[derive(Clone, Debug)]
pub struct ConnectingClient {
    /// The client identifier.
    pub client_id: Box<str>,
    /// Clean Start.
    pub clean_start: bool,
    /// The session expiry interval, in seconds.
    pub expiry: u32,
    /// What its messages are known by.
    pub publisher: PublisherId,
    /// The will.
    pub will: Option<KeptWill>,
    /// Whether its user may have more sessions than others as long as all of them are connected.
    pub may_exceed: bool,
}

/// The session of a client that has connected.
pub enum BegunSession {
    /// It begins anew. Without an expiry and a will it is in memory alone.
    Anew(Option<MqttSessionId>),
    /// It goes on. With what it was before the client connected.
    Present(MqttSessionId, Box<MqttSession>, Box<MqttSessionBefore>),
    /// Its user has too many sessions, and all of them are connected.
    TooMany,
}

/// A change of a session that was asked for. Resolves when it is on disk.
pub type Keeping = Outcome<bool>;

/// A session that outlives its connection, or has a will, while a connection has it.
pub struct KeptSession {
    events: Events,
    id: MqttSessionId,
    /// `None` of one that ends with its connection.
    cursor: Option<MqttCursor>,
}

impl KeptSession {
    /// The session of a client, and whether it outlives a connection.
    pub fn new(events: &Events, principal: &Principal, id: MqttSessionId, outlives: bool) -> Self {
        Self { events: events.clone(), id, cursor: outlives.then(|| events.mqtt_cursor(principal, id)) }
    }

    /// What it is called.
    pub fn id(&self) -> MqttSessionId {
        self.id
    }

    /// Changes it, as [`Events::change_mqtt_session`] says.
    ///
    /// # Errors
    /// As that.
    pub fn change(&self, change: MqttSessionChange) -> Result<Keeping, Error> {
        self.events.change_mqtt_session(self.id, change)
    }

    /// Its connection has ended: writes that down, or has it found out later that nothing is written of it.
    pub fn end(&self, progress: MqttProgress, expiry: Option<u32>, will: WillFate) {
        let _ = self.change(MqttSessionChange::End(progress, expiry, will));
        self.events.lose_mqtt_session(self.id);
    }

    /// Its client is not let in after all, to a session that was this before; `None` if it is new.
    pub fn refuse(&self, before: Option<Box<MqttSessionBefore>>) {
        self.events.refuse_mqtt_session(self.id, before);
    }

    /// Becomes ready when the session is forgotten although a connection has it. Wakes as a future does.
    pub fn poll_forgotten(&self, context: &Context<'_>) -> Poll<()> {
        self.cursor.as_ref().map_or(Poll::Pending, |cursor| cursor.poll_forgotten(context))
    }

    /// Everything up to here is done, so that nobody need keep it for the session.
    pub fn raise(&self, position: Position) {
        if let Some(cursor) = &self.cursor {
            cursor.raise(position);
        }
    }
}

impl Events {
    /// Begins a session, or has one go on. Whoever calls this must be the only connection of it. If the session cannot be read it begins
    /// anew.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; [`Error::MissingScope`] if they may not publish the will;
    /// [`Error::InsertRateExceeded`], since a will counts as an insert from the beginning: nobody could be refused it later;
    /// [`Error::Storage`]; those of [`Writer::submit`](crate::writer::Writer::submit).
    pub async fn begin_mqtt_session(
        &self,
        principal: &Principal,
        client: ConnectingClient,
    ) -> Result<BegunSession, Error> {
        if self.hub.is_closed() {
            return Err(Error::ShuttingDown);
        }
        let account = self.identity.recheck(principal)?;
        if client.will.is_some() {
            self.central.take(Rate::Inserts, (&principal.username, &account.tenant), 1).await?;
        }
        let (id, before) = match self.begin_mqtt(principal, client.clone()).await? {
            BegunMqttSession::Anew(id) => return Ok(BegunSession::Anew(id)),
            BegunMqttSession::TooMany => return Ok(BegunSession::TooMany),
            BegunMqttSession::Present(id, before) => (id, before),
        };
        let begun = self.go_on_with_mqtt(principal, client, id, before.clone()).await;
        if !matches!(begun, Ok(BegunSession::Present(..))) {
            self.refuse_mqtt_session(id, Some(before));
        }
        begun
    }

    async fn begin_mqtt(&self, principal: &Principal, client: ConnectingClient) -> Result<BegunMqttSession, Error> {
        let ConnectingClient { client_id, clean_start, expiry, publisher, will, may_exceed } = client;
        let key = MqttSessionKey { username: principal.username.clone(), client_id };
        let auth_context = principal.auth_context.clone();
        let begin = BeginMqttSession { key, auth_context, clean_start, expiry, publisher, will, may_exceed };
        self.writer.submit(begin).await
    }

    /// Reads a session that goes on. If it cannot be read it begins anew.
    async fn go_on_with_mqtt(
        &self,
        principal: &Principal,
        client: ConnectingClient,
        id: MqttSessionId,
        before: Box<MqttSessionBefore>,
    ) -> Result<BegunSession, Error> {
        let lane = Lane::of_request(&principal.account.tenant, &principal.username);
        let read = move |store: &Store| store.unless_damaged(store.mqtt_session(id));
        if let Some(session) = self.store().read_on(&lane, read).await??.flatten() {
            return Ok(BegunSession::Present(id, Box::new(session), before));
        }
        // It has the will of this connection, which is not over.
        self.change_mqtt_session(id, MqttSessionChange::PutWill(None))?.await?;
        Ok(match self.begin_mqtt(principal, ConnectingClient { clean_start: true, ..client }).await? {
            BegunMqttSession::Anew(id) => BegunSession::Anew(id),
            BegunMqttSession::Present(..) | BegunMqttSession::TooMany => BegunSession::TooMany,
        })
    }

    /// The client of a session that has begun is not let in after all, and so has no will. A session that was there before is what it
    /// was then; a new one is forgotten.
    fn refuse_mqtt_session(&self, id: MqttSessionId, before: Option<Box<MqttSessionBefore>>) {
        if let Some(before) = before {
            let _ = self.change_mqtt_session(id, MqttSessionChange::PutBack(before));
        } else {
            let _ = self.change_mqtt_session(id, MqttSessionChange::PutWill(None));
            let _ = self.change_mqtt_session(id, MqttSessionChange::Forget);
        }
        self.lose_mqtt_session(id);
    }

    /// The connection of a session is over. If nothing is written of that, maintenance writes it.
    fn lose_mqtt_session(&self, id: MqttSessionId) {
        self.store().mqtt_cursors().lose(id);
    }

    /// Changes a session, after every change that was asked for before on this thread. What is returned resolves when that is on disk;
    /// it is changed whether that is awaited or not. It says whether the session was still there; of
    /// [`MqttSessionChange::ReleaseInbound`], whether a message had that packet identifier.
    ///
    /// # Errors
    /// Those of [`Writer::post`](crate::writer::Writer::post).
    pub fn change_mqtt_session(&self, id: MqttSessionId, change: MqttSessionChange) -> Result<Outcome<bool>, Error> {
        self.writer.post(ChangeMqttSession { id, change })
    }

    /// Inserts a message of QoS 2 as [`Events::insert`] does, unless the session has noted its packet identifier: then
    /// [`is_replayed`](crate::events::Inserted::is_replayed) says so.
    ///
    /// # Errors
    /// Those of [`Events::insert`].
    pub fn insert_once(
        &self,
        principal: &Principal,
        event: NewEvent,
        session: MqttSessionId,
        packet: NonZeroU16,
    ) -> Result<Inserting, Error> {
        let account = self.identity.recheck(principal)?;
        let (username, auth_context) = (principal.username.clone(), principal.auth_context.clone());
        self.central.take_here(Rate::Inserts, (&username, &account.tenant), 1)?;
        self.writer.post(Insert {
            username,
            auth_context,
            events: vec![event],
            is_array: false,
            condition: Condition::None,
            key: None,
            stream: None,
            packet: Some((session, packet)),
        })
    }

    /// The cursor of a session of the principal's tenant, for its connection to raise.
    pub fn mqtt_cursor(&self, principal: &Principal, id: MqttSessionId) -> MqttCursor {
        self.store().mqtt_cursors().hold(&principal.account.tenant, id)
    }
}
