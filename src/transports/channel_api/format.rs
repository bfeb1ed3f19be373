//! How the messages of channels are written: each as the event `message` of Socket.IO, with the message as its argument.

use std::ops::Range;

use bytes::Bytes;

use crate::domain::{EventId, EventKind};
use crate::events::{Content, ControlEvent, EventParts, Format, FormatKey};
use crate::transports::socket_io::write_event;
use crate::transports::socket_streams::Packets;

/// The event of Socket.IO.
const MESSAGE: &str = "message";

/// A packet for each message.
#[derive(Clone, Copy, Debug)]
pub struct ChannelMessages(Packets);

impl ChannelMessages {
    /// With packets that stand so.
    pub fn of(packets: Packets) -> &'static Self {
        match packets {
            Packets::Polled => &Self(Packets::Polled),
            Packets::Framed => &Self(Packets::Framed),
            Packets::Compressed => &Self(Packets::Compressed),
        }
    }
}

impl Format for ChannelMessages {
    fn key(&self) -> FormatKey {
        let encoding = match self.0 {
            Packets::Polled => "polled channel message",
            Packets::Framed => "framed channel message",
            Packets::Compressed => "compressed channel message",
        };
        FormatKey { encoding, framing: "none" }
    }

    fn transport(&self) -> &'static str {
        "channel_api"
    }

    /// Of a removal nothing is written: there is no message that says it.
    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        if event.kind == EventKind::Removal {
            return None;
        }
        let mut data = 0..0;
        let before = self.0.put(buffer, |buffer| data = write_event(buffer, "/", MESSAGE, [event.data], None))?;
        Some(data.start + before..data.end + before)
    }

    /// These streams ask for none.
    fn control(&self, _: &ControlEvent<'_>, _: EventId, _: &mut Vec<u8>) {}

    /// The session has heartbeats of its own.
    fn heartbeat(&self) -> &'static [u8] {
        b""
    }

    fn join(&self, content: Content) -> Bytes {
        self.0.join(content)
    }

    fn alone(&self, event: &Bytes) -> Option<Bytes> {
        Some(self.0.alone(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, Event, Position};

    fn written(packets: Packets, data: &str, kind: EventKind) -> Vec<u8> {
        let id = EventId { position: Position::new(7), epoch: Epoch::new(42) };
        let event = Event { kind, ..Event::example(7, "room", data) };
        let mut buffer = b"before".to_vec();
        if let Some(at) = ChannelMessages::of(packets).event(&EventParts::of(&event, id), &mut buffer) {
            assert_eq!(&buffer[at], data.as_bytes());
        }
        buffer.split_off("before".len())
    }

    #[test]
    fn a_message_is_a_packet_of_socket_io_and_several_are_told_apart() {
        let packet = r#"42["message",{"a":1}]"#;
        let polled = written(Packets::Polled, r#"{"a":1}"#, EventKind::Transient);
        assert_eq!(polled, format!("{packet}\u{1e}").into_bytes());
        assert_eq!(ChannelMessages::of(Packets::Polled).alone(&polled.clone().into()).unwrap(), packet);
        let framed = written(Packets::Framed, r#"{"a":1}"#, EventKind::Transient);
        assert_eq!(framed, [&[0x81, packet.len() as u8], packet.as_bytes()].concat());
    }

    #[test]
    fn a_removal_is_no_message() {
        for packets in [Packets::Polled, Packets::Framed, Packets::Compressed] {
            assert_eq!(written(packets, "null", EventKind::Removal), b"");
            assert_eq!(ChannelMessages::of(packets).alone(&Bytes::new()).unwrap(), "");
        }
    }
}
