//! Where a stream writes on a WebSocket connection.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::ws::{StreamOutlet, Written as Taken};
use crate::events::{End, Format, Sink, Written};

/// Why a stream has ended, once it has.
pub type Ended = Rc<Cell<Option<End>>>;

/// The stream's part of a connection, for whole frames of a format. The connection itself may go on: it is closed once what its client
/// asked for before was answered, or it gets another stream.
pub struct WebSocketSink {
    outlet: StreamOutlet,
    format: &'static dyn Format,
    ended: Option<Ended>,
}

impl WebSocketSink {
    /// On a connection. Why the stream ends is told in `ended`, if anybody asks.
    pub fn new(outlet: StreamOutlet, format: &'static dyn Format, ended: Option<&Ended>) -> Self {
        Self { outlet, format, ended: ended.map(Rc::clone) }
    }
}

impl Sink for WebSocketSink {
    fn format(&self) -> &'static dyn Format {
        self.format
    }

    fn write(&self, bytes: &Bytes) -> Written {
        // A format may have nothing to write of an event.
        if bytes.is_empty() {
            return Written::All;
        }
        match self.outlet.write(bytes) {
            Taken::All => Written::All,
            Taken::Part(taken) => Written::Part(taken),
            Taken::Gone => Written::Gone,
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.outlet.poll_ready(context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.outlet.poll_gone(context)
    }

    fn finish(&self, why: End) {
        if let Some(ended) = &self.ended {
            ended.set(Some(why));
        }
    }
}
