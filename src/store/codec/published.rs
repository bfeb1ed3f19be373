//! What an event has beside its data if it was published over MQTT (format 5): a head in its row, and behind the data an envelope
//! with everything that has no fixed length.
//!
//! The envelope consists of parts: what it is (1 byte), length (4), and content. Most events have none.

use super::numbers::Decoded;
use crate::domain::{PART_BYTES, PayloadForm, PayloadFormat, Properties, Published, PublisherId, Qos};

/// The length of the head: the length of the envelope (4 bytes), [`flags`] (1), and the publisher (8).
pub const HEAD_BYTES: usize = 13;

/// The kinds of parts.
const RAW: u8 = 1;
const CONTENT_TYPE: u8 = 2;
const RESPONSE_TOPIC: u8 = 3;
const CORRELATION_DATA: u8 = 4;
const USER_PROPERTY_NAME: u8 = 5;
/// Follows each name.
const USER_PROPERTY_VALUE: u8 = 6;

const WRONG: &str = "what was published is not what was written";

/// The head in the row of an event that was published over MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedHead<'a>(pub &'a [u8; HEAD_BYTES]);

impl PublishedHead<'_> {
    /// The length of the envelope behind the data.
    pub fn envelope_bytes(self) -> usize {
        let [a, b, c, d, ..] = *self.0;
        u32::from_be_bytes([a, b, c, d]) as usize
    }

    /// With which quality of service it was published, and by which client.
    pub fn qos_and_publisher(self) -> Decoded<(Qos, PublisherId)> {
        let [_, _, _, _, flags, publisher @ ..] = *self.0;
        let qos = Qos::from_number(flags >> 2 & 3).ok_or(WRONG)?;
        Ok((qos, PublisherId(u64::from_be_bytes(publisher))))
    }

    /// The head of the same event without its envelope.
    pub fn without_envelope(self) -> [u8; HEAD_BYTES] {
        let mut head = *self.0;
        head[..4].fill(0);
        head
    }

    /// What was published, from head and envelope.
    pub fn decode(self, envelope: &[u8]) -> Decoded<Published> {
        let [_, _, _, _, flags, ..] = *self.0;
        let (mut raw, mut properties) = (None, Properties::default());
        properties.payload_format = match flags >> 4 {
            0 => None,
            1 => Some(PayloadFormat::Bytes),
            2 => Some(PayloadFormat::Text),
            _ => return Err(WRONG),
        };
        let mut rest = envelope;
        while !rest.is_empty() {
            let kind = rest[0];
            let content = take_part(&mut rest, kind)?;
            match kind {
                RAW => raw = Some(content.into()),
                CONTENT_TYPE => properties.content_type = Some(text(content)?),
                RESPONSE_TOPIC => properties.response_topic = Some(text(content)?),
                CORRELATION_DATA => properties.correlation_data = Some(content.to_vec()),
                USER_PROPERTY_NAME => {
                    let value = take_part(&mut rest, USER_PROPERTY_VALUE)?;
                    properties.user_properties.push((text(content)?, text(value)?));
                }
                _ => return Err(WRONG),
            }
        }
        let form = match (flags & 3, raw) {
            (0, None) => PayloadForm::Data,
            (1, None) => PayloadForm::Text,
            (2, None) => PayloadForm::Base64,
            // Without its envelope, which an erasure takes away, it is a removal, and they have no payload.
            (3, raw) => PayloadForm::Raw(raw.unwrap_or_default()),
            _ => return Err(WRONG),
        };
        let (qos, publisher) = self.qos_and_publisher()?;
        Ok(Published { form, qos, publisher, properties })
    }
}

/// The form of the payload (2 bits), the quality of service (2), and the payload format indicator (the rest).
fn flags(published: &Published) -> u8 {
    let form = match published.form {
        PayloadForm::Data => 0,
        PayloadForm::Text => 1,
        PayloadForm::Base64 => 2,
        PayloadForm::Raw(_) => 3,
    };
    let format = match published.properties.payload_format {
        None => 0,
        Some(PayloadFormat::Bytes) => 1,
        Some(PayloadFormat::Text) => 2,
    };
    form | published.qos.number() << 2 | format << 4
}

/// The head in the row of the event.
pub fn encode_published(published: &Published) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&(published.bytes() as u32).to_be_bytes());
    head[4] = flags(published);
    head[5..].copy_from_slice(&published.publisher.0.to_be_bytes());
    head
}

/// The envelope. Its length is [`Published::bytes`].
pub fn encode_envelope(published: &Published) -> Vec<u8> {
    let mut envelope = Vec::with_capacity(published.bytes());
    let mut put = |kind: u8, content: &[u8]| {
        envelope.push(kind);
        envelope.extend_from_slice(&(content.len() as u32).to_be_bytes());
        envelope.extend_from_slice(content);
    };
    let Properties { payload_format: _, content_type, response_topic, correlation_data, user_properties } =
        &published.properties;
    if let PayloadForm::Raw(raw) = &published.form {
        put(RAW, raw);
    }
    for (kind, text) in [(CONTENT_TYPE, content_type), (RESPONSE_TOPIC, response_topic)] {
        text.iter().for_each(|text| put(kind, text.as_bytes()));
    }
    correlation_data.iter().for_each(|data| put(CORRELATION_DATA, data));
    for (name, value) in user_properties {
        put(USER_PROPERTY_NAME, name.as_bytes());
        put(USER_PROPERTY_VALUE, value.as_bytes());
    }
    envelope
}

/// Takes the first part, which has to be of a kind.
fn take_part<'a>(envelope: &mut &'a [u8], kind: u8) -> Decoded<&'a [u8]> {
    let (head, rest) = envelope.split_first_chunk::<PART_BYTES>().filter(|(head, _)| head[0] == kind).ok_or(WRONG)?;
    let [_, a, b, c, d] = *head;
    let (content, rest) = rest.split_at_checked(u32::from_be_bytes([a, b, c, d]) as usize).ok_or(WRONG)?;
    *envelope = rest;
    Ok(content)
}

fn text(content: &[u8]) -> Decoded<String> {
    std::str::from_utf8(content).map(str::to_owned).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests;
