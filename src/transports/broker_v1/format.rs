//! What a stream is made of here: each event is the object that `/events` gives, in a frame of its own.

use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;

use crate::app::write_event;
use crate::domain::EventId;
use crate::events::{ControlEvent, EventParts, Format, FormatKey};
use crate::transports::control_event::control_event;
use crate::transports::ws::{Opcode, compressed_frame, put_frame};

/// What an object has beside the name, the data and the username: the fields, an id and a time.
const AROUND: usize =
    r#"{"event":"","data":,"id":"0000000000000007000042","timestamp":1795327184269,"username":""}"#.len();
/// The longest header of a frame (RFC 6455, section 5.2).
const HEADER: usize = 10;

/// The format of a stream.
#[derive(Clone, Copy, Debug)]
pub enum Objects {
    /// Each frame as it is.
    Plain,
    /// Large frames compressed (RFC 7692), each event once for all streams that get it.
    Compressed,
}

impl Objects {
    /// That of a connection which compresses or does not.
    pub fn on(compresses: bool) -> &'static Self {
        if compresses { &Self::Compressed } else { &Self::Plain }
    }

    /// Appends a text that `write` writes as a frame. Returns how many bytes stand before the text, if it is there as it was written.
    fn put(self, buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        match self {
            Self::Plain => Some(put_frame(buffer, Opcode::Text, write)),
            Self::Compressed => {
                let mut text = Vec::new();
                write(&mut text);
                // What is written is JSON, and so UTF-8.
                buffer.extend_from_slice(&compressed_frame(&String::from_utf8_lossy(&text)));
                None
            }
        }
    }
}

/// A control event as an object.
#[derive(Serialize)]
struct Control<'a> {
    event: &'a str,
    data: serde_json::Value,
    id: String,
}

impl Format for Objects {
    fn key(&self) -> FormatKey {
        let encoding = match self {
            Self::Plain => "broker.v1",
            Self::Compressed => "broker.v1-compressed",
        };
        FormatKey { encoding, framing: "frames" }
    }

    fn transport(&self) -> &'static str {
        "broker.v1"
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        let mut data = 0..0;
        buffer.reserve(HEADER + AROUND + event.name.len() + event.data.len() + event.username.len());
        let before = self.put(buffer, |buffer| {
            data = write_event(buffer, event, |buffer, text| buffer.extend_from_slice(text.as_bytes()));
        })?;
        Some(data.start + before..data.end + before)
    }

    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        let (event, data) = control_event(control, id);
        let object = Control { event: &event, data, id: id.to_string() };
        self.put(buffer, |buffer| {
            // Writing strings and numbers to memory cannot fail.
            let _ = serde_json::to_writer(buffer, &object);
        });
    }

    /// A page does not see the pings of the protocol, but has to notice that a connection is dead.
    fn heartbeat(&self) -> &'static [u8] {
        b"\x81\x02{}"
    }

    fn alone(&self, event: &Bytes) -> Option<Bytes> {
        Some(event.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{Epoch, Event, Position, Username};
    use crate::events::Reset;

    const ID: EventId = EventId { position: Position::new(7), epoch: Epoch::new(42) };

    /// The text of a frame that is not compressed and short enough for the shortest header.
    fn text(frame: &[u8]) -> &str {
        assert_eq!((frame[0], frame[1] as usize), (0x81, frame.len() - 2), "{frame:?}");
        std::str::from_utf8(&frame[2..]).unwrap()
    }

    #[test]
    fn an_event_is_a_frame_with_the_object_and_the_data_stands_where_it_is_said_to() {
        for (data, header) in [("[1]".to_owned(), 2), (format!("\"{}\"", "ü".repeat(200)), 4)] {
            let event = Event::example(7, "grün", &data);
            let mut buffer = b"before".to_vec();
            let at = Objects::Plain.event(&EventParts::of(&event, ID), &mut buffer).unwrap();
            assert_eq!(&buffer[at], data.as_bytes());
            let object: Value = serde_json::from_slice(&buffer["before".len() + header..]).unwrap();
            assert_eq!(object["event"], "grün");
            assert_eq!(object["id"], "0000000000000007000042");
        }
    }

    #[test]
    fn nothing_is_wasted_on_an_event_that_is_kept() {
        let event = Event::example(7, "news", r#"{"b":1}"#);
        let mut buffer = Vec::new();
        Objects::Plain.event(&EventParts::of(&event, ID), &mut buffer);
        assert!(buffer.capacity() - buffer.len() <= HEADER, "{} of {}", buffer.len(), buffer.capacity());
    }

    #[test]
    fn only_large_events_are_other_bytes_where_they_are_compressed() {
        for (data, is_same) in [("1".to_owned(), true), (format!("\"{}\"", "x".repeat(600)), false)] {
            let event = Event::example(7, "news", &data);
            let [plain, compressed] = [Objects::Plain, Objects::Compressed].map(|format| {
                let mut buffer = Vec::new();
                format.event(&EventParts::of(&event, ID), &mut buffer);
                buffer
            });
            assert_eq!(plain == compressed, is_same);
            assert!(is_same || compressed.len() < plain.len() / 4);
        }
        assert_ne!(Objects::Plain.key(), Objects::Compressed.key());
    }

    #[test]
    fn control_events_and_heartbeats_are_frames_too() {
        let bob = Username::parse("bob").unwrap();
        for (control, name, data) in [
            (ControlEvent::Synced { change: None }, "$synced", json!({ "id": "0000000000000007000042" })),
            (ControlEvent::Reset(Reset::NotKept), "$reset", json!({ "reason": "not_kept" })),
            (ControlEvent::Presence { username: &bob, person: None }, "$presence/bob", json!({ "online": false })),
            (ControlEvent::Left { name: "grün" }, "$left", json!({ "event": "grün" })),
        ] {
            let mut buffer = Vec::new();
            Objects::Plain.control(&control, ID, &mut buffer);
            let object: Value = serde_json::from_str(text(&buffer)).unwrap();
            assert_eq!(object, json!({ "event": name, "data": data, "id": "0000000000000007000042" }));
        }
        assert_eq!(text(Objects::Plain.heartbeat()), "{}");
    }
}
