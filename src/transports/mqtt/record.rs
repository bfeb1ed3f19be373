//! An event on its way to clients of MQTT: what all of them have in common. Each connection makes a packet of it that is its own.

use std::ops::Range;

use bytes::Bytes;

use super::packet::{Property, Qos};
use crate::domain::{EventId, EventKind, PayloadFormat, Position, Published, Timestamp};
use crate::events::{Content, ControlEvent, EventParts, Format, FormatKey};

/// What a record begins with: its length (4 bytes), then flags (1), length of the topic (2), length of the properties (4), position
/// (8), moment of expiry (8; 0 is never), and publisher (8; 0 is none of MQTT).
const HEAD_BYTES: usize = 35;
/// Where the flags stand.
const FLAGS: usize = 4;
/// Flags: the two lowest bits are the QoS of the publisher.
const QOS: u8 = 0b11;
/// It was published with RETAIN 1.
const IS_RETAINED: u8 = 1 << 2;
/// It is the latest event of its name, and given because it is there, and not because it was published just now.
const IS_FROM_BEFORE: u8 = 1 << 3;

/// Writes [`Record`]s.
#[derive(Clone, Copy, Debug)]
pub struct Records;

/// An event as the connections of MQTT get it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Its position in the order of all events.
    pub position: Position,
    /// The QoS that it was published with.
    pub qos: Qos,
    /// Whether it was published with RETAIN 1.
    pub is_retained: bool,
    /// Whether it is given as the latest event of its name, to a subscription that is new.
    pub is_from_before: bool,
    /// When it expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// The client of MQTT that published it, as [`Published`] knows it.
    pub publisher: Option<u64>,
    /// Its name.
    pub topic: &'a str,
    /// The properties of MQTT 5 that it was published with, as they stand in a packet, without their length.
    pub properties: &'a [u8],
    /// What was published.
    pub payload: &'a [u8],
}

impl Format for Records {
    fn key(&self) -> FormatKey {
        FormatKey { encoding: "mqtt", framing: "none" }
    }

    /// Of what MQTT cannot say nothing is written: of names that no topic has, and of removals by expiry, since its clients see to
    /// that themselves.
    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        if event.by_expiry || event.name.contains(['+', '#']) {
            return None;
        }
        let begin = buffer.len();
        buffer.resize(begin + HEAD_BYTES, 0);
        buffer.extend_from_slice(event.name.as_bytes());
        let properties_at = buffer.len();
        if let Some(published) = event.published {
            properties(published).for_each(|property| property.put(buffer));
        }
        let payload_at = buffer.len();
        let is_removal = event.kind == EventKind::Removal;
        let data_at = match event.published {
            _ if is_removal => None,
            None => {
                buffer.extend_from_slice(event.data.as_bytes());
                Some(payload_at..buffer.len())
            }
            Some(published) => {
                buffer.extend_from_slice(&published.form.payload_bytes(event.data));
                None
            }
        };
        // What came by another way is as sure as can be.
        let qos = event.published.and_then(|published| Qos::of(published.qos.number())).unwrap_or(Qos::ExactlyOnce);
        let is_retained = event.kind != EventKind::Transient;
        let head = Head {
            length: buffer.len() - begin,
            flags: qos as u8 | if is_retained { IS_RETAINED } else { 0 },
            topic: properties_at - begin - HEAD_BYTES,
            properties: payload_at - properties_at,
            position: event.id.position.get(),
            expires_at: event.expires_at.map_or(0, Timestamp::as_millis),
            publisher: event.published.map_or(0, |published| published.publisher.0),
        };
        buffer[begin..begin + HEAD_BYTES].copy_from_slice(&head.bytes());
        data_at
    }

    /// These streams ask for none.
    fn control(&self, _: &ControlEvent<'_>, _: EventId, _: &mut Vec<u8>) {}

    /// Clients of MQTT ask whether the server is there, and not the other way round.
    fn heartbeat(&self) -> &'static [u8] {
        b""
    }

    fn alone(&self, event: &Bytes) -> Option<Bytes> {
        Some(event.clone())
    }

    fn join_latest(&self, mut content: Content) -> Bytes {
        let mut rest = content.bytes_mut();
        while let Some((record, after)) = split(rest) {
            record[FLAGS] |= IS_FROM_BEFORE;
            rest = after;
        }
        self.join(content)
    }
}

/// The properties of MQTT 5 that an event was published with.
fn properties(published: &Published) -> impl Iterator<Item = Property<'_>> {
    let properties = &published.properties;
    let once = [
        properties.payload_format.map(|format| Property::PayloadFormatIndicator(format == PayloadFormat::Text)),
        properties.content_type.as_deref().map(Property::ContentType),
        properties.response_topic.as_deref().map(Property::ResponseTopic),
        properties.correlation_data.as_deref().map(Property::CorrelationData),
    ];
    let of_user = properties.user_properties.iter().map(|(name, value)| Property::UserProperty(name, value));
    once.into_iter().flatten().chain(of_user)
}

/// What stands before the topic.
struct Head {
    length: usize,
    flags: u8,
    topic: usize,
    properties: usize,
    position: u64,
    expires_at: u64,
    publisher: u64,
}

impl Head {
    fn bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let mut rest = &mut bytes[..];
        let mut put = |number: &[u8]| {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(number.len());
            here.copy_from_slice(number);
            rest = after;
        };
        // An event has 1 MiB at most, and a name 256 bytes.
        put(&(self.length as u32).to_be_bytes());
        put(&[self.flags]);
        put(&(self.topic as u16).to_be_bytes());
        put(&(self.properties as u32).to_be_bytes());
        put(&self.position.to_be_bytes());
        put(&self.expires_at.to_be_bytes());
        put(&self.publisher.to_be_bytes());
        bytes
    }
}

/// The first record, and those after it.
fn split(records: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    let length = u32::from_be_bytes(*records.first_chunk()?);
    records.split_at_mut_checked(length as usize)
}

impl<'a> Record<'a> {
    /// The first record of some, and how many bytes it has; `None` if there is no more.
    pub fn first(records: &'a [u8]) -> Option<(Self, usize)> {
        let mut rest = records;
        let length = u32::from_be_bytes(number(&mut rest)?) as usize;
        let [flags] = number(&mut rest)?;
        let topic = u16::from_be_bytes(number(&mut rest)?);
        let properties = u32::from_be_bytes(number(&mut rest)?);
        let mut next = || number(&mut rest).map(u64::from_be_bytes);
        let (position, expires_at, publisher) = (next()?, next()?, next()?);
        let body = records.get(HEAD_BYTES..length)?;
        let (topic, body) = body.split_at_checked(topic.into())?;
        let (properties, payload) = body.split_at_checked(properties as usize)?;
        let record = Self {
            bytes: records.get(..length)?,
            position: Position::new(position),
            qos: Qos::of(flags & QOS)?,
            is_retained: flags & IS_RETAINED != 0,
            is_from_before: flags & IS_FROM_BEFORE != 0,
            expires_at: (expires_at > 0).then(|| Timestamp::from_millis(expires_at)),
            publisher: (publisher > 0).then_some(publisher),
            topic: std::str::from_utf8(topic).ok()?,
            properties,
            payload,
        };
        Some((record, length))
    }
}

fn number<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*number)
}
