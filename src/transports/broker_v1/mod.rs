//! `broker.v1`: our own subprotocol of WebSocket. A connection is one stream, which is written to by what [`Format`] makes of events;
//! and on it its client inserts, changes what the stream gives, and renews its sign-in. The page `docs/websocket.md` describes it.
//!
//! [`Format`]: crate::events::Format

mod close;
mod format;
mod frame;
mod replies;
mod session;
mod sign_in;

pub use session::serve;
pub use sign_in::MAX_SIGN_IN_BYTES;

/// What a client offers in `Sec-WebSocket-Protocol`.
pub const PROTOCOL: &str = "broker.v1";
