//! How the messages of channels are written: each as the event `message` of Socket.IO, with the message as its argument.

use std::ops::Range;

use bytes::Bytes;

use crate::domain::{EventId, EventKind};
use crate::events::{Content, ControlEvent, EventParts, Format, FormatKey};
use crate::transports::socket_io::{SEPARATOR, write_event};
use crate::transports::ws::{Opcode, compressed_frame, put_frame};

/// The event of Socket.IO.
const MESSAGE: &str = "message";

/// A packet for each message.
#[derive(Clone, Copy, Debug)]
pub enum ChannelMessages {
    /// For a poll: packets with a separator between them.
    Polled,
    /// Each in a text frame of WebSocket.
    Framed,
    /// Each in a compressed frame, for clients that take that.
    Compressed,
}

impl ChannelMessages {
    /// What was written for a poll, as text frames.
    pub fn framed(polled: &[u8]) -> Bytes {
        let mut frames = Vec::with_capacity(polled.len() + 16);
        for packet in polled.split(|byte| char::from(*byte) == SEPARATOR).filter(|packet| !packet.is_empty()) {
            put_frame(&mut frames, Opcode::Text, |buffer| buffer.extend_from_slice(packet));
        }
        frames.into()
    }

    /// Without the separator after the last packet.
    fn trimmed(packets: &Bytes) -> Bytes {
        packets.slice(..packets.len().saturating_sub(SEPARATOR.len_utf8()))
    }
}

impl Format for ChannelMessages {
    fn key(&self) -> FormatKey {
        let encoding = match self {
            Self::Polled => "polled channel message",
            Self::Framed => "framed channel message",
            Self::Compressed => "compressed channel message",
        };
        FormatKey { encoding, framing: "none" }
    }

    /// Of a removal nothing is written: there is no message that says it.
    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        if event.kind == EventKind::Removal {
            return None;
        }
        let mut packet = Vec::with_capacity(event.data.len() + 16);
        let at = write_event(&mut packet, "/", MESSAGE, [event.data], None);
        let begin = buffer.len();
        let before = match self {
            Self::Polled => {
                buffer.extend_from_slice(&packet);
                // Each has one. The one after the last is taken away when they are joined.
                buffer.extend_from_slice(SEPARATOR.encode_utf8(&mut [0; 4]).as_bytes());
                0
            }
            Self::Framed => put_frame(buffer, Opcode::Text, |buffer| buffer.extend_from_slice(&packet)),
            Self::Compressed => {
                buffer.extend_from_slice(&compressed_frame(&String::from_utf8_lossy(&packet)));
                return None;
            }
        };
        Some(begin + before + at.start..begin + before + at.end)
    }

    /// These streams ask for none.
    fn control(&self, _: &ControlEvent<'_>, _: EventId, _: &mut Vec<u8>) {}

    /// The session has heartbeats of its own.
    fn heartbeat(&self) -> &'static [u8] {
        b""
    }

    fn join(&self, content: Content) -> Bytes {
        let joined = content.wrap(b"", b"");
        if matches!(self, Self::Polled) { Self::trimmed(&joined) } else { joined }
    }

    fn alone(&self, event: &Bytes) -> Option<Bytes> {
        Some(if matches!(self, Self::Polled) { Self::trimmed(event) } else { event.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, Event, Position};

    fn written(format: ChannelMessages, data: &str, kind: EventKind) -> Vec<u8> {
        let id = EventId { position: Position::new(7), epoch: Epoch::new(42) };
        let event = Event { kind, ..Event::example(7, "room", data) };
        let mut buffer = b"before".to_vec();
        if let Some(at) = format.event(&EventParts::of(&event, id), &mut buffer) {
            assert_eq!(&buffer[at], data.as_bytes());
        }
        buffer.split_off("before".len())
    }

    #[test]
    fn a_message_is_a_packet_of_socket_io_and_several_are_told_apart() {
        let packet = r#"42["message",{"a":1}]"#;
        let polled = written(ChannelMessages::Polled, r#"{"a":1}"#, EventKind::Transient);
        assert_eq!(polled, format!("{packet}\u{1e}").into_bytes());
        assert_eq!(ChannelMessages::Polled.alone(&polled.clone().into()).unwrap(), packet);
        let framed = written(ChannelMessages::Framed, r#"{"a":1}"#, EventKind::Transient);
        assert_eq!(framed, [&[0x81, packet.len() as u8], packet.as_bytes()].concat());
        let several = [&polled[..], packet.as_bytes()].concat();
        assert_eq!(ChannelMessages::framed(&several), [&framed[..], &framed].concat());
    }

    #[test]
    fn a_removal_is_no_message() {
        for format in [ChannelMessages::Polled, ChannelMessages::Framed, ChannelMessages::Compressed] {
            assert_eq!(written(format, "null", EventKind::Removal), b"");
            assert_eq!(format.alone(&Bytes::new()).unwrap(), "");
        }
        assert_eq!(ChannelMessages::framed(b""), "");
    }
}
