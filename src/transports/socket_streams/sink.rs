//! Where the stream of a session of long polling writes.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::events::{End, Format, Sink, Written};
use crate::transports::socket_io::{PollingOutlet, Types, Written as Taken};
use crate::transports::stream_sink::Ended;

/// A [`Sink`] of packets for the next poll.
pub struct PollingSink<T: Types> {
    outlet: PollingOutlet<T>,
    format: &'static dyn Format,
    ended: Option<Ended>,
}

impl<T: Types> PollingSink<T> {
    /// The place of a stream in a session. Why the stream ends is told in `ended`, if anybody asks.
    pub fn new(outlet: PollingOutlet<T>, format: &'static dyn Format, ended: Option<&Ended>) -> Self {
        Self { outlet, format, ended: ended.map(Rc::clone) }
    }
}

impl<T: Types> Sink for PollingSink<T> {
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
            Taken::Nothing => Written::Part(0),
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
