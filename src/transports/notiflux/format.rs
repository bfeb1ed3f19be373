//! How the messages of a topic are written: each as a text frame, with nothing around it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::domain::{EventId, EventKind};
use crate::events::{ControlEvent, EventParts, Format, FormatKey};
use crate::transports::ws::{Opcode, compressed_frame, put_frame};

/// A text frame for each message (RFC 6455).
#[derive(Clone, Copy, Debug)]
pub enum TopicMessages {
    /// As it is.
    Plain,
    /// Compressed (RFC 7692), for clients that take that.
    Compressed,
}

/// The message that an event's data stands for: a text as it is, anything else as JSON.
fn message(data: &str) -> Cow<'_, str> {
    if !data.starts_with('"') {
        return data.into();
    }
    // A string that has half a surrogate pair in it is no text, and is sent as its JSON.
    serde_json::from_str(data).map_or(data.into(), |text: String| text.into())
}

impl Format for TopicMessages {
    fn key(&self) -> FormatKey {
        let encoding = match self {
            Self::Plain => "topic message",
            Self::Compressed => "compressed topic message",
        };
        FormatKey { encoding, framing: "none" }
    }

    fn transport(&self) -> &'static str {
        "notiflux"
    }

    /// Of a removal nothing is written: there is no message that says it.
    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        if event.kind == EventKind::Removal {
            return None;
        }
        let message = message(event.data);
        if matches!(self, Self::Compressed) {
            buffer.extend_from_slice(&compressed_frame(&message));
            return None;
        }
        let begin = buffer.len();
        let header = put_frame(buffer, Opcode::Text, |buffer| buffer.extend_from_slice(message.as_bytes()));
        // A text is not there as JSON.
        matches!(message, Cow::Borrowed(_)).then(|| begin + header..buffer.len())
    }

    /// These streams ask for none.
    fn control(&self, _: &ControlEvent<'_>, _: EventId, _: &mut Vec<u8>) {}

    /// The connection sends pings of its own.
    fn heartbeat(&self) -> &'static [u8] {
        b""
    }

    fn alone(&self, event: &Bytes) -> Option<Bytes> {
        Some(event.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, Event, Position};

    fn written(format: TopicMessages, data: &str, kind: EventKind) -> (Vec<u8>, Option<String>) {
        let id = EventId { position: Position::new(7), epoch: Epoch::new(42) };
        let event = Event { kind, ..Event::example(7, "news", data) };
        let mut buffer = b"before".to_vec();
        let at = format.event(&EventParts::of(&event, id), &mut buffer);
        let data = at.map(|at| String::from_utf8(buffer[at].to_vec()).unwrap());
        (buffer.split_off("before".len()), data)
    }

    #[test]
    fn a_message_is_a_text_frame_of_a_string_as_it_is_and_of_other_json_as_json() {
        for (data, message, is_there) in [
            (r#""hello""#, "hello", false),
            (r#""""#, "", false),
            (r#""a\n\"b\" \u00e9 \ud83d\ude00""#, "a\n\"b\" é 😀", false),
            (r#"{"a":[1,"x"]}"#, r#"{"a":[1,"x"]}"#, true),
            ("12", "12", true),
            ("null", "null", true),
            (r#""\ud83d""#, r#""\ud83d""#, true),
        ] {
            let (frame, there) = written(TopicMessages::Plain, data, EventKind::Transient);
            assert_eq!(frame, [&[0x81, message.len() as u8], message.as_bytes()].concat(), "{data}");
            assert_eq!(there.as_deref(), is_there.then_some(data), "{data}");
        }
    }

    #[test]
    fn a_removal_is_no_message() {
        for format in [TopicMessages::Plain, TopicMessages::Compressed] {
            assert_eq!(written(format, "null", EventKind::Removal), (Vec::new(), None));
        }
    }
}
