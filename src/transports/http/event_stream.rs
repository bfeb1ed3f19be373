//! The wire format of event streams: "Server-sent events" of the HTML standard, section 9.2, in chunks where HTTP/1.1 needs them.

mod fields;

use std::io::Write;
use std::ops::Range;

use bytes::Bytes;
use serde_json::json;

use crate::app;
use crate::domain::EventId;
use crate::events::{Content, ControlEvent, End, Ending, EventParts, Format, FormatKey, StreamId};
use crate::transports::control_event::control_event;
use fields::{write_data, write_name};

/// What a message of the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Name, id and data of the event.
    Plain,
    /// The same, and the data is the whole event as an object.
    Envelope,
    /// Only data: the object of an event or a control event, as in a frame of `broker.v1`. A browser's `EventSource` hands on messages
    /// of unknown names only if they have none, and no comments.
    Frames,
}

/// `text/event-stream`, with no space after a colon: `broker-client` 0.0.8 would keep it as part of the value.
#[derive(Clone, Copy, Debug)]
pub struct EventStream {
    /// Whether each write is a chunk of HTTP/1.1 (RFC 9112, section 7.1).
    is_chunked: bool,
    shape: Shape,
}

impl EventStream {
    /// The stream as it is: the transport has a framing of its own.
    pub fn bare(shape: Shape) -> &'static Self {
        match shape {
            Shape::Plain => &Self { is_chunked: false, shape: Shape::Plain },
            Shape::Envelope => &Self { is_chunked: false, shape: Shape::Envelope },
            Shape::Frames => &Self { is_chunked: false, shape: Shape::Frames },
        }
    }

    /// The stream in chunks of HTTP/1.1.
    pub fn chunked(shape: Shape) -> &'static Self {
        match shape {
            Shape::Plain => &Self { is_chunked: true, shape: Shape::Plain },
            Shape::Envelope => &Self { is_chunked: true, shape: Shape::Envelope },
            Shape::Frames => &Self { is_chunked: true, shape: Shape::Frames },
        }
    }

    /// What a stream begins with. A stream of frames names itself: `EventSource` cannot read the header. One that says so has its client
    /// come back after [`BACK_IN`] when the connection is lost, whatever an earlier stream has said: `EventSource` keeps that.
    pub fn opening(&self, stream: StreamId, says_retry: bool) -> String {
        let retry = if says_retry { retry_line(BACK_IN) } else { String::new() };
        let message = match self.shape {
            Shape::Frames => format!("data:{}\n\n", json!({ "ok": { "stream": stream.to_string() } })),
            Shape::Plain | Shape::Envelope => String::new(),
        };
        self.chunk(format!("{retry}{message}"))
    }

    /// What a stream ends with: why, for a client with control events, and when to come back.
    pub fn last(&self, ending: Ending, says_retry: bool) -> Bytes {
        match ending {
            Ending { told: None, why: End::Stopping { back_in } } if says_retry => {
                self.chunk(retry_line(back_in)).into()
            }
            ending => (self as &dyn Format).ending(ending),
        }
    }

    fn chunk(&self, text: String) -> String {
        if self.is_chunked && !text.is_empty() { format!("{:x}\r\n{text}\r\n", text.len()) } else { text }
    }

    /// Appends what stands before the data of an event: `event:<name>\nid:<id>\ndata:`, or only the last of it.
    fn begin(&self, buffer: &mut Vec<u8>, name: &str, id: EventId) {
        if self.shape != Shape::Frames {
            buffer.extend_from_slice(b"event:");
            write_name(buffer, name);
            // Writing to memory cannot fail.
            let _ = write!(buffer, "\nid:{id}\n");
        }
        buffer.extend_from_slice(b"data:");
    }
}

/// After how many milliseconds a client comes back whose connection is lost.
const BACK_IN: u32 = 2000;

/// The line by which a client is told when to come back. It takes it as soon as the line has come.
fn retry_line(back_in: u32) -> String {
    format!("retry:{back_in}\n")
}

/// What stands around the name, the id and the data of an event.
const AROUND: usize = "event:\nid:\ndata:\n\n".len();
/// What an envelope adds to them, beside the name, the username and another id.
const ENVELOPE: usize = r#"{"event":"","data":,"id":"","timestamp":1795327184269,"username":""}"#.len();
/// How long an id is.
const ID: usize = 22;

impl Format for EventStream {
    fn key(&self) -> FormatKey {
        let encoding = match self.shape {
            Shape::Plain => "sse",
            Shape::Envelope => "sse-envelope",
            Shape::Frames => "sse-frames",
        };
        FormatKey { encoding, framing: if self.is_chunked { "chunked" } else { "bare" } }
    }

    fn transport(&self) -> &'static str {
        "sse"
    }

    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>> {
        let EventParts { id, name, data, username, .. } = *event;
        // Exactly, in the usual case, so that an event that is kept wastes nothing.
        let object = ENVELOPE + name.len() + ID + username.len();
        buffer.reserve(match self.shape {
            Shape::Plain => AROUND + name.len() + ID + data.len(),
            Shape::Envelope => AROUND + name.len() + ID + data.len() + object,
            Shape::Frames => "data:\n\n".len() + data.len() + object,
        });
        self.begin(buffer, name, id);
        let data = if self.shape == Shape::Plain {
            let begin = buffer.len();
            write_data(buffer, data);
            begin..buffer.len()
        } else {
            // Clients of SSE do not know the properties of MQTT.
            app::write_event(buffer, &EventParts { published: None, ..*event }, write_data)
        };
        buffer.extend_from_slice(END);
        Some(data)
    }

    /// A control event is written like an event. Its name begins with `$`, which no event's name does.
    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>) {
        let (name, data) = control_event(control, id);
        if let ControlEvent::End(End::Stopping { back_in }) = control {
            buffer.extend_from_slice(retry_line(*back_in).as_bytes());
        }
        self.begin(buffer, &name, id);
        let data = match self.shape {
            Shape::Frames => json!({ "event": &*name, "data": data, "id": id.to_string() }),
            Shape::Plain | Shape::Envelope => data,
        };
        write_data(buffer, &data.to_string());
        buffer.extend_from_slice(END);
    }

    /// A comment without a blank line after it: `broker-client` 0.0.8 would take `:\n\n` for an event.
    fn heartbeat(&self) -> &'static [u8] {
        match self.shape {
            Shape::Plain | Shape::Envelope => b":\n",
            // A page does not see comments.
            Shape::Frames => b"data:{}\n\n",
        }
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

#[cfg(test)]
mod tests;
