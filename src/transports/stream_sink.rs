//! Where a stream writes on a connection, or in a session, that has other things to say as well.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::ws::{StreamOutlet, Written as Taken};
use crate::events::{Ending, Format, Sink, Written};

/// How a stream has ended, once it has.
pub type Ended = Rc<Cell<Option<Ending>>>;

/// A stream's part of a connection or a session: what a [`Sink`] does with bytes.
pub trait Place {
    /// As [`Sink::write`], for something.
    fn write(&self, bytes: &Bytes) -> Written;

    /// As [`Sink::poll_ready`].
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()>;

    /// As [`Sink::poll_gone`].
    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()>;
}

/// The stream's part of a WebSocket connection, for whole frames.
impl Place for StreamOutlet {
    fn write(&self, bytes: &Bytes) -> Written {
        match StreamOutlet::write(self, bytes) {
            Taken::All => Written::All,
            Taken::Part(taken) => Written::Part(taken),
            Taken::Gone => Written::Gone,
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        StreamOutlet::poll_ready(self, context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        StreamOutlet::poll_gone(self, context)
    }
}

/// A [`Sink`] that writes to a place. When the stream ends, the connection may go on: it is closed once what its client asked for before
/// was answered, or it gets another stream.
pub struct StreamSink<P> {
    place: P,
    format: &'static dyn Format,
    ended: Option<Ended>,
}

impl<P: Place> StreamSink<P> {
    /// How the stream ends is told in `ended`, if anybody asks: what its client is told of that stands among the other things that the
    /// connection says.
    pub fn new(place: P, format: &'static dyn Format, ended: Option<&Ended>) -> Self {
        Self { place, format, ended: ended.map(Rc::clone) }
    }
}

impl<P: Place> Sink for StreamSink<P> {
    fn format(&self) -> &'static dyn Format {
        self.format
    }

    fn write(&self, bytes: &Bytes) -> Written {
        // A format may have nothing to write of an event.
        if bytes.is_empty() { Written::All } else { self.place.write(bytes) }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.place.poll_ready(context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.place.poll_gone(context)
    }

    fn finish(&self, ending: Ending) {
        if let Some(ended) = &self.ended {
            ended.set(Some(ending));
        }
    }
}
