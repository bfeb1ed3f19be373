//! PUBLISH (MQTT 5.0, 3.3).

use std::num::NonZeroU16;

use bytes::Bytes;

use super::fields::Fields;
use super::property::{FOREIGN, Properties, Property, put_properties};
use super::qos::Qos;
use super::version::Version;
use super::violation::Violation;
use super::write::{put_packet, put_text};

/// The first byte without flags.
pub const PUBLISH: u8 = 0x30;
const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b1;

/// A PUBLISH packet, from or to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// DUP: the packet may have been sent before. Never set with QoS 0.
    pub dup: bool,
    /// The QoS.
    pub qos: Qos,
    /// RETAIN: the server is to retain the message, or did.
    pub retain: bool,
    /// The topic name, without wildcards. It is empty if the topic alias stands for it.
    pub topic: String,
    /// The packet identifier; `None` with QoS 0.
    pub packet_id: Option<NonZeroU16>,
    /// The properties; empty before MQTT 5.
    pub properties: PublishProperties,
    /// The payload. From the decoder it is a slice of the input, and keeps all of the input in memory: copy it to keep it for long.
    pub payload: Bytes,
}

/// The properties of a PUBLISH (MQTT 5.0, 3.3.2.3) or a will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// Payload format indicator: the publisher declares the payload as UTF-8. The payload has not been validated.
    pub is_utf8: bool,
    /// Message expiry interval, in seconds.
    pub message_expiry: Option<u32>,
    /// Topic alias. Never set on a will.
    pub topic_alias: Option<NonZeroU16>,
    /// Response topic, without wildcards. It may be empty.
    pub response_topic: Option<String>,
    /// Correlation data.
    pub correlation_data: Option<Bytes>,
    /// User properties: names and values in their order. A name may come more than once.
    pub user_properties: Vec<(String, String)>,
    /// Content type: any text.
    pub content_type: Option<String>,
}

/// Checks the flags of a PUBLISH's first byte.
pub fn check_flags(flags: u8) -> Result<(), Violation> {
    let qos = Qos::of(flags >> 1).ok_or(Violation::malformed("a PUBLISH of QoS 3"))?;
    if qos == Qos::AtMostOnce && flags & DUP != 0 {
        return Err(Violation::malformed("a PUBLISH of QoS 0 that is sent again"));
    }
    Ok(())
}

impl Publish {
    /// Reads what follows the fixed header, to the end of the packet.
    pub(super) fn read(flags: u8, packet: &Bytes, mut fields: Fields<'_>, version: Version) -> Result<Self, Violation> {
        let (dup, retain) = (flags & DUP != 0, flags & RETAIN != 0);
        let qos = Qos::of(flags >> 1).unwrap_or_default();
        let topic = fields.topic()?.to_owned();
        let packet_id = if qos == Qos::AtMostOnce { None } else { Some(fields.packet_id()?) };
        let mut properties = PublishProperties::default();
        if version.has_properties() {
            let mut read = Properties::read(&mut fields)?;
            while let Some(property) = read.next()? {
                properties.take(property)?;
            }
        }
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(Violation::protocol("a PUBLISH with neither topic nor alias"));
        }
        let payload = packet.slice(packet.len() - fields.left()..);
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload })
    }

    /// Appends the packet. Properties are left out before MQTT 5.
    pub(super) fn put(&self, buffer: &mut Vec<u8>, version: Version) {
        let (dup, retain) = (if self.dup { DUP } else { 0 }, if self.retain { RETAIN } else { 0 });
        put_packet(buffer, PUBLISH | dup | (self.qos as u8) << 1 | retain, |buffer| {
            put_text(buffer, &self.topic);
            buffer.extend(self.packet_id.into_iter().flat_map(|id| id.get().to_be_bytes()));
            if version.has_properties() {
                put_properties(buffer, self.properties.iter());
            }
            buffer.extend_from_slice(&self.payload);
        });
    }
}

impl PublishProperties {
    /// Sets one of them.
    pub(super) fn take(&mut self, property: Property<'_>) -> Result<(), Violation> {
        match property {
            Property::PayloadFormatIndicator(is_utf8) => self.is_utf8 = is_utf8,
            Property::MessageExpiryInterval(seconds) => self.message_expiry = Some(seconds),
            Property::TopicAlias(alias) => self.topic_alias = Some(alias),
            Property::ResponseTopic(topic) => self.response_topic = Some(topic.to_owned()),
            Property::CorrelationData(data) => self.correlation_data = Some(Bytes::copy_from_slice(data)),
            Property::UserProperty(name, value) => self.user_properties.push((name.to_owned(), value.to_owned())),
            Property::ContentType(text) => self.content_type = Some(text.to_owned()),
            _ => return Err(FOREIGN),
        }
        Ok(())
    }

    /// The properties as a packet has them.
    pub fn iter(&self) -> impl Iterator<Item = Property<'_>> {
        let once = [
            self.is_utf8.then_some(Property::PayloadFormatIndicator(true)),
            self.message_expiry.map(Property::MessageExpiryInterval),
            self.topic_alias.map(Property::TopicAlias),
            self.response_topic.as_deref().map(Property::ResponseTopic),
            self.correlation_data.as_deref().map(Property::CorrelationData),
            self.content_type.as_deref().map(Property::ContentType),
        ];
        let user_properties = self.user_properties.iter().map(|(name, value)| Property::UserProperty(name, value));
        once.into_iter().flatten().chain(user_properties)
    }
}
