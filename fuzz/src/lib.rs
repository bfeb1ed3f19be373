//! The parsers of Broker's protocols, compiled from their sources without the rest of it.

/// The codec of WebSocket.
#[allow(dead_code)]
#[path = "../../src/transports/ws"]
pub mod ws {
    mod client;
    mod close;
    mod code;
    mod decoder;
    mod deflate;
    mod extension;
    mod frame;
    mod handshake;
    mod message;
    pub mod properties;
    mod utf8;
    mod violation;
}

/// The parsers of Engine.IO and Socket.IO.
#[allow(dead_code)]
#[path = "../../src/transports/socket_io"]
pub mod socket_io {
    mod assembler;
    mod attachments;
    mod engine_packet;
    mod malformed;
    mod outbox;
    mod packet;
    pub mod properties;
}

/// The packets of MQTT.
#[allow(dead_code)]
#[path = "../../src/transports/mqtt/packet"]
pub mod mqtt {
    mod ack;
    mod client;
    mod connect;
    mod connect_flags;
    mod decoder;
    mod disconnect;
    mod encoder;
    mod fields;
    mod header;
    pub mod invariants;
    mod property;
    mod publish;
    mod qos;
    mod reason;
    mod subscribe;
    mod version;
    mod violation;
    mod write;
}
