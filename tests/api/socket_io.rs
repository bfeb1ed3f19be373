//! Guards Engine.IO and Socket.IO over real connections, by the cases of their protocols' suites, against an echo application.

mod channel_clients;
mod channel_hostile;
mod channels;
pub mod client;
mod clients;
mod connection;
#[path = "../../src/transports/socket_io/tests/echo.rs"]
mod echo;
mod hostile;
mod polling;
mod polls;
mod server;
pub mod signed_in;
mod signed_in_clients;
mod upgrade;
mod websocket;

use broker::transports::{socket_io as sio, ws};
pub use client::Polling;
pub use connection::WebSocket;
