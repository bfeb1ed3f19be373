//! What goes out to one client: messages, each once for all of its subscriptions, within what it takes at a time.

use std::collections::{HashMap, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};

use super::filters::Filters;
use super::packet::{Property, Qos, Version, put_packet, put_text, remaining_length};
use super::record::Record;
use crate::domain::{Position, Timestamp};

/// How many messages of QoS 1 and 2 a client has unacknowledged at most, whatever it takes.
const MAX_WINDOW: u16 = 100;
/// How many topics have an alias on a connection.
const MAX_ALIASES: u16 = 64;
/// How many messages wait behind those that a client does not acknowledge, while others of QoS 0 pass them.
const MAX_WAITING: usize = 1000;

/// The first byte of a PUBLISH, and its flags (MQTT 5.0, 3.3.1).
const PUBLISH: u8 = 0x30;
const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b1;

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
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was written, or will be, or never is to be.
    Yes,
    /// It must wait until the client acknowledges something.
    No,
}

/// What goes out to one client.
#[derive(Debug)]
pub struct Outbound {
    limits: Limits,
    /// What it is subscribed to.
    pub filters: Filters,
    in_flight: VecDeque<InFlight>,
    /// Messages that come after these, while the client acknowledges nothing.
    waiting: VecDeque<Message>,
    last_id: u16,
    /// Topics by alias. In a box, since few clients take aliases.
    aliases: Option<Box<HashMap<Box<str>, NonZeroU16>>>,
    /// Everything up to here was taken, apart from latest events that subscriptions begin with.
    position: Position,
    /// Whether nothing was acknowledged for a while, so that messages of QoS 0 pass the others.
    is_stalled: bool,
}

impl Outbound {
    /// For a client that was given everything up to a position.
    pub fn new(limits: Limits, position: Position) -> Self {
        Self {
            limits,
            filters: Filters::default(),
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            last_id: 0,
            aliases: None,
            position,
            is_stalled: false,
        }
    }

    fn window(&self) -> usize {
        self.limits.receive_maximum.get().min(MAX_WINDOW).into()
    }

    /// Whether another message of QoS 1 or 2 can be sent.
    pub fn has_room(&self) -> bool {
        self.in_flight.len() < self.window()
    }

    /// Whether a record can be taken, whatever its QoS is.
    pub fn takes_any(&self) -> bool {
        (self.has_room() && self.waiting.is_empty()) || (self.is_stalled && self.waiting.len() < MAX_WAITING)
    }

    /// Says whether the client acknowledges nothing.
    pub fn set_stalled(&mut self, is_stalled: bool) {
        self.is_stalled = is_stalled;
    }

    /// Everything up to here was taken.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Takes a record: appends the packet, leaves it out because the client is not to get it, or says that it must wait.
    pub fn take(&mut self, record: &Record<'_>, now: Timestamp, ids: &mut Vec<NonZeroU32>, out: &mut Vec<u8>) -> Taken {
        let taken = self.deliver(record, now, ids, out);
        if taken == Taken::Yes && !record.is_from_before {
            self.position = self.position.max(record.position);
        }
        taken
    }

    fn deliver(&mut self, record: &Record<'_>, now: Timestamp, ids: &mut Vec<NonZeroU32>, out: &mut Vec<u8>) -> Taken {
        let is_own = record.publisher == Some(self.limits.publisher);
        let Some(delivery) = self.filters.deliver(record.topic, is_own, ids) else { return Taken::Yes };
        if record.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Taken::Yes;
        }
        let retain = if record.is_from_before { true } else { delivery.retain_as_published && record.is_retained };
        let qos = delivery.qos.min(record.qos);
        let message = Message { position: record.position, is_from_before: record.is_from_before };
        if qos == Qos::AtMostOnce {
            self.put(record, now, Head { qos, retain, dup: false, id: None }, ids, out);
            return Taken::Yes;
        }
        if !self.waiting.is_empty() || !self.has_room() {
            if !self.is_stalled || self.waiting.len() >= MAX_WAITING {
                return Taken::No;
            }
            self.waiting.push_back(message);
            return Taken::Yes;
        }
        let id = self.next_id();
        if self.put(record, now, Head { qos, retain, dup: false, id: Some(id) }, ids, out) {
            let state = if qos == Qos::ExactlyOnce { State::SentOnce } else { State::Sent };
            self.in_flight.push_back(InFlight { id, message, state });
        }
        Taken::Yes
    }

    /// The next packet identifier that no message has.
    fn next_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if let Some(id) = NonZeroU16::new(self.last_id)
                && !self.in_flight.iter().any(|other| other.id == id)
            {
                return id;
            }
        }
    }

    /// Appends a PUBLISH. Returns whether it did: a packet that is larger than the client takes is not sent (MQTT 5.0, 3.1.2-25).
    fn put(
        &mut self,
        record: &Record<'_>,
        now: Timestamp,
        Head { qos, retain, dup, id }: Head,
        ids: &[NonZeroU32],
        out: &mut Vec<u8>,
    ) -> bool {
        let begin = out.len();
        let first = PUBLISH | if dup { DUP } else { 0 } | (qos as u8) << 1 | if retain { RETAIN } else { 0 };
        let id = id.map(|id| id.get().to_be_bytes());
        let mut new_alias = false;
        if self.limits.version == Version::V5 {
            let (topic, alias) = self.alias(record.topic);
            new_alias = alias.is_some() && !topic.is_empty();
            let left = record.expires_at.map(|at| seconds_until(at, now)).map(Property::MessageExpiryInterval);
            let mut own = Vec::new();
            let ids = ids.iter().map(|id| Property::SubscriptionIdentifier(*id));
            left.into_iter()
                .chain(alias.map(Property::TopicAlias))
                .chain(ids)
                .for_each(|property| property.put(&mut own));
            let (length, of_length) = remaining_length(own.len() + record.properties.len());
            put_packet(out, first, |out| {
                put_text(out, topic);
                out.extend(id.into_iter().flatten());
                out.extend_from_slice(&length[..of_length]);
                out.extend_from_slice(&own);
                out.extend_from_slice(record.properties);
                out.extend_from_slice(record.payload);
            });
        } else {
            put_packet(out, first, |out| {
                put_text(out, record.topic);
                out.extend(id.into_iter().flatten());
                out.extend_from_slice(record.payload);
            });
        }
        let is_too_large = self.limits.maximum_packet_size.is_some_and(|most| out.len() - begin > most.get() as usize);
        if is_too_large {
            out.truncate(begin);
            // The client has not been told of it.
            self.aliases.as_mut().filter(|_| new_alias).map(|aliases| aliases.remove(record.topic));
        }
        !is_too_large
    }

    /// How a topic is written, and the alias that stands for it from now on.
    fn alias<'a>(&mut self, topic: &'a str) -> (&'a str, Option<NonZeroU16>) {
        let most = self.limits.topic_alias_maximum.min(MAX_ALIASES);
        if most == 0 {
            return (topic, None);
        }
        let aliases = self.aliases.get_or_insert_default();
        if let Some(alias) = aliases.get(topic) {
            return ("", Some(*alias));
        }
        let next = NonZeroU16::new(aliases.len() as u16 + 1).filter(|next| next.get() <= most);
        if let Some(next) = next {
            aliases.insert(topic.into(), next);
        }
        (topic, next)
    }

    /// A PUBACK came. Returns whether a message had this identifier.
    pub fn acknowledged(&mut self, id: NonZeroU16) -> bool {
        self.end(id, |state| state == State::Sent)
    }

    /// A PUBREC came, that says whether the client takes the message. Returns whether a message had this identifier; it is to be released
    /// then.
    pub fn received(&mut self, id: NonZeroU16, is_taken: bool) -> bool {
        if !is_taken {
            return self.end(id, |state| state == State::SentOnce);
        }
        let Some(message) = self.in_flight.iter_mut().find(|message| message.id == id) else { return false };
        if message.state == State::Sent {
            return false;
        }
        message.state = State::Released;
        true
    }

    /// A PUBCOMP came. Returns whether a message had this identifier.
    pub fn completed(&mut self, id: NonZeroU16) -> bool {
        self.end(id, |state| state == State::Released)
    }

    fn end(&mut self, id: NonZeroU16, is_in: impl Fn(State) -> bool) -> bool {
        let at = self.in_flight.iter().position(|message| message.id == id && is_in(message.state));
        at.and_then(|at| self.in_flight.remove(at)).is_some()
    }

    /// The messages that wait and can be sent now.
    pub fn due(&self) -> Vec<Message> {
        let room = self.window().saturating_sub(self.in_flight.len());
        self.waiting.iter().take(room).copied().collect()
    }

    /// Sends messages that were due: these records are of those that are still there.
    pub fn send_due(&mut self, due: &[Message], mut records: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        let mut ids = Vec::new();
        for message in due {
            self.waiting.pop_front();
            let Some((record, length)) = Record::first(records) else { continue };
            if record.position != message.position {
                continue;
            }
            records = &records[length..];
            let record = Record { is_from_before: message.is_from_before, ..record };
            // Those that still wait come after it.
            let waiting = std::mem::take(&mut self.waiting);
            self.deliver(&record, now, &mut ids, out);
            self.waiting = waiting;
        }
        self.is_stalled &= !self.waiting.is_empty();
    }
}

/// What a PUBLISH says of itself.
#[derive(Clone, Copy)]
struct Head {
    qos: Qos,
    retain: bool,
    dup: bool,
    id: Option<NonZeroU16>,
}

/// How many seconds there are until a moment, begun ones too.
fn seconds_until(at: Timestamp, now: Timestamp) -> u32 {
    let left = at.as_millis().saturating_sub(now.as_millis()).div_ceil(1000);
    u32::try_from(left).unwrap_or(u32::MAX)
}
