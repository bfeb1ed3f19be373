//! What of a session outlives a connection: how far it has come, and how it goes on.

use std::num::NonZeroU16;

use super::types::Head;
use super::{InFlight, Limits, Outbound, Progress, State, Unnoted};
use crate::domain::{Position, Timestamp};
use crate::transports::mqtt::filters::Filters;
use crate::transports::mqtt::packet::Qos;
use crate::transports::mqtt::record::Record;

impl Outbound {
    /// For a client that comes back to its session, up to now.
    pub fn resumed(limits: Limits, filters: Filters, progress: Progress, now: Position) -> Self {
        let Progress { position, exact_position, in_flight, waiting, last_id } = progress;
        Self {
            filters,
            is_resuming: !in_flight.is_empty(),
            in_flight: in_flight.into(),
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

    /// It is saved as it is now.
    pub fn set_saved(&mut self) {
        self.has_changed = false;
    }

    /// Whether messages of QoS 2 are to be noted.
    pub fn has_unnoted(&self) -> bool {
        !self.unnoted.is_empty()
    }

    /// The position before the first event that is not done.
    pub fn done_up_to(&self) -> Position {
        let waiting = self.in_flight.iter().map(|message| message.message).chain(self.waiting.iter().copied());
        let first = waiting.map(|message| Position::new(message.position.get().saturating_sub(1))).min();
        first.map_or(self.position, |first| first.min(self.position))
    }

    /// How far the session has come.
    pub fn progress(&self) -> Progress {
        let is_kept = |message: &&InFlight| message.state != State::Unnoted && !self.is_lost_with_connection(message);
        let in_flight = self.in_flight.iter().filter(is_kept).copied();
        let unnoted = self.unnoted.iter().map(|unnoted| unnoted.message);
        Progress {
            position: self.position,
            exact_position: self.exact_position,
            in_flight: in_flight.collect(),
            waiting: unnoted.chain(self.waiting.iter().copied()).collect(),
            last_id: self.last_id,
        }
    }

    /// The messages of QoS 2 that are to be noted, and up to where all have been then.
    pub fn take_unnoted(&mut self) -> (Vec<Unnoted>, Position) {
        (std::mem::take(&mut self.unnoted), self.exact_position)
    }

    /// Sends messages that have been noted. Returns those that are not sent after all, since they are too large for the client, or are
    /// not wanted any more.
    pub fn send_noted(&mut self, noted: &[Unnoted], now: Timestamp, out: &mut Vec<u8>) -> Vec<NonZeroU16> {
        let mut not_sent = Vec::new();
        for Unnoted { id, record, .. } in noted {
            let is_sent = Record::first(record).is_some_and(|(record, _)| self.send_first(*id, &record, now, out));
            match self.in_flight.iter_mut().find(|message| message.id == *id) {
                Some(message) if is_sent => message.state = State::SentOnce,
                _ => {
                    self.in_flight.retain(|message| message.id != *id);
                    not_sent.push(*id);
                }
            }
        }
        not_sent
    }

    /// What was in flight when the session went on, in that order; empty if it was sent again.
    pub fn to_resend(&self) -> Vec<InFlight> {
        if self.is_resuming { self.in_flight.iter().copied().collect() } else { Vec::new() }
    }

    /// Sends again what was in flight: these records are of those events that are still there. `release` appends a PUBREL. Returns the
    /// messages that are gone.
    ///
    /// What the client has acknowledged since the records were read is not in flight any more: records are found by their positions.
    pub fn resend(
        &mut self,
        records: &[u8],
        now: Timestamp,
        out: &mut Vec<u8>,
        release: impl Fn(NonZeroU16, &mut Vec<u8>),
    ) -> Vec<NonZeroU16> {
        let mut gone = Vec::new();
        for InFlight { id, message, state } in self.to_resend() {
            let qos = if state == State::Sent { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
            let record = Each(records).find(|record| record.position == message.position);
            let is_sent = state != State::Released
                && record.is_some_and(|record| {
                    let record = Record { is_from_before: message.is_from_before, ..record };
                    self.send_again(id, &record, qos, now, out)
                });
            match qos {
                _ if is_sent => {}
                Qos::ExactlyOnce => self.release(id, out, &release),
                _ => gone.push(id),
            }
        }
        self.in_flight.retain(|message| !gone.contains(&message.id));
        self.is_resuming = false;
        gone
    }

    /// Goes on with PUBREL. The client may have a message that cannot be sent again, and took its identifier for used until now
    /// (MQTT 5.0, 4.3.3).
    fn release(&mut self, id: NonZeroU16, out: &mut Vec<u8>, release: impl Fn(NonZeroU16, &mut Vec<u8>)) {
        if let Some(message) = self.in_flight.iter_mut().find(|message| message.id == id) {
            message.state = State::Released;
        }
        release(id, out);
    }

    /// Appends a message of QoS 2 that has its identifier already, unless the client does not want it any more. Returns whether it did.
    fn send_first(&mut self, id: NonZeroU16, record: &Record<'_>, now: Timestamp, out: &mut Vec<u8>) -> bool {
        let (mut ids, is_own) = (Vec::new(), record.publisher == Some(self.limits.publisher));
        let Some(delivery) = self.filters.deliver(record, is_own, &mut ids) else { return false };
        if record.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return false;
        }
        let retain = record.is_from_before || (delivery.retain_as_published && record.is_retained);
        self.put(record, now, Head { qos: Qos::ExactlyOnce, retain, dup: false, id: Some(id) }, &ids, out)
    }

    /// Appends a message once more, with the QoS that it had: that of a subscription may have changed. What was begun is completed after
    /// an UNSUBSCRIBE (MQTT 5.0, 3.10.4-3) and after the message's expiry (4.3.3-7), too. Returns whether it did.
    fn send_again(&mut self, id: NonZeroU16, record: &Record<'_>, qos: Qos, now: Timestamp, out: &mut Vec<u8>) -> bool {
        let (mut ids, is_own) = (Vec::new(), record.publisher == Some(self.limits.publisher));
        let as_published =
            self.filters.deliver(record, is_own, &mut ids).is_some_and(|given| given.retain_as_published);
        let retain = record.is_from_before || (as_published && record.is_retained);
        self.put(record, now, Head { qos, retain, dup: true, id: Some(id) }, &ids, out)
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
