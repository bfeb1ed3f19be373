//! The ways into Broker beside SSE: the same binary, users and events.

use std::path::Path;

use super::broker::{self, BrokerWire};
use super::broker_mqtt::{self, MqttWire};
use super::broker_v1::{self, BrokerV1Wire, Task};
use super::socket_io::{self, House, PollingWire, WebSocketWire};
use super::{Language, Running, Target};
use crate::Result;
use crate::crowd::Audience;
use crate::http::Http;
use crate::lab::Lab;
use crate::server::Server;

/// The tenant of an audience of one room.
const TENANT: &str = "room0";

/// A way in.
#[derive(Clone, Copy)]
pub enum Door {
    /// SSE.
    Sse,
    /// Broker's own subprotocol of WebSocket.
    WebSocket(Task),
    /// MQTT over TCP.
    Mqtt(broker_mqtt::Task),
    /// Channels over Socket.IO, which is over WebSocket.
    SocketIo,
    /// Channels over Socket.IO, which is over long polling.
    Polling,
}

impl Door {
    /// Starts the binary on a database, with the port that its clients connect to.
    pub fn serve(self, lab: &Lab, database: &Path, core: Option<usize>) -> Result<Server> {
        match self {
            Self::Mqtt(_) => broker::start_at("mqtt_port", lab, database, core),
            _ => broker::start(lab, database, core, &self.flags()),
        }
    }

    /// The flags that open it, beside that of a port.
    pub fn flags(self) -> Vec<String> {
        match self {
            Self::Sse | Self::WebSocket(_) | Self::Mqtt(_) => Vec::new(),
            Self::SocketIo | Self::Polling => House::broker_flags(TENANT),
        }
    }

    /// The protocol of its clients. `connect` is asked for a connection to its server.
    pub fn language(self, people: BrokerWire, connect: impl FnOnce() -> Result<Http>) -> Result<Language> {
        match self {
            Self::Sse => Language::new(broker::WIRE, &people),
            Self::WebSocket(task) => Language::new(broker_v1::WIRE, &BrokerV1Wire::new(people, task)),
            Self::Mqtt(task) => Language::new(broker_mqtt::WIRE, &MqttWire::new(people, task)),
            Self::SocketIo => Language::new(socket_io::WEBSOCKET_WIRE, &WebSocketWire(House::broker(connect()?)?)),
            Self::Polling => Language::new(socket_io::POLLING_WIRE, &PollingWire::new(House::broker(connect()?)?)),
        }
    }
}

impl Target for Door {
    fn name(&self) -> &'static str {
        match self {
            Self::Sse => "Broker",
            Self::WebSocket(Task::Large { compressed: true }) => "Broker over WebSocket, compressed",
            Self::WebSocket(_) => "Broker over WebSocket",
            Self::Mqtt(broker_mqtt::Task::Deliver { qos: 1.., .. }) => "Broker over MQTT, QoS 1",
            Self::Mqtt(_) => "Broker over MQTT",
            Self::SocketIo => "Broker over Socket.IO",
            Self::Polling => "Broker over long polling",
        }
    }

    fn start(&self, lab: &Lab, audience: &Audience, core: Option<usize>) -> Result<Running> {
        let directory = lab.directory()?.keep();
        let people = broker::people(&directory, audience)?;
        let server = self.serve(lab, &directory, core)?;
        let language = self.language(people, || Http::connect(server.address))?;
        Ok(Running { server, language })
    }
}
