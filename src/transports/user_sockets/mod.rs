//! Users over Socket.IO: they sign in as they connect, and each socket is one stream, whose events are events of Socket.IO. On it its
//! client inserts, changes what the stream gives, and renews its sign-in. The page `docs/socketio.md` describes it.

mod application;
mod client;
mod command;
mod format;
mod recovery;

pub use application::{UserSockets, refuse};
pub use client::Client;
