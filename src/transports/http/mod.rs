//! HTTP: the JSON endpoints and the event stream (SSE), as Broker 15's clients know them.

mod account;
mod around;
mod backup;
mod bodies;
mod body;
mod broadcast;
mod callers;
mod channels;
mod cors;
mod endpoint;
mod event_stream;
mod events;
mod extract;
mod h2;
mod heads;
mod health;
mod import;
mod limits;
mod mqtt;
mod offers;
mod polls;
mod protection;
mod query;
mod reply;
mod request;
mod request_id;
mod routes;
mod service;
mod session;
mod socket;
mod socket_io;
mod sockets;
mod sse;
mod sse_sinks;
mod ticket;
mod two_factor;
mod users;
mod websocket;
mod ws;

pub use bodies::{Bodies, MessageMemory};
pub use routes::{Routes, routes};
pub use service::{plain, tls};
pub use socket_io::serve as serve_socket_io;
pub use sockets::{Sockets, sockets};
pub use websocket::WebSocket;

/// Log filter for the library: it reports a client's malformed HTTP, and answers cut off because their reader lost
/// the right to them, as errors.
pub const LOG_FILTER: &str = "actix_http=off";
