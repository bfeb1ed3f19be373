//! What goes out to one client: messages, each once for all of its subscriptions, within what it takes at a time.

mod asked;
mod compose;
mod kept;
mod shared;
mod sys;
mod types;

use std::collections::{HashMap, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use super::filters::Filters;
use super::packet::Qos;
use super::record::Record;
use super::shares::Memberships;
use crate::app::CountedClient;
use crate::domain::{Position, Timestamp};

use asked::Asking;
use types::Head;

pub use types::{Due, InFlight, Limits, Message, Progress, State, Sys, Taken, Unnoted, is_sys};

/// How many messages of QoS 1 and 2 a client has unacknowledged at most, whatever it takes.
const MAX_WINDOW: u16 = 100;
/// How many messages wait behind those that a client does not acknowledge, while others of QoS 0 pass them.
const MAX_WAITING: usize = 1000;
/// How many bytes of messages of QoS 2 wait at least until the session knows of them, before others have to wait with their events.
const MAX_UNNOTED_BYTES: usize = 64 << 10;

/// Topics that the client knows by a number (MQTT 5.0, 3.3.2.3.4).
type Aliases = HashMap<Box<str>, NonZeroU16>;

/// What goes out to one client.
#[derive(Debug)]
pub struct Outbound {
    limits: Limits,
    /// What it is subscribed to.
    pub filters: Filters,
    /// The retained messages that were asked for. In a box, since they come once.
    asking: Option<Box<Asking>>,
    /// Its shared subscriptions. In a box, since few clients have any.
    pub shares: Option<Box<Memberships>>,
    /// What it is told of the server. In a box, since hardly any is.
    pub sys: Option<Box<Sys>>,
    /// By what it counts among the clients of its tenant.
    counted: Option<CountedClient>,
    in_flight: VecDeque<InFlight>,
    /// What was in flight when the session went on and has yet to be sent again, before anything that is to be acknowledged.
    again: Vec<InFlight>,
    /// Messages that come after these, while the client acknowledges nothing.
    waiting: VecDeque<Message>,
    last_id: u16,
    /// Topics by alias. In a box, since few clients take aliases.
    aliases: Option<Box<Aliases>>,
    /// Everything up to here was taken, apart from latest events that subscriptions begin with.
    position: Position,
    /// Whether nothing was acknowledged for a while, so that messages of QoS 0 pass the others.
    is_stalled: bool,
    /// Whether the next record must not wait among others, though nothing was acknowledged for a while.
    is_held: bool,
    /// Messages of QoS 2 up to here have been noted.
    exact_position: Position,
    /// Those that are to be.
    unnoted: Vec<Unnoted>,
    /// How many bytes they have, with those that are being noted.
    unnoted_bytes: u32,
    /// Messages of QoS 0 up to here were published while the client was away, and are not for it.
    quiet_until: Position,
    /// Whether the session has come further since it was saved, by messages above QoS 0.
    has_changed: bool,
}

impl Outbound {
    /// For a client that was given everything up to a position.
    pub fn new(limits: Limits, position: Position) -> Self {
        Self {
            limits,
            filters: Filters::default(),
            asking: None,
            shares: None,
            sys: None,
            counted: None,
            in_flight: VecDeque::new(),
            again: Vec::new(),
            waiting: VecDeque::new(),
            last_id: 0,
            aliases: None,
            position,
            is_stalled: false,
            is_held: false,
            exact_position: position,
            unnoted: Vec::new(),
            unnoted_bytes: 0,
            quiet_until: Position::START,
            has_changed: false,
        }
    }

    fn window(&self) -> usize {
        self.limits.receive_maximum.get().min(MAX_WINDOW).into()
    }

    /// How many messages of QoS 1 and 2 can be sent that have not been before.
    fn room(&self) -> usize {
        match self.again.is_empty() && (self.unnoted_bytes as usize) < MAX_UNNOTED_BYTES {
            true => self.window().saturating_sub(self.in_flight.len()),
            false => 0,
        }
    }

    /// Whether another message of QoS 1 or 2 can be sent.
    pub fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Whether a record can be taken, whatever its QoS is.
    pub fn takes_any(&self) -> bool {
        let may_wait = self.is_stalled && !self.is_held && self.waiting.len() < MAX_WAITING;
        (self.has_room() && self.waiting.is_empty()) || may_wait
    }

    /// The client has acknowledged nothing for a while: until it does, messages of QoS 0 pass the others. Returns whether this is new.
    pub fn stall(&mut self) -> bool {
        !std::mem::replace(&mut self.is_stalled, true)
    }

    /// Takes a record: appends the packet, leaves it out because the client is not to get it, or says that it must wait.
    pub fn take(&mut self, record: &Record<'_>, now: Timestamp, ids: &mut Vec<NonZeroU32>, out: &mut Vec<u8>) -> Taken {
        let taken = self.deliver(record, false, now, ids, out);
        match (&mut self.asking, record.is_from_before) {
            _ if taken == Taken::No => {}
            (Some(asking), true) => asking.given.after = record.position,
            (None, true) => {}
            (_, false) => self.position = self.position.max(record.position),
        }
        taken
    }

    /// What has waited is known to be undone, whatever came after it.
    fn deliver(
        &mut self,
        record: &Record<'_>,
        has_waited: bool,
        now: Timestamp,
        ids: &mut Vec<NonZeroU32>,
        out: &mut Vec<u8>,
    ) -> Taken {
        // What was held may not be wanted any more.
        self.is_held = false;
        if !self.again.is_empty() && !self.is_stalled {
            return Taken::No;
        }
        let is_own = record.publisher == Some(self.limits.publisher);
        let asked = self.asking.as_ref().filter(|_| !has_waited).map(|asking| asking.now());
        let Some(delivery) = self.filters.deliver(record, is_own, asked, ids) else { return Taken::Yes };
        if record.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Taken::Yes;
        }
        let retain = if record.is_from_before { true } else { delivery.retain_as_published && record.is_retained };
        let qos = delivery.qos.min(record.qos);
        let message = Message { position: record.position, is_from_before: record.is_from_before };
        let is_past = |position| record.position <= position && !record.is_from_before;
        let is_noted_already = match &self.asking {
            Some(asking) if record.is_from_before => asking.at(record.position) <= asking.exact,
            _ => is_past(self.exact_position),
        };
        if !has_waited && is_noted_already && self.is_under_way(message) {
            return Taken::Yes;
        }
        if qos == Qos::AtMostOnce {
            // Nor is what was asked for over an earlier connection: that may have brought it.
            let is_late = record.is_from_before && self.asking.as_ref().is_some_and(|asking| asking.is_of_before());
            if !is_past(self.quiet_until) && !is_late {
                self.put(record, now, Head { qos, retain, dup: false, id: None }, ids, out);
            }
            return Taken::Yes;
        }
        let is_noted = qos == Qos::ExactlyOnce && self.limits.keeps;
        if is_noted && !has_waited && is_noted_already {
            return Taken::Yes;
        }
        // There is room for those that have waited.
        if !has_waited && (!self.waiting.is_empty() || !self.has_room()) {
            // Among those that wait, it could not be told up to where retained ones have been noted.
            self.is_held = is_noted && record.is_from_before;
            if !self.is_stalled || self.waiting.len() >= MAX_WAITING || self.is_held {
                return Taken::No;
            }
            self.waiting.push_back(message);
            self.has_changed = true;
            return Taken::Yes;
        }
        self.has_changed = true;
        let id = self.next_id();
        if is_noted {
            match &mut self.asking {
                _ if !record.is_from_before => self.exact_position = self.exact_position.max(record.position),
                Some(asking) if !has_waited => asking.exact = asking.at(record.position),
                _ => {}
            }
            self.note(id, message, retain, ids, record);
            return Taken::Yes;
        }
        if self.put(record, now, Head { qos, retain, dup: false, id: Some(id) }, ids, out) {
            let state = if qos == Qos::ExactlyOnce { State::SentOnce } else { State::Sent };
            self.in_flight.push_back(InFlight { id, message, state });
        }
        Taken::Yes
    }

    /// Whether a message was noted before the server was killed, and is not done: however it would be given by now, it is not given beside
    /// that.
    fn is_under_way(&self, message: Message) -> bool {
        self.limits.keeps && self.in_flight.iter().chain(&self.again).any(|other| other.message == message)
    }

    /// Has a message of QoS 2 wait until the session knows of it.
    fn note(&mut self, id: NonZeroU16, message: Message, retain: bool, ids: &[NonZeroU32], record: &Record<'_>) {
        self.has_changed = true;
        self.in_flight.push_back(InFlight { id, message, state: State::Unnoted });
        self.unnoted_bytes += record.bytes.len() as u32;
        let record = Bytes::copy_from_slice(record.bytes);
        self.unnoted.push(Unnoted { id, message, retain, ids: ids.into(), record });
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
        // It need not be sent again.
        let again = self.again.iter().position(|message| message.id == id && message.state != State::Sent);
        self.in_flight.extend(again.map(|at| self.again.remove(at)));
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
        // It may be acknowledged before it is sent again.
        let is_ended = |message: &InFlight| message.id == id && is_in(message.state);
        let ended = match (self.in_flight.iter().position(is_ended), self.again.iter().position(is_ended)) {
            (Some(at), _) => self.in_flight.remove(at).is_some(),
            (None, Some(at)) => self.again.remove(at).id == id,
            (None, None) => false,
        };
        self.is_stalled &= !ended;
        self.has_changed |= ended;
        if let Some(shares) = self.shares.as_mut().filter(|_| ended) {
            shares.done(id);
        }
        ended
    }

    /// Whether messages are to be sent again, or wait.
    pub fn has_due(&self) -> bool {
        !self.again.is_empty() || !self.waiting.is_empty()
    }

    /// What is to be read next, since it can be sent now: what is sent again comes first.
    pub fn due(&self) -> Option<Due> {
        let again = self.to_resend();
        if !again.is_empty() {
            return Some(Due::Again(again));
        }
        let waiting: Vec<_> = self.waiting.iter().take(self.room()).copied().collect();
        (!waiting.is_empty()).then_some(Due::Waiting(waiting))
    }

    /// Sends messages that were due: these records are of those that are still there. Returns those that are not.
    pub fn send_due(&mut self, due: &[Message], mut records: &[u8], now: Timestamp, out: &mut Vec<u8>) -> Vec<Message> {
        let (mut ids, mut gone) = (Vec::new(), Vec::new());
        for message in due {
            self.waiting.pop_front();
            self.has_changed = true;
            let record = Record::first(records).filter(|(record, _)| record.position == message.position);
            let Some((record, length)) = record else {
                gone.push(*message);
                continue;
            };
            records = &records[length..];
            let record = Record { is_from_before: message.is_from_before, ..record };
            self.deliver(&record, true, now, &mut ids, out);
        }
        gone
    }
}

#[cfg(test)]
mod tests;
