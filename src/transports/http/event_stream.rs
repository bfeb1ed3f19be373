//! The wire format of event streams: "Server-sent events" of the HTML standard, section 9.2, in chunks where HTTP/1.1 needs them.

mod fields;

use std::io::Write;
use std::ops::Range;

use bytes::Bytes;

use crate::app;
use crate::domain::EventId;
use crate::events::{Content, ControlEvent, EventParts, Format, FormatKey};
use crate::transports::control_event::control_event;
use fields::{write_data, write_name};

/// `text/event-stream`, with no space after a colon: `broker-client` 0.0.8 would keep it as part of the value.
#[derive(Clone, Copy, Debug)]
pub struct EventStream {
    /// Whether each write is a chunk of HTTP/1.1 (RFC 9112, section 7.1).
    is_chunked: bool,
    /// Whether the data of a frame is the whole event as an object.
    has_envelope: bool,
}

impl EventStream {
    /// The stream as it is: the transport has a framing of its own.
    pub fn bare(has_envelope: bool) -> &'static Self {
        if has_envelope {
            &Self { is_chunked: false, has_envelope: true }
        } else {
            &Self { is_chunked: false, has_envelope: false }
        }
    }

    /// The stream in chunks of HTTP/1.1.
    pub fn chunked(has_envelope: bool) -> &'static Self {
        if has_envelope {
            &Self { is_chunked: true, has_envelope: true }
        } else {
            &Self { is_chunked: true, has_envelope: false }
        }
    }
}

/// What stands around the name, the id and the data of an event.
const AROUND: usize = "event:\nid:\ndata:\n\n".len();
/// What an envelope adds to them, beside the name, the username and another id.
const ENVELOPE: usize = r#"{"event":"","data":,"id":"","timestamp":1795327184269,"username":""}"#.len();
/// How long an id is.
const ID: usize = 22;

impl Format for EventStream {
    fn key(&self) -> FormatKey {
        let encoding = if self.has_envelope { "sse-envelope" } else { "sse" };
        FormatKey { encoding, framing: if self.is_chunked { "chunked" } else { "bare" } }
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        let EventParts { id, name, data, username, .. } = *event;
        // Exactly, in the usual case, so that an event that is kept wastes nothing.
        let envelope = if self.has_envelope { ENVELOPE + name.len() + ID + username.len() } else { 0 };
        buffer.reserve(AROUND + name.len() + ID + data.len() + envelope);
        begin(buffer, name, id);
        let data = if self.has_envelope {
            app::write_event(buffer, event, write_data)
        } else {
            let begin = buffer.len();
            write_data(buffer, data);
            begin..buffer.len()
        };
        buffer.extend_from_slice(END);
        Some(data)
    }

    /// A control event is written like an event. Its name begins with `$`, which no event's name does.
    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        let (name, data) = control_event(control, id);
        begin(buffer, &name, id);
        write_data(buffer, &data.to_string());
        buffer.extend_from_slice(END);
    }

    /// A comment without a blank line after it: `broker-client` 0.0.8 would take `:\n\n` for an event.
    fn heartbeat(&self) -> &'static [u8] {
        b":\n"
    }

    fn join(&self, content: Content) -> Bytes {
        if !self.is_chunked {
            return content.wrap(b"", b"");
        }
        let length = format!("{:x}\r\n", content.len());
        content.wrap(length.as_bytes(), b"\r\n")
    }

    fn alone(&self, event: &Bytes) -> Option<Bytes> {
        (!self.is_chunked).then(|| event.clone())
    }
}

/// What stands after the data of an event.
const END: &[u8] = b"\n\n";

/// Appends `event:<name>\nid:<id>\ndata:`.
fn begin(buffer: &mut Vec<u8>, name: &str, id: EventId) {
    buffer.extend_from_slice(b"event:");
    write_name(buffer, name);
    // Writing to memory cannot fail.
    let _ = write!(buffer, "\nid:{id}\ndata:");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    use crate::domain::{Epoch, Event, Position, Username};
    use crate::events::{End, Reset};

    const ID: EventId = EventId { position: Position::new(7), epoch: Epoch::new(42) };

    /// The frame of an event, which must say rightly where the data is.
    fn frame_of(event: &EventParts<'_>, has_envelope: bool) -> String {
        let mut buffer = b"before".to_vec();
        let at = EventStream::bare(has_envelope).event(event, &mut buffer).unwrap();
        assert!(buffer[..at.start].ends_with(if has_envelope { b"\"data\":" } else { b"data:" }));
        assert_eq!(value(std::str::from_utf8(&buffer[at]).unwrap()), value(event.data));
        String::from_utf8(buffer.split_off("before".len())).unwrap()
    }

    fn frame(name: &str, data: &str) -> String {
        frame_of(&EventParts { name, data, ..EventParts::of(&Event::example(7, "news", "1"), ID) }, false)
    }

    fn enveloped(name: &str, data: &str, username: &str) -> String {
        frame_of(&EventParts { name, data, username, ..EventParts::of(&Event::example(7, "news", "1"), ID) }, true)
    }

    fn value(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    fn control(control: &ControlEvent<'_>) -> String {
        let mut buffer = Vec::new();
        EventStream::bare(false).control(control, ID, &mut buffer);
        let mut with_envelope = Vec::new();
        EventStream::bare(true).control(control, ID, &mut with_envelope);
        assert_eq!(buffer, with_envelope);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn an_event_is_event_id_data_without_spaces() {
        let expected = "event:news\nid:0000000000000007000042\ndata:{\"b\":1,\"a\":[2]}\n\n";
        assert_eq!(frame("news", r#"{"b":1,"a":[2]}"#), expected);
    }

    #[test]
    fn with_an_envelope_the_data_is_the_whole_event_as_an_object() {
        let object = r#"{"event":"news","data":{"b":1,"a":[2]},"id":"0000000000000007000042","timestamp":1795327184269,"username":"bob"}"#;
        let expected = format!("event:news\nid:0000000000000007000042\ndata:{object}\n\n");
        assert_eq!(enveloped("news", r#"{"b":1,"a":[2]}"#, "bob"), expected);
    }

    #[test]
    fn nothing_is_wasted_on_an_event_that_is_kept() {
        let event = Event::example(7, "news", r#"{"b":1,"a":[2]}"#);
        for has_envelope in [false, true] {
            let mut buffer = Vec::new();
            EventStream::bare(has_envelope).event(&EventParts::of(&event, ID), &mut buffer);
            assert_eq!(buffer.capacity(), buffer.len());
        }
    }

    #[test]
    fn streams_that_get_other_bytes_have_another_key_and_events_are_shared_whatever_the_framing_is() {
        let formats = [false, true].map(|envelope| [EventStream::bare(envelope), EventStream::chunked(envelope)]);
        let [[bare, chunked], [enveloped, enveloped_chunked]] = formats.map(|formats| formats.map(Format::key));
        assert_eq!((bare.encoding, enveloped.encoding), (chunked.encoding, enveloped_chunked.encoding));
        assert_eq!((bare.framing, chunked.framing), (enveloped.framing, enveloped_chunked.framing));
        assert!(bare.encoding != enveloped.encoding && bare.framing != chunked.framing);
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
            // In an envelope it stands in quotes, from which nothing is dropped: there it is the name that it is.
            let (line, object) = enveloped(name, "1", "bob")
                .split_once("data:")
                .map(|(line, object)| (line.to_owned(), value(object)))
                .unwrap();
            assert!(line.starts_with(&format!("event:{sent}\nid:")), "{name:?}");
            assert_eq!(object["event"], *name);
        }
    }

    #[test]
    fn data_is_ascii_and_means_the_same() {
        let data = r#"["Grüße","日本","😀","a\u00e9\\é"]"#;
        let frame = frame("n", data);
        assert!(frame.is_ascii());
        let sent = frame.split_once("data:").unwrap().1;
        assert!(sent.contains("\\ud83d\\ude00"));
        assert_eq!(value(sent), value(data));
    }

    #[test]
    fn an_envelope_is_ascii_in_all_of_its_fields_and_means_the_same() {
        let (name, data, username) = ("grüße/日本 \"😀\"", r#"["Grüße","a\u00e9"]"#, "zoë \\ 李");
        let frame = enveloped(name, data, username);
        let (line, sent) = frame.split_once("data:").unwrap();
        assert!(line.starts_with(&format!("event:{name}\n")) && sent.is_ascii(), "{frame}");
        let object = value(sent);
        assert_eq!(
            [&object["event"], &object["username"], &object["data"]],
            [&name.into(), &username.into(), &value(data)]
        );
    }

    #[test]
    fn nothing_in_the_data_looks_like_the_retry_field() {
        let data = r#"{"retry: x":"retry:retry:","\retry:":1,"retry":2}"#;
        let (frame, enveloped) = (frame("n", data), enveloped("retry", data, "retry"));
        assert!(!frame.contains("retry:") && !enveloped.contains("retry:"));
        assert_eq!(value(frame.split_once("data:").unwrap().1), value(data));
        assert_eq!(value(enveloped.split_once("data:").unwrap().1)["data"], value(data));
    }

    #[test]
    fn each_control_event_is_an_event_with_a_name_of_its_own() {
        let id = "id:0000000000000007000042\ndata:";
        let bob = Username::parse("bob").unwrap();
        for (event, expected) in [
            (
                ControlEvent::Synced { change: None },
                format!("event:$synced\n{id}{{\"id\":\"0000000000000007000042\"}}\n\n"),
            ),
            (
                ControlEvent::Synced { change: Some(3) },
                format!("event:$synced\n{id}{{\"change\":3,\"id\":\"0000000000000007000042\"}}\n\n"),
            ),
            (ControlEvent::Reset(Reset::NotKept), format!("event:$reset\n{id}{{\"reason\":\"not_kept\"}}\n\n")),
            (
                ControlEvent::Presence { username: &bob, person: None },
                format!("event:$presence/bob\n{id}{{\"online\":false}}\n\n"),
            ),
            (ControlEvent::End(End::Revoked), format!("event:$end\n{id}{{\"reason\":\"revoked\",\"retry\":null}}\n\n")),
            (
                ControlEvent::End(End::Stopping),
                format!("event:$end\n{id}{{\"reason\":\"stopping\",\"retry\":1000}}\n\n"),
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
            let bare = (EventStream::bare(false) as &dyn Format).controls(left(), ID);
            let chunk = (EventStream::chunked(false) as &dyn Format).controls(left(), ID);
            assert_eq!(chunk, [format!("{:x}\r\n", bare.len()).as_bytes(), &bare, b"\r\n"].concat());
        }
    }
}
