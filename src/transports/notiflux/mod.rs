//! What clients of notiflux speak over WebSocket: each message of a topic is a text frame, and commands subscribe to topics by tokens
//! that another service signed. A topic is an event name of the tenant in `notiflux_tenant`, and its messages are events of that name.

mod command;
mod connection;
mod format;

pub use connection::{MAX_MESSAGE_BYTES, serve};
