//! The wire format of event streams: "Server-sent events" of the HTML standard, section 9.2, in chunks where HTTP/1.1 needs them.

mod fields;

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::domain::EventId;
use crate::events::{Content, ControlEvent, EventParts, Format, FormatKey, Reset};
use fields::{write_data, write_name};

/// `text/event-stream`, with no space after a colon: `broker-client` 0.0.8 would keep it as part of the value.
#[derive(Clone, Copy, Debug)]
pub enum EventStream {
    /// As it is: the transport has a framing of its own.
    Bare,
    /// Each write as a chunk of HTTP/1.1 (RFC 9112, section 7.1).
    Chunked,
}

/// What stands around the name, the id and the data of an event.
const AROUND: usize = "event:\nid:\ndata:\n\n".len();
/// How long an id is.
const ID: usize = 22;

impl Format for EventStream {
    fn key(&self) -> FormatKey {
        let framing = match self {
            Self::Bare => "bare",
            Self::Chunked => "chunked",
        };
        FormatKey { encoding: "sse", framing }
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        Some(write_event(buffer, event.name, event.data, event.id))
    }

    /// A control event is written like an event. Its name begins with `$`, which no event's name does.
    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        let name: Cow<'_, str> = match control {
            ControlEvent::Synced => "$synced".into(),
            ControlEvent::Reset(_) => "$reset".into(),
            ControlEvent::Presence { username, .. } => format!("$presence/{username}").into(),
            ControlEvent::Left { .. } => "$left".into(),
        };
        write_event(buffer, &name, &data(control, id).to_string(), id);
    }

    /// A comment without a blank line after it: `broker-client` 0.0.8 would take `:\n\n` for an event.
    fn heartbeat(&self) -> &'static [u8] {
        b":\n"
    }

    fn join(&self, content: Content) -> Bytes {
        match self {
            Self::Bare => content.wrap(b"", b""),
            Self::Chunked => {
                let length = format!("{:x}\r\n", content.len());
                content.wrap(length.as_bytes(), b"\r\n")
            }
        }
    }

    fn alone(&self, event: &Bytes) -> Option<Bytes> {
        matches!(self, Self::Bare).then(|| event.clone())
    }
}

/// What a control event says.
fn data(control: &ControlEvent<'_>, id: EventId) -> Value {
    match control {
        ControlEvent::Synced => json!({ "id": id.to_string() }),
        ControlEvent::Reset(reason) => json!({ "reason": reason_name(*reason) }),
        ControlEvent::Presence { person: None, .. } => json!({ "online": false }),
        ControlEvent::Presence { person: Some(person), .. } => {
            json!({ "online": true, "since": person.since, "streams": person.streams })
        }
        ControlEvent::Left { name } => json!({ "event": name }),
    }
}

fn reason_name(reason: Reset) -> &'static str {
    match reason {
        Reset::UnknownId => "unknown_id",
        Reset::OtherTenant => "other_tenant",
        Reset::OtherScopes => "other_scopes",
        Reset::NotKept => "not_kept",
    }
}

/// Appends `event:<name>\nid:<id>\ndata:<json>\n\n`. Returns where the data stands.
fn write_event(buffer: &mut Vec<u8>, name: &str, data: &str, id: EventId) -> Range<usize> {
    // Exactly, in the usual case, so that an event that is kept wastes nothing.
    buffer.reserve(AROUND + name.len() + ID + data.len());
    buffer.extend_from_slice(b"event:");
    write_name(buffer, name);
    // Writing to memory cannot fail.
    let _ = write!(buffer, "\nid:{id}\ndata:");
    let begin = buffer.len();
    write_data(buffer, data);
    let end = buffer.len();
    buffer.extend_from_slice(b"\n\n");
    begin..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, Position, Username};

    const ID: EventId = EventId { position: Position::new(7), epoch: Epoch::new(42) };

    fn frame(name: &str, data: &str) -> String {
        let mut buffer = b"before".to_vec();
        let event = EventParts { id: ID, name, data, is_removal: false };
        let at = EventStream::Bare.event(&event, &mut buffer).unwrap();
        assert!(buffer[..at.start].ends_with(b"data:") && &buffer[at.end..] == b"\n\n");
        String::from_utf8(buffer.split_off("before".len())).unwrap()
    }

    fn control(control: &ControlEvent<'_>) -> String {
        let mut buffer = Vec::new();
        EventStream::Bare.control(control, ID, &mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn an_event_is_event_id_data_without_spaces() {
        let expected = "event:news\nid:0000000000000007000042\ndata:{\"b\":1,\"a\":[2]}\n\n";
        assert_eq!(frame("news", r#"{"b":1,"a":[2]}"#), expected);
        let mut buffer = Vec::new();
        write_event(&mut buffer, "news", r#"{"b":1,"a":[2]}"#, ID);
        assert_eq!(buffer.capacity(), expected.len(), "nothing is wasted");
    }

    #[test]
    fn a_name_of_an_earlier_version_cannot_be_taken_for_another() {
        for (name, sent) in [
            (" $reset", "\u{fffd}$reset"),
            ("\u{feff} @bob/x \u{3000}", "\u{fffd}\u{fffd}@bob/x\u{fffd}\u{fffd}"),
            (" ", "\u{fffd}"),
            ("a b", "a b"),
        ] {
            assert!(frame(name, "1").starts_with(&format!("event:{sent}\nid:")), "{name:?}");
        }
    }

    #[test]
    fn data_is_ascii_and_means_the_same() {
        let data = r#"["Grüße","日本","😀","a\u00e9\\é"]"#;
        let frame = frame("n", data);
        assert!(frame.is_ascii());
        let sent = frame.split_once("data:").unwrap().1;
        assert!(sent.contains("\\ud83d\\ude00"));
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(sent), value(data));
    }

    #[test]
    fn nothing_in_the_data_looks_like_the_retry_field() {
        let data = r#"{"retry: x":"retry:retry:","\retry:":1,"retry":2}"#;
        let frame = frame("n", data);
        assert!(!frame.contains("retry:"));
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(frame.split_once("data:").unwrap().1), value(data));
    }

    #[test]
    fn each_control_event_is_an_event_with_a_name_of_its_own() {
        let id = "id:0000000000000007000042\ndata:";
        let bob = Username::parse("bob").unwrap();
        for (event, expected) in [
            (ControlEvent::Synced, format!("event:$synced\n{id}{{\"id\":\"0000000000000007000042\"}}\n\n")),
            (ControlEvent::Reset(Reset::NotKept), format!("event:$reset\n{id}{{\"reason\":\"not_kept\"}}\n\n")),
            (
                ControlEvent::Presence { username: &bob, person: None },
                format!("event:$presence/bob\n{id}{{\"online\":false}}\n\n"),
            ),
            (ControlEvent::Left { name: "grün" }, format!("event:$left\n{id}{{\"event\":\"gr\\u00fcn\"}}\n\n")),
        ] {
            assert_eq!(control(&event), expected);
        }
    }

    #[test]
    fn a_chunk_is_its_length_in_hexadecimal_and_its_content() {
        for length in [1, 15, 16, 255, 256, 4095, 4096, 70_000] {
            let name = "x".repeat(length);
            let left = || [ControlEvent::Left { name: &name }];
            let bare = (&EventStream::Bare as &dyn Format).controls(left(), ID);
            let chunk = (&EventStream::Chunked as &dyn Format).controls(left(), ID);
            assert_eq!(chunk, [format!("{:x}\r\n", bare.len()).as_bytes(), &bare, b"\r\n"].concat());
        }
    }
}
