//! What the reference sends to subscribers: the bytes of each of Broker's transports.

use std::io::{Result, Write};

use crate::mqtt::{self, Level, Message};
use crate::websocket::{self, ACCEPT, TEXT};

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
    x-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n";

/// What stands between the packets of an answer to a poll.
const SEPARATOR: u8 = 0x1e;

/// A transport.
#[derive(Clone, Copy)]
pub enum Format {
    /// Server-sent events in chunks.
    Sse,
    /// `broker.v1` over WebSocket.
    BrokerV1,
    /// MQTT: messages of QoS 0 as MQTT 3.1.1 has them.
    Mqtt,
    /// Socket.IO over WebSocket.
    SocketIo,
    /// Socket.IO over long polling.
    Polling,
}

/// What a subscriber of MQTT asks for. It is the one packet that differs: the rest is what a server of MQTT sends.
pub const MQTT: &str = "/mqtt";
/// What a session that polls is opened with.
pub const OPEN_POLLING: &str = "/socket.io/?EIO=4&transport=polling";

impl Format {
    /// The transport that a request asks for, if it is a subscriber's.
    pub fn of(request: &[u8]) -> Option<Self> {
        let path = request.strip_prefix(b"GET ")?;
        let begins = [
            (Self::Sse, "/sse"),
            (Self::BrokerV1, "/ws"),
            (Self::Mqtt, MQTT),
            (Self::Polling, OPEN_POLLING),
            (Self::SocketIo, "/socket.io/"),
        ];
        begins.into_iter().find(|(_, begin)| path.starts_with(begin.as_bytes())).map(|(format, _)| format)
    }

    /// The head of the answer to it. Then follow events alone.
    pub fn head(self) -> String {
        match self {
            Self::Sse => STREAM_HEAD.to_owned(),
            Self::BrokerV1 | Self::Mqtt | Self::SocketIo => format!(
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n"
            ),
            // A packet that says nothing.
            Self::Polling => poll_head(1) + "6",
        }
    }

    /// Appends the nth event.
    ///
    /// # Errors
    /// Those of `out`, and memory has none.
    pub fn write(self, nth: u64, event: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut message = Vec::with_capacity(data.len() + 128);
        match self {
            Self::Sse => {
                out.extend_from_slice(b"event:");
                out.extend_from_slice(event);
                write!(out, "\nid:{nth:016}000000\ndata:")?;
                out.extend_from_slice(data);
                out.extend_from_slice(b"\n\n");
                return Ok(());
            }
            Self::Mqtt => {
                let topic = std::str::from_utf8(event).unwrap_or_default();
                let message = Message { level: Level::V311, topic, id: None, retain: false };
                mqtt::write_message(message, |out| out.extend_from_slice(data), out);
                return Ok(());
            }
            Self::BrokerV1 => {
                message.extend_from_slice(br#"{"event":""#);
                message.extend_from_slice(event);
                message.extend_from_slice(br#"","data":"#);
                message.extend_from_slice(data);
                write!(message, r#","id":"{nth:016}000000","timestamp":1700000000000,"username":"user0"}}"#)?;
            }
            Self::SocketIo | Self::Polling => {
                message.extend_from_slice(br#"42["message","#);
                message.extend_from_slice(data);
                message.push(b']');
            }
        }
        if let Self::Polling = self {
            self.append(&message, out);
            return Ok(());
        }
        websocket::write_server_header(TEXT, message.len(), out);
        out.extend_from_slice(&message);
        Ok(())
    }

    /// Appends events to others.
    pub fn append(self, events: &[u8], out: &mut Vec<u8>) {
        if matches!(self, Self::Polling) && !out.is_empty() {
            out.push(SEPARATOR);
        }
        out.extend_from_slice(events);
    }

    /// Appends what is written at once: all events that are there.
    ///
    /// # Errors
    /// Those of `out`, and memory has none.
    pub fn join(self, events: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Sse => {
                write!(out, "{:x}\r\n", events.len())?;
                out.extend_from_slice(events);
                out.extend_from_slice(b"\r\n");
            }
            Self::BrokerV1 | Self::Mqtt | Self::SocketIo => out.extend_from_slice(events),
            Self::Polling => {
                out.extend_from_slice(poll_head(events.len()).as_bytes());
                out.extend_from_slice(events);
            }
        }
        Ok(())
    }
}

/// The head of an answer to a poll.
fn poll_head(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\ncontent-length: {length}\r\n\r\n")
}
