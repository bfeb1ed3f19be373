//! Messages of shared subscriptions, which come to this client and to no other member.

use std::num::NonZeroU16;

use super::types::Head;
use super::{InFlight, Message, Outbound, State};
use crate::domain::Timestamp;
use crate::transports::mqtt::packet::Qos;
use crate::transports::mqtt::record::Record;
use crate::transports::mqtt::shares::{Memberships, Options};

impl Outbound {
    /// The shared subscriptions, to which one is about to be added.
    pub fn shares_mut(&mut self) -> &mut Memberships {
        self.shares.get_or_insert_default()
    }

    /// How many messages of shared subscriptions can be sent: none while others wait, so that these keep their order.
    pub fn room_for_shared(&self) -> usize {
        if self.waiting.is_empty() { self.room() } else { 0 }
    }

    /// Takes a record that came under a slot: appends the packet, unless it has expired or is too large. Returns `false` if the client takes
    /// no more for now.
    pub fn take_shared(
        &mut self,
        slot: u32,
        record: &Record<'_>,
        options: Options,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> bool {
        if record.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return true;
        }
        let retain = options.retain_as_published && record.is_retained;
        let (qos, ids) = (options.qos.min(record.qos), options.id);
        if qos == Qos::AtMostOnce {
            self.put(record, now, Head { qos, retain, dup: false, id: None }, ids.as_slice(), out);
            return true;
        }
        if self.room_for_shared() == 0 {
            return false;
        }
        let id = self.next_id();
        let message = Message { position: record.position, is_from_before: false };
        if qos == Qos::ExactlyOnce && self.limits.keeps {
            // It is one of the session from then on, whatever becomes of the connection.
            self.note(id, message, retain, ids.as_slice(), record);
            self.shares_mut().sent(slot, id, (record.position, record.topic), Qos::AtLeastOnce);
            return true;
        }
        if self.put(record, now, Head { qos, retain, dup: false, id: Some(id) }, ids.as_slice(), out) {
            let state = if qos == Qos::ExactlyOnce { State::SentOnce } else { State::Sent };
            self.in_flight.push_back(InFlight { id, message, state });
            self.shares_mut().sent(slot, id, (record.position, record.topic), qos);
        }
        true
    }

    /// Whether a message is of a share.
    pub(super) fn is_shared(&self, id: NonZeroU16) -> bool {
        self.shares.as_ref().is_some_and(|shares| shares.has_sent(id))
    }

    /// Whether a message goes to another member when the connection ends, or to nobody, and so is not one of the session. One of QoS 2
    /// is, once it was noted: nobody else is given it (MQTT 5.0, 4.8.2-5).
    pub(super) fn is_lost_with_connection(&self, message: &InFlight) -> bool {
        self.shares.as_ref().is_some_and(|shares| shares.goes_on(message.id))
    }
}
