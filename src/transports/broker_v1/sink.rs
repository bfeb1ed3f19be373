//! Where the stream of a connection writes.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::format::Objects;
use crate::events::{End, Format, Sink, Written};
use crate::transports::ws::{self, Outlet, StreamOutlet};

/// Why a stream has ended, once it has.
pub type Ended = Rc<Cell<Option<End>>>;

/// The stream's part of a connection. The connection itself is closed once what its client asked for before was answered.
pub struct SocketSink {
    outlet: StreamOutlet,
    format: &'static Objects,
    ended: Ended,
}

impl SocketSink {
    /// On a connection. Why the stream ends is told there.
    pub fn new(outlet: &Outlet, ended: Ended) -> Self {
        Self { outlet: outlet.stream(), format: Objects::on(outlet.compresses()), ended }
    }
}

impl Sink for SocketSink {
    fn format(&self) -> &'static dyn Format {
        self.format
    }

    fn write(&self, bytes: &Bytes) -> Written {
        match self.outlet.write(bytes) {
            ws::Written::All => Written::All,
            ws::Written::Part(taken) => Written::Part(taken),
            ws::Written::Gone => Written::Gone,
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.outlet.poll_ready(context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.outlet.poll_gone(context)
    }

    fn finish(&self, why: End) {
        self.ended.set(Some(why));
    }
}
