//! How events are written: each as the event of Socket.IO of its name, with its data and what is known of it as arguments.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::app::properties;
use crate::domain::{EventId, EventKind};
use crate::events::{Content, ControlEvent, EventParts, Format, FormatKey};
use crate::transports::control_event::control_event;
use crate::transports::socket_io::{RESERVED, write_event};
use crate::transports::socket_streams::Packets;

/// What stands before a name that has a meaning of its own in the libraries. Only the server's own events have names that begin with `$`.
const ESCAPE: &str = "$event/";
/// What a packet has beside the name, the data and the username, with its offset: the header of a frame, an id and a time.
const AROUND: usize = 40
    + r#"42["",,{"id":"0000000000000007000042","timestamp":1795327184269,"username":""},"0000000000000007000042"]"#
        .len();

/// The format of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    packets: Packets,
    /// Whether the last argument is the offset of the event: its id.
    has_offset: bool,
}

impl Events {
    /// With packets that stand so, and with offsets or without.
    pub fn of(packets: Packets, has_offset: bool) -> &'static Self {
        match (packets, has_offset) {
            (Packets::Polled, false) => &Self { packets: Packets::Polled, has_offset: false },
            (Packets::Polled, true) => &Self { packets: Packets::Polled, has_offset: true },
            (Packets::Framed, false) => &Self { packets: Packets::Framed, has_offset: false },
            (Packets::Framed, true) => &Self { packets: Packets::Framed, has_offset: true },
            (Packets::Compressed, false) => &Self { packets: Packets::Compressed, has_offset: false },
            (Packets::Compressed, true) => &Self { packets: Packets::Compressed, has_offset: true },
        }
    }

    fn write(self, buffer: &mut Vec<u8>, name: &str, args: [&str; 2], id: EventId) -> Option<Range<usize>> {
        let offset = self.has_offset.then(|| id.to_string());
        let mut data = 0..0;
        let before = self.packets.put(buffer, |buffer| {
            data = write_event(buffer, "/", &escaped(name), args, offset.as_deref());
        })?;
        Some(data.start + before..data.end + before)
    }
}

/// A name as clients get it.
fn escaped(name: &str) -> Cow<'_, str> {
    if RESERVED.contains(&name) { format!("{ESCAPE}{name}").into() } else { name.into() }
}

/// What is known of an event: what an event object has beside its name and its data.
fn about(event: &EventParts<'_>) -> String {
    let EventParts { id, timestamp, username, kind, .. } = event;
    let (timestamp, username) = (timestamp.as_millis(), Value::from(*username));
    let mut about = format!(r#"{{"id":"{id}","timestamp":{timestamp},"username":{username}"#);
    about.push_str(match kind {
        EventKind::Value => "",
        EventKind::Removal => r#","removed":true"#,
        EventKind::Transient => r#","transient":true"#,
    });
    if let Some(properties) = properties(event) {
        // Writing to memory cannot fail.
        let _ = write!(about, r#","properties":{properties}"#);
    }
    about.push('}');
    about
}

impl Format for Events {
    fn key(&self) -> FormatKey {
        let encoding = match (self.packets, self.has_offset) {
            (Packets::Polled, false) => "polled event",
            (Packets::Polled, true) => "polled event with offset",
            (Packets::Framed, false) => "framed event",
            (Packets::Framed, true) => "framed event with offset",
            (Packets::Compressed, false) => "compressed event",
            (Packets::Compressed, true) => "compressed event with offset",
        };
        FormatKey { encoding, framing: "none" }
    }

    fn transport(&self) -> &'static str {
        "socket.io"
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        buffer.reserve(AROUND + event.name.len() + event.data.len() + event.username.len());
        self.write(buffer, event.name, [event.data, &about(event)], event.id)
    }

    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        let (name, data) = control_event(control, id);
        let about = json!({ "id": id.to_string() });
        self.write(buffer, &name, [&data.to_string(), &about.to_string()], id);
    }

    /// The session has heartbeats of its own.
    fn heartbeat(&self) -> &'static [u8] {
        b""
    }

    fn join(&self, content: Content) -> Bytes {
        self.packets.join(content)
    }

    fn alone(&self, event: &Bytes) -> Option<Bytes> {
        Some(self.packets.alone(event))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::{Epoch, Event, EventName, Position, Published};

    const ID: EventId = EventId { position: Position::new(7), epoch: Epoch::new(42) };

    fn written(format: &Events, event: &Event) -> (Vec<u8>, Option<Range<usize>>) {
        let mut buffer = b"before".to_vec();
        let data = format.event(&EventParts::of(event, ID), &mut buffer);
        (buffer, data)
    }

    #[test]
    fn an_event_has_its_data_what_is_known_of_it_and_its_offset() {
        let event = Event::example(7, "chat/1", r#"{"a": 1}"#);
        let known = r#"{"id":"0000000000000007000042","timestamp":1795327184269,"username":"zoe""#;
        for (kind, more) in [
            (EventKind::Value, ""),
            (EventKind::Removal, r#","removed":true"#),
            (EventKind::Transient, r#","transient":true"#),
        ] {
            let event = Event { kind, ..event.clone() };
            let packet = |offset: &str| format!(r#"42["chat/1",{{"a": 1}},{known}{more}}}{offset}]"#);
            let (polled, data) = written(Events::of(Packets::Polled, false), &event);
            assert_eq!(polled, format!("before{}\u{1e}", packet("")).as_bytes());
            assert_eq!(&polled[data.unwrap()], br#"{"a": 1}"#);
            let (framed, data) = written(Events::of(Packets::Framed, true), &event);
            let packet = packet(r#","0000000000000007000042""#);
            assert!(
                framed.ends_with(packet.as_bytes())
                    && framed.len() == 6 + 2 + packet.len() + usize::from(packet.len() > 125) * 2,
                "{framed:?}"
            );
            assert_eq!(&framed[data.unwrap()], br#"{"a": 1}"#);
        }
    }

    #[test]
    fn properties_of_mqtt_are_the_last_that_is_known_of_an_event() {
        let published = Some(std::sync::Arc::new(Published::example()));
        let event = Event { kind: EventKind::Transient, published, ..Event::example(7, "news", "1") };
        let (packet, _) = written(Events::of(Packets::Polled, false), &event);
        let (packet, known) = (String::from_utf8(packet).unwrap(), properties(&EventParts::of(&event, ID)).unwrap());
        assert!(packet.ends_with(&format!("\"transient\":true,\"properties\":{known}}}]\u{1e}")), "{packet}");
    }

    #[test]
    fn a_name_that_means_something_else_to_a_client_is_escaped() {
        for name in RESERVED {
            let event = Event { name: EventName::parse(name).unwrap(), ..Event::example(7, "x", "1") };
            let (packet, _) = written(Events::of(Packets::Polled, false), &event);
            assert!(packet.starts_with(format!(r#"before42["$event/{name}",1,{{"#).as_bytes()));
        }
    }

    #[test]
    fn streams_that_get_other_bytes_are_of_other_groups() {
        let all = [Packets::Polled, Packets::Framed, Packets::Compressed];
        let keys: HashSet<FormatKey> =
            all.into_iter().flat_map(|packets| [false, true].map(|has| Events::of(packets, has).key())).collect();
        assert_eq!(keys.len(), 6);
    }

    #[test]
    fn little_is_wasted_on_an_event_that_is_kept() {
        for has_offset in [false, true] {
            let event = Event::example(7, "news", r#"{"b":1}"#);
            let mut buffer = Vec::new();
            Events::of(Packets::Framed, has_offset).event(&EventParts::of(&event, ID), &mut buffer);
            assert!(buffer.capacity() - buffer.len() <= 70, "{} of {}", buffer.len(), buffer.capacity());
        }
    }
}
