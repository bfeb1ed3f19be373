//! Where the stream of a session of long polling writes.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::format::ChannelMessages;
use super::types::ChannelApi;
use crate::events::{End, Format, Sink, Written};
use crate::transports::socket_io::{PollingOutlet, Written as Taken};

/// A [`Sink`] of packets for the next poll.
pub struct PollingSink {
    outlet: PollingOutlet<ChannelApi>,
    end: Rc<Cell<Option<End>>>,
}

impl PollingSink {
    /// The place of a stream in a session. Why the stream has ended is put into `end`.
    pub fn new(outlet: PollingOutlet<ChannelApi>, end: &Rc<Cell<Option<End>>>) -> Self {
        Self { outlet, end: Rc::clone(end) }
    }
}

impl Sink for PollingSink {
    fn format(&self) -> &'static dyn Format {
        &ChannelMessages::Polled
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
        self.end.set(Some(why));
    }
}
