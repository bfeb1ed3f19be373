//! The parsers of Broker's protocols, and the state of a connection of MQTT, compiled from their sources without the rest of it.

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

/// What a connection of MQTT needs of the values of Broker.
#[allow(dead_code, unused_imports)]
#[path = "../../src/domain"]
mod domain {
    use std::fmt::Error;

    mod position;
    mod time;
    mod topic_filter;

    pub use position::Position;
    pub use time::Timestamp;
    pub use topic_filter::{MAX_LEVELS_WITH_PLUS, TopicFilter};

    pub const MAX_NAME_BYTES: usize = 256;

    /// Topic filters alone.
    #[derive(Clone, Debug)]
    pub struct EventFilter(Vec<TopicFilter>);

    impl EventFilter {
        pub fn topics(filters: impl IntoIterator<Item = TopicFilter>) -> Result<Self, Error> {
            Ok(Self(filters.into_iter().collect()))
        }

        pub fn matches(&self, name: &str) -> bool {
            self.0.iter().any(|filter| filter.matches(name))
        }
    }

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub struct MqttAsk {
        pub number: u32,
        pub until: Position,
    }

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub struct MqttAsked {
        pub done: u32,
        pub through: u32,
        pub after: Position,
    }
}

/// What is asked of the events.
#[allow(dead_code)]
mod events {
    use crate::domain::{EventFilter, Position};

    #[derive(Clone, Debug)]
    pub struct Asked {
        pub filter: EventFilter,
        pub after: Position,
        pub until: Position,
        pub number: u32,
        pub is_begun: bool,
    }
}

/// In the place of what counts clients, and of what shares events among them.
#[allow(dead_code)]
mod app {
    #[derive(Debug)]
    pub struct CountedClient;

    impl CountedClient {
        pub fn sent(&self) {}

        pub fn received(&self) {}

        pub fn set_subscriptions(&mut self, _: usize) {}
    }
}

#[allow(dead_code, unused_imports)]
#[path = "../../src/transports"]
pub mod transports {
    pub mod mqtt {
        mod filters;
        pub mod invariants;
        mod outbound;
        mod record;

        mod shares {
            use std::num::{NonZeroU16, NonZeroU32};

            use crate::domain::Position;
            use crate::transports::mqtt::packet::Qos;

            #[derive(Clone, Copy)]
            pub struct Options {
                pub qos: Qos,
                pub retain_as_published: bool,
                pub id: Option<NonZeroU32>,
            }

            #[derive(Debug, Default)]
            pub struct Memberships;

            impl Memberships {
                pub fn len(&self) -> usize {
                    0
                }

                pub fn sent(&mut self, _: u32, _: NonZeroU16, _: (Position, &str), _: Qos) {}

                pub fn set_qos(&mut self, _: NonZeroU16, _: Qos) {}

                pub fn goes_on(&self, _: NonZeroU16) -> bool {
                    false
                }

                pub fn has_sent(&self, _: NonZeroU16) -> bool {
                    false
                }

                pub fn done(&mut self, _: NonZeroU16) {}
            }
        }

        /// The packets of MQTT.
        pub mod packet {
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

            pub use property::Property;
            pub use qos::Qos;
            pub use subscribe::RetainHandling;
            pub use version::Version;
            pub use write::{put_header, put_text, remaining_length, text_length};
        }
    }
}
