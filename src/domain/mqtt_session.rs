//! A session of MQTT that outlives its connection (MQTT 5.0, 4.1). It is a position in the order of all events, and no queue.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32};

use super::{
    AuthContext, EventName, Position, Properties, PublisherId, Qos, SignIn, TenantName, Timestamp, TopicFilter,
    Username,
};

/// A session expiry interval in seconds that never ends (MQTT 5.0, 3.1.2.11.2).
pub const NEVER_EXPIRES: u32 = u32::MAX;

/// What a session is known by. No user can take that of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MqttSessionKey {
    /// The user or the guest.
    pub username: Username,
    /// The client identifier.
    pub client_id: Box<str>,
}

/// The number of a session in the database. A session that begins anew has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MqttSessionId(pub u64);

/// What is known of a session beside how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MqttSessionHead {
    /// What it is known by.
    pub key: MqttSessionKey,
    /// The tenant of its events.
    pub tenant: TenantName,
    /// What the messages of its client are known by.
    pub publisher: PublisherId,
    /// The session expiry interval, in seconds; [`NEVER_EXPIRES`].
    pub expiry: u32,
    /// When it began, and after which event.
    pub began: (Timestamp, Position),
    /// When its connection ended; `None` while it has one.
    pub ended_at: Option<Timestamp>,
}

/// A whole session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttSession {
    /// What is known of it beside the rest.
    pub head: MqttSessionHead,
    /// Its subscriptions, in the order of their filters.
    pub subscriptions: Vec<KeptSubscription>,
    /// How far it has come.
    pub progress: MqttProgress,
    /// Identifiers of messages of QoS 2 that the client has sent and not released.
    pub unreleased: BTreeSet<NonZeroU16>,
    /// The will.
    pub will: Option<KeptWill>,
}

/// A subscription (MQTT 5.0, 3.8.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSubscription {
    /// The topic filter, or all of a shared subscription.
    pub filter: Box<str>,
    /// The greatest QoS.
    pub qos: Qos,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// The subscription identifier.
    pub id: Option<NonZeroU32>,
    /// What was published up to here came before it.
    pub since: Position,
    /// The last SUBSCRIBE that has asked for its retained messages.
    pub asked: MqttAsk,
}

/// A SUBSCRIBE that has asked for retained messages. A later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MqttAsk {
    /// Its number among those of its session; 0 if there was none.
    pub number: u32,
    /// The events up to here are retained ones for it. Later ones come as they are published.
    pub until: Position,
}

/// How far those retained messages have been given that subscriptions ask for. The SUBSCRIBEs of a session that ask for some have numbers,
/// and those that wait at the same time are given together. What is further is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MqttAsked {
    /// All is given that was asked for up to this number.
    pub done: u32,
    /// What was asked for after that, up to this number, is being given.
    pub through: u32,
    /// Of that, the events up to here are given.
    pub after: Position,
}

/// How far the messages to a client have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MqttProgress {
    /// Everything up to here is done, or stands below.
    pub position: Position,
    /// Messages of QoS 2 up to here have been noted, or were done before: none of them is given another packet identifier.
    pub exact_position: Position,
    /// The same of retained messages that were asked for.
    pub exact_asked: MqttAsked,
    /// Retained messages that were asked for, up to here, are done or stand below.
    pub asked: MqttAsked,
    /// Messages that are not acknowledged, or not wholly, in the order in which they were sent.
    pub outgoing: Vec<Outgoing>,
    /// Messages that come after those and have no packet identifier yet.
    pub waiting: Vec<OutgoingEvent>,
    /// The packet identifier that was given last; 0 if none was.
    pub last_id: u16,
}

/// The event of a message to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingEvent {
    /// Its position.
    pub position: Position,
    /// Whether it is given as the latest event of its name, to a subscription that was new.
    pub is_from_before: bool,
}

/// A message to a client that is not acknowledged, or not wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The packet identifier.
    pub id: NonZeroU16,
    /// Its event.
    pub event: OutgoingEvent,
    /// How far it is.
    pub state: OutgoingState,
}

/// How far a message to a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutgoingState {
    /// QoS 1: a PUBACK is awaited.
    Sent,
    /// QoS 2: a PUBREC is awaited.
    SentOnce,
    /// QoS 2: a PUBCOMP is awaited.
    Released,
}

/// The message that is published when a connection ends without a normal DISCONNECT (MQTT 5.0, 3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWill {
    /// The topic.
    pub topic: EventName,
    /// The payload.
    #[serde(with = "super::wire::bytes")]
    pub payload: Box<[u8]>,
    /// The QoS.
    pub qos: Qos,
    /// Whether it becomes the latest event of its name.
    pub retain: bool,
    /// The properties that subscribers get.
    pub properties: Properties,
    /// After how many seconds the message expires, if it does.
    pub expires_in: Option<u32>,
    /// How many seconds after the end of the connection it is published, unless the session goes on by then.
    pub delay: u32,
    /// What the right to publish it rests on.
    pub by: WillRight,
}

/// What the right to publish a will rests on. That of a user is looked at again when the will is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WillRight {
    /// The sign-in of a user.
    SignIn(SignIn),
    /// The token of a guest, which permits the topic and ends at a moment, if it does. The will is published by then.
    Token(Option<Timestamp>),
}

impl From<&AuthContext> for WillRight {
    fn from(by: &AuthContext) -> Self {
        match by {
            AuthContext::User(sign_in) => Self::SignIn(*sign_in),
            AuthContext::Guest(guest) => Self::Token(guest.expires_at()),
        }
    }
}

impl MqttSessionHead {
    /// When it expires, if its connection has ended and it ever does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let ended_at = self.ended_at.filter(|_| self.expiry != NEVER_EXPIRES)?;
        Some(ended_at + std::time::Duration::from_secs(self.expiry.into()))
    }

    /// When a will is due, if its connection has ended: not later than the end of the session, and not later than the right to it.
    pub fn will_due_at(&self, will: &KeptWill) -> Option<Timestamp> {
        let delay = std::time::Duration::from_secs(will.delay.min(self.expiry).into());
        let due_at = self.ended_at? + delay;
        Some(match will.by {
            WillRight::Token(Some(until)) => due_at.min(until),
            WillRight::Token(None) | WillRight::SignIn(_) => due_at,
        })
    }
}

impl KeptSubscription {
    /// The topics of it; `None` of a shared subscription, which is no session's alone.
    pub fn topics(&self) -> Option<TopicFilter> {
        if self.filter.starts_with(super::SharedFilter::BEGINNING) { None } else { TopicFilter::parse(&self.filter) }
    }
}

impl MqttProgress {
    /// That of a session that begins here.
    pub fn at(position: Position) -> Self {
        Self { position, exact_position: position, ..Self::default() }
    }

    /// The position before the first event that is not done.
    pub fn done_up_to(&self) -> Position {
        let before = self.events().map(|event| Position::new(event.position.get().saturating_sub(1)));
        before.min().map_or(self.position, |first| first.min(self.position))
    }

    /// Whether the event at a position is not done.
    pub fn needs(&self, position: Position) -> bool {
        position > self.position || self.names(position)
    }

    /// Whether the event at a position is on its way, or waits.
    fn names(&self, position: Position) -> bool {
        self.events().any(|event| event.position == position)
    }

    /// The events that are on their way, or wait, in order.
    pub fn named(&self) -> impl Iterator<Item = Position> {
        let positions: BTreeSet<_> = self.events().map(|event| event.position).collect();
        positions.into_iter()
    }

    fn events(&self) -> impl Iterator<Item = &OutgoingEvent> {
        self.outgoing.iter().map(|message| &message.event).chain(&self.waiting)
    }
}
