//! Messages on their way to a client, and how far they are.

use std::num::{NonZeroU16, NonZeroU32};
use std::pin::Pin;

use bytes::Bytes;
use tokio::time::Sleep;

use crate::domain::{MqttAsked, Position, TopicFilter};
use crate::transports::mqtt::packet::{Qos, Version};

/// What a client said of itself that counts for what it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Its version.
    pub version: Version,
    /// How many messages of QoS 1 and 2 it takes unacknowledged.
    pub receive_maximum: NonZeroU16,
    /// How large packets may be, in bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The greatest topic alias.
    pub topic_alias_maximum: u16,
    /// What its own messages are known by.
    pub publisher: u64,
    /// Whether its session outlives the connection, or has outlived another one.
    pub keeps: bool,
}

/// A message that is not acknowledged, or not wholly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// What the client knows it by.
    pub id: NonZeroU16,
    /// Its event.
    pub message: Message,
    /// How far it is.
    pub state: State,
}

/// A message by its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The position of the event.
    pub position: Position,
    /// Whether it was given as the latest event of its name.
    pub is_from_before: bool,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A PUBACK is awaited.
    Sent,
    /// A PUBREC is awaited.
    SentOnce,
    /// A PUBCOMP is awaited.
    Released,
    /// It is sent once the session knows of it, since it must not be sent by another identifier then (MQTT 5.0, 4.3.3).
    Unnoted,
}

/// A message of QoS 2 that is sent once the session knows of it.
#[derive(Clone, Debug)]
pub struct Unnoted {
    /// What the client will know it by.
    pub id: NonZeroU16,
    /// Its event.
    pub message: Message,
    /// What the packet says of RETAIN.
    pub(super) retain: bool,
    /// The subscriptions that it comes by.
    pub(super) ids: Box<[NonZeroU32]>,
    /// Its record.
    pub(super) record: Bytes,
}

/// Messages that can be sent once their events are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// They were in flight when the session went on.
    Again(Vec<InFlight>),
    /// They waited.
    Waiting(Vec<Message>),
}

impl Due {
    /// Where their events are.
    pub fn positions(&self) -> Vec<Position> {
        match self {
            Self::Again(again) => again.iter().map(|again| again.message.position).collect(),
            Self::Waiting(waiting) => waiting.iter().map(|message| message.position).collect(),
        }
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was written, or will be, or never is to be.
    Yes,
    /// It must wait until the client acknowledges something.
    No,
}

/// How far a session has come, as it is kept.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Everything up to here is done, or in flight, or waits.
    pub position: Position,
    /// Messages of QoS 2 up to here have been noted.
    pub exact_position: Position,
    /// The same of retained messages that were asked for.
    pub exact_asked: MqttAsked,
    /// Retained messages that were asked for, up to here, are done, or in flight, or wait.
    pub asked: MqttAsked,
    /// What is in flight, in that order.
    pub in_flight: Vec<InFlight>,
    /// What waits behind that.
    pub waiting: Vec<Message>,
    /// The last identifier that was used.
    pub last_id: u16,
}

/// What a PUBLISH says of itself.
#[derive(Clone, Copy)]
pub struct Head {
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub id: Option<NonZeroU16>,
}

/// What the topics begin with that the server says of itself, and filters for them.
const SYS: &str = "$SYS";

/// The subscriptions of a client below `$SYS/`.
#[derive(Debug)]
pub struct Sys {
    /// Those that are new, and are given what there is.
    pub(super) given: Vec<TopicFilter>,
    /// When it is told again.
    pub(super) next: Pin<Box<Sleep>>,
}

/// Whether a filter is for what the server says of itself.
pub fn is_sys(filter: &TopicFilter) -> bool {
    filter.as_str().strip_prefix(SYS).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}
