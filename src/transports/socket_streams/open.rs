//! Where a stream of a session writes.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::packets::Packets;
use crate::app::App;
use crate::events::{CatchUp, Format, SubscribeRequest, Written};
use crate::transports::socket_io::{Outlet, PollingOutlet, Types, Written as Taken};
use crate::transports::stream_sink::{Ended, Place, StreamSink};

/// Opens a stream that writes to a session, in the format for how that takes packets. How it ends is told in `ended`, if anybody asks.
pub fn open<T: Types>(
    app: &App,
    request: SubscribeRequest,
    outlet: Outlet<T>,
    ended: Option<&Ended>,
    format: impl FnOnce(Packets) -> &'static dyn Format,
) -> CatchUp {
    match outlet {
        Outlet::Polling(outlet) => {
            app.open(request, StreamSink::new(outlet, format(Packets::Polled), ended), Bytes::new())
        }
        Outlet::WebSocket { outlet, compresses } => {
            app.open(request, StreamSink::new(outlet, format(Packets::on(compresses)), ended), Bytes::new())
        }
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
