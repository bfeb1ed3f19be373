use std::io::Write;

use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::{Event, EventId, EventName, Position, is_blank};

/// An event as it goes over the wire of a stream, encoded once and shared by everybody who gets it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where the event stands.
    pub position: Position,
    /// What filters look at.
    pub name: EventName,
    /// `event:<name>\nid:<id>\ndata:<json>\n\n`.
    pub bytes: Bytes,
    /// Whether it says that the name is no more.
    pub is_removal: bool,
}

impl Frame {
    /// Encodes an event in the format of the HTML standard's section 9.2, "Server-sent events", with no space after a
    /// colon: `broker-client` 0.0.8 would keep it as part of the value.
    pub fn encode(event: &Event, id: EventId) -> Self {
        let mut bytes = BytesMut::new();
        write_frame(&mut bytes, event.name.as_str(), event.data.as_str(), id);
        let (position, name, is_removal) = (event.position, event.name.clone(), event.is_removal);
        Self { position, name, bytes: bytes.freeze(), is_removal }
    }
}

/// How much is joined into one write at most, but for one event more.
pub const JOINED_BYTES: usize = 64 << 10;

/// Appends an event's frame to a buffer.
pub fn write_frame(buffer: &mut BytesMut, name: &str, data: &str, id: EventId) {
    buffer.reserve(name.len() + data.len() + 48);
    buffer.put_slice(b"event:");
    write_name(buffer, name);
    // Writing to memory cannot fail.
    let _ = write!(buffer.writer(), "\nid:{id}\ndata:");
    write_data(buffer, data);
    buffer.put_slice(b"\n\n");
}

/// Writes a name so that every client reads the same. Earlier versions let in blanks at the ends of names, and of those of users who
/// are in marks: a client that drops them would take an event of one name for one of another, such as a mark of the server's. Each is
/// written as a character that stands for one that cannot be shown.
fn write_name(buffer: &mut BytesMut, name: &str) {
    const INSTEAD: &str = "\u{fffd}";
    let from_start = name.trim_start_matches(is_blank);
    let trimmed = from_start.trim_end_matches(is_blank);
    let (before, after) = (&name[..name.len() - from_start.len()], &from_start[trimmed.len()..]);
    before.chars().for_each(|_| buffer.put_slice(INSTEAD.as_bytes()));
    buffer.put_slice(trimmed.as_bytes());
    after.chars().for_each(|_| buffer.put_slice(INSTEAD.as_bytes()));
}

/// What `broker-client` 0.0.8 takes for the start of a field wherever it stands. The other three fields begin before the
/// data, so it has found them by then; this one it would find inside the data and cut it there.
const RETRY: &str = "retry:";
const ESCAPED_RETRY: &str = "retry\\u003a";

/// Writes JSON in ASCII alone: `broker-client` 0.0.8 takes each byte for a character.
fn write_data(buffer: &mut BytesMut, json: &str) {
    for (index, part) in json.split(RETRY).enumerate() {
        if index > 0 {
            // In valid JSON this can only stand inside a string, where its colon may be written as an escape.
            buffer.put_slice(ESCAPED_RETRY.as_bytes());
        }
        write_ascii(buffer, part);
    }
}

fn write_ascii(buffer: &mut BytesMut, mut text: &str) {
    while let Some(at) = text.bytes().position(|byte| !byte.is_ascii()) {
        let (ascii, rest) = text.split_at(at);
        buffer.put_slice(ascii.as_bytes());
        let mut chars = rest.chars();
        if let Some(char) = chars.next() {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // By hand: a large event may have hundreds of thousands of them.
                let digit = |shift: u32| b"0123456789abcdef"[usize::from(*unit >> shift & 0xf)];
                buffer.put_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
        }
        text = chars.as_str();
    }
    buffer.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, Payload, TenantName, Timestamp, Username};

    fn frame(name: &str, data: &str) -> String {
        let event = Event {
            position: Position::new(7),
            tenant: TenantName::parse("t").unwrap(),
            name: EventName::parse(name).unwrap(),
            username: Username::parse("u").unwrap(),
            timestamp: Timestamp::from_millis(0),
            data: Payload::from_valid_json(data).unwrap(),
            is_removal: false,
        };
        let id = EventId { position: event.position, epoch: Epoch::new(42) };
        String::from_utf8(Frame::encode(&event, id).bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_frame_is_event_id_data_without_spaces() {
        assert_eq!(
            frame("news", r#"{ "b": 1, "a": [ 2 ] }"#),
            "event:news\nid:0000000000000007000042\ndata:{\"b\":1,\"a\":[2]}\n\n"
        );
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
}
