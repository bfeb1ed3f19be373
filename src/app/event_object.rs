use std::io::Write;
use std::ops::Range;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::EventKind;
use crate::error::Error;
use crate::events::EventParts;

/// Appends an event as every transport shows it, in JSON: the object `{"event", "data", "id", "timestamp", "username"}`, with
/// `"removed": true` after these if the name was removed, and `"transient": true` if the event is transient. Returns where in the
/// buffer the data stands.
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
    buffer.push(b'}');
    begin..end
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
    use super::*;
    use crate::domain::{Epoch, Event, EventId, EventName, Position};

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
