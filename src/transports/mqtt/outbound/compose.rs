//! Packets of messages, as one client takes them.

use std::num::{NonZeroU16, NonZeroU32};

use super::Outbound;
use super::types::Head;
use crate::domain::Timestamp;
use crate::transports::mqtt::packet::{Property, Version, put_header, put_text, remaining_length, text_length};
use crate::transports::mqtt::record::Record;

/// How many topics have an alias on a connection.
const MAX_ALIASES: u16 = 64;

/// The first byte of a PUBLISH, and its flags (MQTT 5.0, 3.3.1).
const PUBLISH: u8 = 0x30;
const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b1;

impl Outbound {
    /// Appends a PUBLISH. Returns whether it did: a packet that is larger than the client takes is not sent (MQTT 5.0, 3.1.2-25).
    pub(super) fn put(
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
        let (mut topic, mut new_alias) = (record.topic, false);
        // Of a client of MQTT 5. They take memory only if there are some that are the client's own.
        let (mut length, mut own, mut properties) = (([0; 4], 0), Vec::new(), &[][..]);
        if self.limits.version == Version::V5 {
            let (short, alias) = self.alias(record.topic);
            (topic, new_alias) = (short, alias.is_some() && !short.is_empty());
            let left = record.expires_at.map(|at| seconds_until(at, now)).map(Property::MessageExpiryInterval);
            let ids = ids.iter().map(|id| Property::SubscriptionIdentifier(*id));
            left.into_iter()
                .chain(alias.map(Property::TopicAlias))
                .chain(ids)
                .for_each(|property| property.put(&mut own));
            properties = record.properties;
            length = remaining_length(own.len() + properties.len());
        }
        let parts = [id.as_ref().map_or(&[][..], |id| id), &length.0[..length.1], &own, properties, record.payload];
        put_header(out, first, text_length(topic) + parts.iter().map(|part| part.len()).sum::<usize>());
        put_text(out, topic);
        parts.iter().for_each(|part| out.extend_from_slice(part));
        let is_too_large = self.limits.maximum_packet_size.is_some_and(|most| out.len() - begin > most.get() as usize);
        if is_too_large {
            out.truncate(begin);
            // The client has not been told of it.
            self.aliases.as_mut().filter(|_| new_alias).map(|aliases| aliases.remove(record.topic));
        }
        if let Some(client) = self.counted.as_ref().filter(|_| !is_too_large) {
            client.sent();
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
}

/// How many seconds there are until a moment, begun ones too.
fn seconds_until(at: Timestamp, now: Timestamp) -> u32 {
    let left = at.as_millis().saturating_sub(now.as_millis()).div_ceil(1000);
    u32::try_from(left).unwrap_or(u32::MAX)
}
