//! The servers under measurement, and the wire protocols of their clients.
//!
//! A new server needs a file here with a [`Target`], which starts it, and a [`Wire`], which is its clients' protocol,
//! and a line in each of the two lists below: [`peers`] and [`Language::wire`]. The clients run in separate
//! processes, so a wire is sent as its name and a JSON text, and is built again there.

pub mod broker;
pub mod broker_mqtt;
pub mod broker_v1;
pub mod doors;
mod durable_streams;
mod mosquitto;
mod mosquitto_websocket;
mod nchan;
mod peer;
mod pocketbase;
pub mod raw;
pub mod socket_io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::server::Server;
use crate::table::{Row, Table};

/// A server that can be started.
pub trait Target {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Its name in `benches/peers`, if it is one of those.
    fn package(&self) -> &'static str {
        self.name()
    }

    /// How many times its deliveries per second Broker has to make, if that is a goal: with one publish in flight, and with
    /// sixteen.
    fn rate_goals(&self) -> Option<[f64; 2]> {
        None
    }

    /// Whether an acknowledged publish is on disk, so that its inserts are comparable with Broker's.
    fn is_durable(&self) -> bool {
        false
    }

    /// Whether a subscriber can stay connected without limit. If not, all subscribers connect again before each
    /// round.
    fn streams_last(&self) -> bool {
        true
    }

    /// Starts the server for an audience, ready for its clients, pinned to a core if one is given. The started
    /// process has to be the server itself, because the CPU of this process and its children is measured.
    fn start(&self, lab: &Lab, audience: &Audience, core: Option<usize>) -> Result<Running>;
}

/// A started target.
pub struct Running {
    /// Its process.
    pub server: Server,
    /// The protocol of its clients.
    pub language: Language,
}

/// A [`Wire`] in the form in which it is sent to another process.
#[derive(Clone, Serialize, serde::Deserialize)]
pub struct Language {
    name: String,
    parameters: String,
}

impl Language {
    /// Describes the wire of this name with these parameters.
    pub fn new(name: &str, parameters: &impl Serialize) -> Result<Self> {
        let parameters = serde_json::to_string(parameters).map_err(|error| error.to_string())?;
        Ok(Self { name: name.to_owned(), parameters })
    }

    /// Builds the wire.
    pub fn wire(&self) -> Result<Box<dyn Wire>> {
        match self.name.as_str() {
            broker::WIRE => Ok(Box::new(self.parameters::<broker::BrokerWire>()?)),
            raw::WIRE => Ok(Box::new(self.parameters::<raw::RawWire>()?)),
            broker_mqtt::WIRE => Ok(Box::new(self.parameters::<broker_mqtt::MqttWire>()?)),
            broker_v1::WIRE => Ok(Box::new(self.parameters::<broker_v1::BrokerV1Wire>()?)),
            durable_streams::WIRE => Ok(Box::new(self.parameters::<durable_streams::DurableStreamsWire>()?)),
            nchan::WIRE => Ok(Box::new(self.parameters::<nchan::NchanWire>()?)),
            mosquitto::WIRE => Ok(Box::new(self.parameters::<mosquitto::MosquittoWire>()?)),
            mosquitto_websocket::WIRE => {
                Ok(Box::new(self.parameters::<mosquitto_websocket::MosquittoWebSocketWire>()?))
            }
            socket_io::WEBSOCKET_WIRE => Ok(Box::new(self.parameters::<socket_io::WebSocketWire>()?)),
            socket_io::POLLING_WIRE => Ok(Box::new(self.parameters::<socket_io::PollingWire>()?)),
            pocketbase::WIRE => Ok(Box::new(self.parameters::<pocketbase::PocketBaseWire>()?)),
            other => Err(format!("there is no wire {other}")),
        }
    }

    fn parameters<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.parameters).map_err(|error| format!("wire {}: {error}", self.name))
    }
}

/// The peers that `--peers` adds to the fan-out over SSE, and to the inserts if they are durable.
pub fn peers() -> Vec<Box<dyn Target>> {
    vec![
        Box::new(durable_streams::DurableStreams),
        Box::new(nchan::Nchan),
        Box::new(mosquitto::Mosquitto { rate_goals: None }),
        Box::new(pocketbase::PocketBase),
    ]
}

/// The peers that `--peers` adds to the fan-out over WebSocket.
pub fn websocket_peers() -> Vec<Box<dyn Target>> {
    vec![Box::new(mosquitto_websocket::MosquittoWebSocket), Box::new(socket_io::OverWebSocket)]
}

/// The peers that `--peers` adds to the fan-out over MQTT.
pub fn mqtt_peers() -> Vec<Box<dyn Target>> {
    vec![Box::new(mosquitto::Mosquitto { rate_goals: Some([3.0, 10.0]) })]
}

/// The peers that `--peers` adds to long polling.
pub fn polling_peers() -> Vec<Box<dyn Target>> {
    vec![Box::new(socket_io::Polling)]
}

/// Those that are installed. The table states the version of each, because a figure means little without it.
pub fn installed(peers: Vec<Box<dyn Target>>, table: &mut Table) -> Result<Vec<Box<dyn Target>>> {
    let mut installed = peers;
    let mut versions =
        installed.iter().map(|peer| peer::version(peer.package())).collect::<Result<Vec<_>>>()?.into_iter();
    installed.retain(|peer| {
        let version = versions.next().flatten();
        let is_there = version.is_some();
        let version = version.unwrap_or_else(|| "not installed, so left out: see benches/peers/README.md".to_owned());
        table.add(Row::new(format!("peer: {}", peer.name()), version));
        is_there
    });
    Ok(installed)
}

/// The messages of a server's clients. The payload is [`crate::message`]'s and must reach the subscriber unchanged,
/// or inside a JSON string. The framing around it may be anything.
pub trait Wire {
    /// Appends the first request of a subscriber.
    fn subscribe(&self, subscriber: usize, out: &mut Vec<u8>);

    /// Interprets the bytes that a subscriber has received so far.
    ///
    /// # Errors
    /// If the server refused it.
    fn greeted(&self, subscriber: usize, received: &[u8]) -> Result<Greeting>;

    /// What a subscriber sends every few seconds so that the server does not take it for lost. Most servers need nothing.
    fn keep_alive(&self) -> Option<Vec<u8>> {
        None
    }

    /// Whether a subscriber reads what follows its greeting by [`Wire::unit`], because it has to answer, or because the marks are not
    /// to be seen in the bytes as they come.
    fn has_units(&self) -> bool {
        false
    }

    /// The length of the first whole unit that a subscriber received, or `None` if it is incomplete. Appends what it contains,
    /// and what the subscriber has to send now.
    ///
    /// # Errors
    /// If the server refused the subscriber, or the unit is malformed.
    fn unit(
        &self,
        _subscriber: usize,
        _received: &[u8],
        _content: &mut Vec<u8>,
        _reply: &mut Vec<u8>,
    ) -> Result<Option<usize>> {
        Ok(None)
    }

    /// Appends the request of a publisher before its first publish. Most servers need none.
    fn open(&self, _publisher: usize, _out: &mut Vec<u8>) {}

    /// Interprets the answer to [`Wire::open`] as [`Wire::greeted`] does for subscribers.
    ///
    /// # Errors
    /// If the server refused it.
    fn opened(&self, _publisher: usize, received: &[u8]) -> Result<Greeting> {
        Ok(self.acknowledged(received)?.map_or(Greeting::Incomplete, |answer| Greeting::Ready(answer.length)))
    }

    /// How many publishes of one publisher may be unanswered.
    fn pipeline(&self) -> usize {
        1
    }

    /// Appends the request that publishes.
    fn publish(&self, publication: Publication, out: &mut Vec<u8>);

    /// What the server said to a publisher first in these bytes, or `None` if that is incomplete.
    ///
    /// # Errors
    /// If the server refused a publish.
    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>>;

    /// Whether all subscribers receive events that are in flight together in the same order.
    fn keeps_order(&self) -> bool {
        true
    }
}

/// The state of a subscriber's greeting: see [`Wire::greeted`].
pub enum Greeting {
    /// More must arrive.
    Incomplete,
    /// Send this on the same connection; the received bytes are handled.
    Reply(Vec<u8>),
    /// Send this on another connection. When it is acknowledged, the subscriber is subscribed.
    Elsewhere(Vec<u8>),
    /// The subscriber is subscribed. This many bytes were the greeting, and events follow.
    Ready(usize),
}

/// What a server says to a publisher.
pub struct Answer {
    /// The number of its bytes.
    pub length: usize,
    /// Whether it acknowledges a publish.
    pub acknowledges: bool,
}

impl Answer {
    /// An acknowledgement of this many bytes.
    pub fn acknowledgement(length: usize) -> Self {
        Self { length, acknowledges: true }
    }
}

/// A publish.
#[derive(Clone, Copy)]
pub struct Publication {
    /// The publisher that sends it.
    pub publisher: usize,
    /// The room that receives it.
    pub room: usize,
    /// The number in its payload.
    pub number: u32,
}
