use std::io::Write;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::{EventKind, PayloadFormat, Properties};
use crate::error::Error;
use crate::events::EventParts;

/// Appends an event as every transport shows it, in JSON: the object `{"event", "data", "id", "timestamp", "username"}`, with
/// `"removed": true` after these if the name was removed, `"transient": true` if the event is transient, and `"properties"` if it was
/// published over MQTT with such. Returns where in the buffer the data stands.
///
/// `append` appends text that is part of the object and comes from users. It may write characters as escapes of JSON.
pub fn write_event(buffer: &mut Vec<u8>, event: &EventParts<'_>, append: impl Fn(&mut Vec<u8>, &str)) -> Range<usize> {
    let EventParts { id, name, data, kind, timestamp, username, .. } = *event;
    buffer.extend_from_slice(b"{\"event\":");
    append(buffer, &quoted(name));
    buffer.extend_from_slice(b",\"data\":");
    let begin = buffer.len();
    append(buffer, data);
    let end = buffer.len();
    // Writing to memory cannot fail.
    let _ = write!(buffer, ",\"id\":\"{id}\",\"timestamp\":{},\"username\":", timestamp.as_millis());
    append(buffer, &quoted(username));
    buffer.extend_from_slice(match kind {
        EventKind::Value => b"",
        EventKind::Removal => b",\"removed\":true",
        EventKind::Transient => b",\"transient\":true",
    });
    if let Some(properties) = properties(event) {
        buffer.extend_from_slice(b",\"properties\":");
        append(buffer, &properties);
    }
    buffer.push(b'}');
    begin..end
}

/// The properties of MQTT as they are shown.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    user_properties: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format: Option<&'static str>,
}

/// The properties of an event that was published over MQTT with some, as an object of JSON.
pub fn properties(event: &EventParts<'_>) -> Option<String> {
    let properties = &event.published?.properties;
    if properties.are_none() {
        return None;
    }
    let Properties { payload_format, content_type, response_topic, correlation_data, user_properties } = properties;
    let shown = Shown {
        content_type: content_type.as_deref(),
        response_topic: response_topic.as_deref(),
        correlation_data: correlation_data.as_ref().map(|data| BASE64_STANDARD.encode(data)),
        user_properties,
        payload_format: (*payload_format == Some(PayloadFormat::Text)).then_some("text"),
    };
    // Writing strings to memory cannot fail.
    serde_json::to_string(&shown).ok()
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The same object, for a list or an answer.
///
/// # Errors
/// [`Error::Damaged`] if its data is no JSON.
pub(super) fn event_object(event: &EventParts<'_>) -> Result<Box<RawValue>, Error> {
    let damaged = || Error::Damaged(format!("the event at position {} is damaged", event.id.position.get()));
    let mut object = Vec::with_capacity(128 + event.name.len() + event.data.len());
    write_event(&mut object, event, |object, text| object.extend_from_slice(text.as_bytes()));
    String::from_utf8(object).ok().and_then(|object| RawValue::from_string(object).ok()).ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Epoch, Event, EventId, EventName, Position, Published};

    const ID: EventId = EventId { position: Position::new(7), epoch: Epoch::new(42) };

    fn object(event: &Event) -> Result<String, Error> {
        event_object(&EventParts::of(event, ID)).map(|object| object.get().to_owned())
    }

    #[test]
    fn an_event_is_an_object_whose_fields_stand_in_this_order() {
        let event = Event::example(7, "news", r#"{"b":1,"a":[2]}"#);
        let expected = r#"{"event":"news","data":{"b":1,"a":[2]},"id":"0000000000000007000042","timestamp":1795327184269,"username":"zoe"}"#;
        assert_eq!(object(&event).unwrap(), expected);
    }

    #[test]
    fn only_a_removal_and_a_transient_event_are_said_to_be_such() {
        let null = Event::example(7, "news", "null");
        assert!(!object(&null).unwrap().contains("removed"));
        let removal = object(&Event { kind: EventKind::Removal, ..null }).unwrap();
        assert!(removal.ends_with(r#""username":"zoe","removed":true}"#), "{removal}");
        let transient = object(&Event { kind: EventKind::Transient, ..Event::example(7, "news", "null") }).unwrap();
        assert!(transient.ends_with(r#""username":"zoe","transient":true}"#), "{transient}");
    }

    #[test]
    fn properties_of_mqtt_are_shown_if_there_are_any_and_neither_qos_nor_publisher_is() {
        let published = Published::example();
        let event = |published| Event { published: Some(Arc::new(published)), ..Event::example(7, "news", "1") };
        let all = object(&event(published.clone())).unwrap();
        let expected = concat!(
            r#""username":"zoe","properties":{"content_type":"text/plain","response_topic":"answers/7","correlation_data":"AP8=","#,
            r#""user_properties":[["b","1"],["a",""],["b","grün \"2\""]],"payload_format":"text"}}"#
        );
        assert!(all.ends_with(expected), "{all}");
        let with = |properties| object(&event(Published { properties, ..published.clone() })).unwrap();
        let payload_format = Some(PayloadFormat::Bytes);
        for none in [Properties::default(), Properties { payload_format, ..Properties::default() }] {
            assert_eq!(with(none), object(&Event::example(7, "news", "1")).unwrap());
        }
        let one = with(Properties { content_type: Some(String::new()), payload_format, ..Properties::default() });
        assert!(one.ends_with(r#","properties":{"content_type":""}}"#), "{one}");
    }

    #[test]
    fn a_name_is_a_string_of_json_whatever_is_in_it() {
        for name in [r#"a"b\c"#, r#"","data":1"#, "grüße 日本 😀", " $reset"] {
            let event = Event { name: EventName::parse(name).unwrap(), ..Event::example(7, "x", "1") };
            let object: Value = serde_json::from_str(&object(&event).unwrap()).unwrap();
            assert_eq!((&object["event"], &object["data"]), (&name.into(), &1.into()));
        }
    }

    #[test]
    fn the_data_stands_where_it_is_said_to() {
        let event = Event::example(7, "news", "[1]");
        let mut buffer = b"before".to_vec();
        let append = |buffer: &mut Vec<u8>, text: &str| buffer.extend_from_slice(text.to_uppercase().as_bytes());
        let at = write_event(&mut buffer, &EventParts::of(&event, ID), append);
        assert_eq!(&buffer[at], b"[1]");
        assert!(
            buffer.starts_with(br#"before{"event":"NEWS","data":[1],"#) && buffer.ends_with(br#""username":"ZOE"}"#)
        );
    }

    #[test]
    fn data_that_is_no_json_is_told_and_not_shown() {
        assert!(matches!(object(&Event::example(7, "news", "{1")), Err(Error::Damaged(why)) if why.contains('7')));
    }
}
