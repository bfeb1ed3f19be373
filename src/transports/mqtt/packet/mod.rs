//! The codec for MQTT 3.1, 3.1.1 and 5 on the server side. It knows nothing of Broker, and does no I/O: it takes bytes and returns
//! packets, or takes packets and appends bytes.
//!
//! - [`Decoder`] decodes [`Packet`]s from the bytes of a client. A [`Violation`] says which rule the client broke.
//! - [`Encoder`] appends the packets that a server sends, in the version of the client.
//! - [`Property`], [`remaining_length`], [`put_text`] and their like help encoders elsewhere, such as one for a PUBLISH to many
//!   subscribers.
//!
//! We do not use the crate `mqtt-protocol-core` 0.7.9. Its `parse` accepts much that the specifications forbid: U+0000 in texts, integers
//! that are not in their shortest form, the reserved flag of CONNECT, will flags that contradict each other, a will of QoS 3, DUP with
//! QoS 0, packet identifier 0 in PUBLISH and SUBSCRIBE, wildcards in topic names, an empty topic name without an alias. It refuses a
//! password without a user name, which MQTT 5 allows, and takes one invalid `$share` filter for a malformed packet. Its `PacketBuilder`
//! allocates the announced length, and copies each PUBLISH twice. It has no MQTT 3.1. Checking and converting its types would take more
//! code than it saves.

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
pub use write::{MAX_REMAINING_LENGTH, put_binary, put_header, put_packet, put_text, remaining_length, text_length};
