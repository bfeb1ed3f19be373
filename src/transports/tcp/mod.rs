//! Connections over TCP, below every protocol: how many there are, how a vanished peer is noticed, TLS, and what a proxy says of a
//! client's address.

mod accept;
mod handshake;
mod proxy_protocol;
mod stream;
mod under_way;

pub use accept::{Connections, GoesOn, Tcp, counted};
pub use handshake::Handshakes;
pub use proxy_protocol::address_of;
pub use stream::{Stream, bound};
pub use under_way::UnderWay;
