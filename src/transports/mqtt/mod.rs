//! MQTT 3.1, 3.1.1 and 5.

mod basics;
mod client;
mod client_id;
mod connect;
mod doing;
mod filters;
mod inbound;
mod keeping;
mod outbound;
pub mod packet;
mod reasons;
mod record;
mod session;
mod shares;
mod sink;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::future::Future;

use futures_util::FutureExt;
use futures_util::future::OptionFuture;

use super::ws::{Inlet, Outlet};
use crate::app::App;
use crate::domain::ClientAddress;

pub use basics::MemoryOf;

/// What a client offers in `Sec-WebSocket-Protocol`; the second is that of MQTT 3.1.
pub const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Serves a connection, whose client has yet to say who it is.
pub fn serve(
    app: App,
    (inlet, outlet): (Inlet, Outlet),
    from: ClientAddress,
    memory: MemoryOf,
) -> impl Future<Output = ()> {
    // In a box, so that it is small once its client is let in: most connections say nothing for long.
    connect::connect(app, inlet, outlet, from, memory).boxed_local().map(OptionFuture::from).flatten().map(drop)
}
