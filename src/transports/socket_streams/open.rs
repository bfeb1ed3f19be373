//! Where a stream of a session writes.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::packets::Packets;
use crate::app::App;
use crate::events::{CatchUp, Ending, Format, Sink, SubscribeRequest, Written};
use crate::transports::socket_io::{Outlet, PollingOutlet, Types, Written as Taken};
use crate::transports::stream_sink::{Place, StreamSink};

/// What is done at the moment at which a stream ends: before it is, a server that stops does not end the session.
pub type OnEnd = Box<dyn Fn(Ending)>;

/// Opens a stream that writes to a session, in the format for how that takes packets.
pub fn open<T: Types>(
    app: &App,
    request: SubscribeRequest,
    outlet: Outlet<T>,
    on_end: Option<OnEnd>,
    format: impl FnOnce(Packets) -> &'static dyn Format,
) -> CatchUp {
    match outlet {
        Outlet::Polling(outlet) => open_at(app, request, outlet, on_end, format(Packets::Polled)),
        Outlet::WebSocket { outlet, compresses } => {
            open_at(app, request, outlet, on_end, format(Packets::on(compresses)))
        }
    }
}

fn open_at(
    app: &App,
    request: SubscribeRequest,
    place: impl Place + 'static,
    on_end: Option<OnEnd>,
    format: &'static dyn Format,
) -> CatchUp {
    let sink = StreamSink::new(place, format, None);
    match on_end {
        Some(on_end) => app.open(request, EndingSink { sink, on_end }, Bytes::new()),
        None => app.open(request, sink, Bytes::new()),
    }
}

/// A sink that has something done at the end.
struct EndingSink<P> {
    sink: StreamSink<P>,
    on_end: OnEnd,
}

impl<P: Place> Sink for EndingSink<P> {
    fn format(&self) -> &'static dyn Format {
        self.sink.format()
    }

    fn write(&self, bytes: &Bytes) -> Written {
        self.sink.write(bytes)
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.sink.poll_ready(context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.sink.poll_gone(context)
    }

    fn finish(&self, ending: Ending) {
        (self.on_end)(ending);
        self.sink.finish(ending);
    }
}

/// Packets for the next poll.
impl<T: Types> Place for PollingOutlet<T> {
    fn write(&self, bytes: &Bytes) -> Written {
        match PollingOutlet::write(self, bytes) {
            Taken::All => Written::All,
            Taken::Nothing => Written::Part(0),
            Taken::Gone => Written::Gone,
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        PollingOutlet::poll_ready(self, context)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        PollingOutlet::poll_gone(self, context)
    }
}
