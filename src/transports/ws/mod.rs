//! WebSocket (RFC 6455) for servers, with compressed messages (RFC 7692). It knows nothing of the application on it, and of a
//! connection only that bytes can be read and written: HTTP hands over the connection, and the application gets an [`Inlet`] for
//! messages and an [`Outlet`] for frames.
//!
//! - [`Handshake`] checks a request, chooses the subprotocol, and knows the headers of the answer.
//! - [`Decoder`] makes messages and control frames of bytes; [`frame()`] and [`compressed_frame`] make bytes of messages.
//! - [`run`] is the one task of a connection: it drives the application, answers pings, pings itself, and closes.

#[cfg(test)]
mod client;
mod close;
pub mod code;
mod connection;
mod decoder;
mod deflate;
mod duplex;
mod extension;
mod frame;
mod handshake;
mod inlet;
mod message;
mod outlet;
#[cfg(test)]
pub mod properties;
mod reader;
mod settings;
mod shared;
mod streams;
#[cfg(test)]
mod tests;
mod utf8;
mod violation;
mod waker;
mod writer;

pub use close::Close;
pub use connection::{Run, run};
pub use decoder::{Decoder, Item};
pub use deflate::{COMPRESSED_FROM, compressed_frame};
pub use duplex::Duplex;
pub use extension::Compression;
pub use frame::{Opcode, frame, put_frame};
pub use handshake::{Handshake, Refusal};
pub use inlet::Inlet;
pub use message::{End, Memory, Message};
pub use outlet::{Outlet, StreamOutlet};
pub use settings::{Settings, Times};
pub use violation::Violation;
pub use waker::{WakerSlot, yield_turn};
pub use writer::{Serial, Written};
