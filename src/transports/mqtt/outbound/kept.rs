//! What of a session outlives a connection: how far it has come, and how it goes on.

use std::num::NonZeroU16;

use super::asked::Asking;
use super::types::Head;
use super::{InFlight, Limits, Outbound, Progress, State, Unnoted};
use crate::domain::{MqttAsked, Position, Timestamp, TopicFilter};
use crate::events::Asked;
use crate::transports::mqtt::filters::Filters;
use crate::transports::mqtt::packet::Qos;
use crate::transports::mqtt::record::Record;

impl Outbound {
    /// For a client that comes back to its session, up to now.
    pub fn resumed(limits: Limits, filters: Filters, progress: Progress, now: Position) -> Self {
        let Progress { position, exact_position, exact_asked, asked, in_flight, waiting, last_id } = progress;
        let asking = Asking::before(&filters, asked, exact_asked, position);
        Self {
            filters,
            asking,
            again: in_flight,
            waiting: waiting.into(),
            last_id,
            exact_position,
            quiet_until: now,
            ..Self::new(limits, position)
        }
    }

    /// Whether the session has come further since it was saved.
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Whether it is to be saved before a subscription has this QoS. Up to where messages of QoS 2 have been noted, those are taken for noted
    /// that come by it: what was given by less, and is not acknowledged, would not come again after a crash.
    pub fn is_saved_before(&self, filter: &TopicFilter, qos: Qos) -> bool {
        let is_raised = qos == Qos::ExactlyOnce && self.filters.get(filter).is_some_and(|before| before.qos < qos);
        is_raised && self.limits.keeps && self.has_changed
    }

    /// It is saved as it is now.
    pub fn set_saved(&mut self) {
        self.has_changed = false;
    }

    /// Whether messages of QoS 2 are to be noted.
    pub fn has_unnoted(&self) -> bool {
        !self.unnoted.is_empty()
    }

    /// Whether it does not stand as far as this.
    pub fn is_before(&self, position: Position) -> bool {
        self.position < position
    }

    /// Everything up to here was taken, or is not for the client. That alone is nothing to save.
    pub fn pass(&mut self, position: Position) {
        self.position = self.position.max(position);
    }

    /// The position before the first event that is not done.
    pub fn done_up_to(&self) -> Position {
        let in_flight = self.in_flight.iter().chain(&self.again);
        let waiting = in_flight.map(|message| message.message).chain(self.waiting.iter().copied());
        let first = waiting.map(|message| Position::new(message.position.get().saturating_sub(1))).min();
        first.map_or(self.position, |first| first.min(self.position))
    }

    /// How far the session has come. What is being noted, and may yet be refused, is noted with this as well. But what comes by shares is
    /// not: if it is refused, it goes to other members.
    pub fn progress(&self) -> Progress {
        self.progress_with(|message| message.state != State::Unnoted || !self.is_shared(message.id))
    }

    /// The same once the connection has ended, when the session could not note the last of those messages: of shares they go to other
    /// members.
    pub fn last_progress(&mut self, refused: &[Unnoted]) -> Progress {
        if let Some(shares) = &mut self.shares {
            refused.iter().for_each(|unnoted| shares.set_qos(unnoted.id, Qos::AtLeastOnce));
        }
        self.progress_with(|_| true)
    }

    fn progress_with(&self, is_saved: impl Fn(&InFlight) -> bool) -> Progress {
        let waits = |id| self.unnoted.iter().any(|unnoted| unnoted.id == id);
        let is_kept = |message: &&InFlight| {
            let is_to_be_noted = message.state == State::Unnoted && waits(message.id);
            !is_to_be_noted && !self.is_lost_with_connection(message) && is_saved(message)
        };
        let in_flight = self.in_flight.iter().filter(is_kept).chain(&self.again).copied();
        let unnoted = self.unnoted.iter().filter(|unnoted| !self.is_shared(unnoted.id)).map(|unnoted| unnoted.message);
        let (asked, exact_asked) = self.asked_progress();
        Progress {
            position: self.position,
            exact_position: self.exact_position,
            exact_asked,
            asked,
            in_flight: in_flight.collect(),
            waiting: unnoted.chain(self.waiting.iter().copied()).collect(),
            last_id: self.last_id,
        }
    }

    /// The messages of QoS 2 that are to be noted, and up to where all have been then.
    pub fn take_unnoted(&mut self) -> (Vec<Unnoted>, (Position, MqttAsked)) {
        if let Some(shares) = &mut self.shares {
            self.unnoted.iter().for_each(|unnoted| shares.set_qos(unnoted.id, Qos::ExactlyOnce));
        }
        (std::mem::take(&mut self.unnoted), (self.exact_position, self.asked_progress().1))
    }

    /// Sends messages that have been noted. Returns those that are not sent after all, since they are too large for the client, or have
    /// expired.
    pub fn send_noted(&mut self, noted: &[Unnoted], now: Timestamp, out: &mut Vec<u8>) -> Vec<NonZeroU16> {
        let mut not_sent = Vec::new();
        for Unnoted { id, retain, ids, record, .. } in noted {
            self.unnoted_bytes -= record.len() as u32;
            let head = Head { qos: Qos::ExactlyOnce, retain: *retain, dup: false, id: Some(*id) };
            let is_current = |record: &Record<'_>| record.expires_at.is_none_or(|expires_at| expires_at > now);
            let record = Record::first(record).map(|(record, _)| record).filter(is_current);
            let is_sent = record.is_some_and(|record| self.put(&record, now, head, ids, out));
            let at = self.in_flight.iter().position(|message| message.id == *id);
            match at.and_then(|at| self.in_flight.remove(at)) {
                // Behind those of QoS 1 that were sent while it was being noted: what is sent again goes in the order of sending (MQTT
                // 5.0, 4.6.0-1).
                Some(message) if is_sent => self.in_flight.push_back(InFlight { state: State::SentOnce, ..message }),
                _ => {
                    if let Some(shares) = &mut self.shares {
                        shares.done(*id);
                    }
                    not_sent.push(*id);
                }
            }
        }
        not_sent
    }

    /// What is sent again next, in the order in which it was sent, as far as the client takes it now (MQTT 5.0, 4.9).
    pub(super) fn to_resend(&self) -> Vec<InFlight> {
        let room = self.window().saturating_sub(self.in_flight.len());
        let sent = self.again.iter().filter(|message| message.state != State::Released);
        sent.take(room).copied().collect()
    }

    /// Goes on with those messages that the client received over an earlier connection: however many it takes at a time, it takes
    /// PUBRELs (MQTT 5.0, 4.9), which `release` appends.
    pub fn release_again(&mut self, out: &mut Vec<u8>, release: impl Fn(NonZeroU16, &mut Vec<u8>)) {
        let is_received = |message: &InFlight| message.state == State::Released;
        if !self.again.iter().any(is_received) {
            return;
        }
        let (received, again): (Vec<_>, _) = std::mem::take(&mut self.again).into_iter().partition(is_received);
        self.again = again;
        received.iter().for_each(|message| release(message.id, out));
        self.in_flight.extend(received);
    }

    /// Sends messages again that were read: these records are of those events that are still there. `release` appends a PUBREL. Returns
    /// the messages that are gone.
    ///
    /// What the client has acknowledged since the records were read is not sent: records are found by their positions.
    pub fn resend(
        &mut self,
        read: &[InFlight],
        records: &[u8],
        now: Timestamp,
        out: &mut Vec<u8>,
        release: impl Fn(NonZeroU16, &mut Vec<u8>),
    ) -> Vec<NonZeroU16> {
        let mut gone = Vec::new();
        for InFlight { id, message, .. } in read {
            let at = self.again.iter().position(|again| again.id == *id);
            let Some(mut again) = at.map(|at| self.again.remove(at)) else { continue };
            let qos = if again.state == State::Sent { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
            let record = Each(records).find(|record| record.position == message.position);
            let is_sent = record.is_some_and(|record| {
                let record = Record { is_from_before: message.is_from_before, ..record };
                self.send_again(*id, &record, qos, now, out)
            });
            match qos {
                _ if is_sent => {}
                // The client may have a message that cannot be sent again, and took its identifier for used until now (MQTT 5.0,
                // 4.3.3).
                Qos::ExactlyOnce => {
                    again.state = State::Released;
                    release(*id, out);
                }
                _ => {
                    gone.push(*id);
                    continue;
                }
            }
            self.in_flight.push_back(again);
        }
        gone
    }

    /// Appends a message once more, with the QoS that it had: that of a subscription may have changed. What was begun is completed after
    /// an UNSUBSCRIBE (MQTT 5.0, 3.10.4-3) and after the message's expiry (4.3.3-7), too. Returns whether it did.
    fn send_again(&mut self, id: NonZeroU16, record: &Record<'_>, qos: Qos, now: Timestamp, out: &mut Vec<u8>) -> bool {
        let (mut ids, is_own) = (Vec::new(), record.publisher == Some(self.limits.publisher));
        let as_published =
            self.filters.deliver(record, is_own, None, &mut ids).is_some_and(|given| given.retain_as_published);
        let retain = record.is_from_before || (as_published && record.is_retained);
        self.put(record, now, Head { qos, retain, dup: true, id: Some(id) }, &ids, out)
    }
}

impl Outbound {
    /// The number of a SUBSCRIBE that asks for retained messages.
    pub fn ask(&mut self) -> u32 {
        let asking = self.asking.get_or_insert_default();
        asking.last = asking.last.saturating_add(1);
        asking.last
    }

    /// What is still to be given of what was asked for over an earlier connection.
    pub fn take_asked_before(&mut self) -> Vec<Asked> {
        self.asking.as_mut().map(|asking| std::mem::take(&mut asking.before)).unwrap_or_default()
    }

    /// Retained messages that come from here on were asked for by this.
    pub fn begin_asked(&mut self, asked: &Asked) {
        self.asking.get_or_insert_default().begin(asked.number);
    }

    /// All of those have been taken, up to the SUBSCRIBE of this number.
    pub fn end_asked(&mut self, number: u32) {
        if let Some(asking) = &mut self.asking {
            asking.given = MqttAsked { done: number, through: number, after: Position::START };
            self.has_changed = true;
        }
    }

    /// How far retained messages have been given that were asked for, and up to where those of QoS 2 have been noted.
    pub(super) fn asked_progress(&self) -> (MqttAsked, MqttAsked) {
        self.asking.as_ref().map_or_else(Default::default, |asking| (asking.given, asking.exact))
    }
}

/// Records behind each other.
struct Each<'a>(&'a [u8]);

impl<'a> Iterator for Each<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (record, length) = Record::first(self.0)?;
        self.0 = &self.0[length..];
        Some(record)
    }
}
