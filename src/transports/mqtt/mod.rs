//! MQTT 3.1, 3.1.1 and 5: a further way to the same events. A topic is the name of an event. A message with RETAIN 1 is the latest event
//! of its name, one without is transient, and one with RETAIN 1 and an empty payload is a removal. The page `docs/mqtt.md` describes it.
//!
//! - `packet` has packets as types and as bytes.
//! - `connect` lets a client in; `client` is one that is connected, with what it publishes (`inbound`) and
//!   subscribes (`subscriptions`) to.
//! - Events go out as `record`s, which are the same for all; the `sink` of a connection makes packets of them as its client takes
//!   them (`outbound`), and all go by one `way_out`.

mod basics;
mod client;
mod client_id;
mod connect;
mod doing;
mod filters;
mod inbound;
#[cfg(test)]
pub mod invariants;
mod keeping;
mod log;
mod outbound;
pub mod packet;
mod reading;
mod reasons;
mod record;
mod records;
mod session;
mod shares;
mod sink;
mod subscriptions;
#[cfg(test)]
mod tests;
mod way_out;
mod weight;

use std::future::Future;

use futures_util::FutureExt;
use futures_util::future::OptionFuture;

use super::ws::{Inlet, Outlet};
use crate::app::App;
use crate::domain::ClientAddress;

pub use basics::MemoryOf;

/// What a client offers in `Sec-WebSocket-Protocol`; the second is that of MQTT 3.1.
pub const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Serves a connection, whose client has yet to say who it is. It ends if it must before its CONNECT has come.
pub fn serve(
    app: App,
    (inlet, outlet): (Inlet, Outlet),
    from: ClientAddress,
    must_end: impl Future<Output = ()> + 'static,
    memory: MemoryOf,
) -> impl Future<Output = ()> {
    // In a box, so that it is small once its client is let in: most connections say nothing for long.
    connect::connect(app, (inlet, outlet), from, must_end, memory)
        .boxed_local()
        .map(OptionFuture::from)
        .flatten()
        .map(drop)
}
