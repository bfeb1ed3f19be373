//! The format of events for clients of MQTT.

use std::ops::Range;

use bytes::Bytes;

use super::packet::{Property, Qos};
use super::record::{HEAD_BYTES, Head, IS_RETAINED, mark_from_before};
use crate::domain::{EventId, EventKind, PayloadForm, PayloadFormat, Published, Timestamp};
use crate::events::{Content, ControlEvent, EventParts, Format, FormatKey};

/// Writes [`Record`](super::record::Record)s.
#[derive(Clone, Copy, Debug)]
pub struct Records;

impl Format for Records {
    fn key(&self) -> FormatKey {
        FormatKey { encoding: "mqtt", framing: "none" }
    }

    fn transport(&self) -> &'static str {
        "mqtt"
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
                let form = PayloadForm::of_data(event.data);
                buffer.extend_from_slice(&form.payload_bytes(event.data));
                (form == PayloadForm::Data).then_some(payload_at..buffer.len())
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
        mark_from_before(content.bytes_mut());
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
