//! The packets of MQTT 3.1, 3.1.1 and 5 for servers, as bytes and as types. It knows nothing of the application on it, and nothing of
//! connections: bytes are given to it, and it gives bytes.
//!
//! - [`Decoder`] makes [`Packet`]s of the bytes of a client, or says in a [`Violation`] which rule they break.
//! - [`Encoder`] appends what a server sends, as the version of the client has it.
//! - [`Property`], [`remaining_length`], [`put_text`] and their like are for encoders elsewhere.
//!
//! The crate `mqtt-protocol-core` 0.7.9 has packets, too, and is not used. Its `parse` takes what the specifications forbid: U+0000 in
//! texts, integers that are longer than they must be, the reserved flag of CONNECT, will flags that contradict each other, a will of
//! QoS 3, packet identifier 0 in PUBLISH and SUBSCRIBE, `+` and `#` in the topic of a PUBLISH, an empty topic without an alias. It
//! refuses what MQTT 5 allows, a password without a user name, and ends the connection for one bad `$share` filter of many. It wants
//! each PUBLISH in an `Arc<[u8]>` of its own, which is a copy, keeps what reads the fixed header to itself, and has no MQTT 3.1. What it
//! spares is less code than what it would take to check and to convert its types.

mod ack;
#[cfg(test)]
mod client;
mod connect;
mod connect_flags;
mod decoder;
mod disconnect;
mod encoder;
mod fields;
mod header;
#[cfg(test)]
pub mod invariants;
mod property;
mod publish;
mod qos;
mod reason;
mod subscribe;
#[cfg(test)]
mod tests;
mod version;
mod violation;
mod write;

pub use ack::Ack;
pub use connect::{Authentication, Connect, Secret, Will};
pub use decoder::{Decoder, Packet};
pub use disconnect::{Auth, Disconnect};
pub use encoder::{AckKind, Encoder};
pub use property::{Property, put_properties};
pub use publish::{Publish, PublishProperties};
pub use qos::Qos;
pub use reason::Reason;
pub use subscribe::{RetainHandling, Subscribe, Subscription, Unsubscribe};
pub use version::Version;
pub use violation::Violation;
pub use write::{MAX_REMAINING_LENGTH, put_binary, put_packet, put_text, remaining_length};
