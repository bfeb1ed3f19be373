//! MQTT 3.1, 3.1.1 and 5.

use std::future::Future;

use super::ws::{Inlet, Memory, Outlet};
use crate::app::App;
use crate::domain::ClientAddress;
use crate::identity::Principal;

/// Whom the memory of a connection is counted for, once a client has signed in.
pub type MemoryOf = Box<dyn FnOnce(&Principal) -> Box<dyn Memory>>;

/// Serves a connection.
pub fn serve(
    app: App,
    (inlet, outlet): (Inlet, Outlet),
    from: ClientAddress,
    memory: MemoryOf,
) -> impl Future<Output = ()> {
    let _ = (app, inlet, outlet, from, memory);
    async {}
}

/// What a client offers in `Sec-WebSocket-Protocol`; the other one is that of MQTT 3.1 (mosquitto, paho).
pub const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
