//! The servers under measurement, and the wire protocols of their clients.
//!
//! A new server needs a file here with a [`Target`], which starts it, and a [`Wire`], which is its clients' protocol,
//! and a line in each of the two lists below: [`peers`] and [`Language::wire`]. The clients run in separate
//! processes, so a wire is sent as its name and a JSON text, and is built again there.

pub mod broker;
mod durable_streams;
mod mosquitto;
mod nchan;
mod peer;
mod pocketbase;
pub mod raw;

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
            durable_streams::WIRE => Ok(Box::new(self.parameters::<durable_streams::DurableStreamsWire>()?)),
            nchan::WIRE => Ok(Box::new(self.parameters::<nchan::NchanWire>()?)),
            mosquitto::WIRE => Ok(Box::new(self.parameters::<mosquitto::MosquittoWire>()?)),
            pocketbase::WIRE => Ok(Box::new(self.parameters::<pocketbase::PocketBaseWire>()?)),
            other => Err(format!("there is no wire {other}")),
        }
    }

    fn parameters<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.parameters).map_err(|error| format!("wire {}: {error}", self.name))
    }
}

/// The peers that `--peers` adds to the fan-out, and to the inserts if they are durable.
pub fn peers() -> Vec<Box<dyn Target>> {
    vec![
        Box::new(durable_streams::DurableStreams),
        Box::new(nchan::Nchan),
        Box::new(mosquitto::Mosquitto),
        Box::new(pocketbase::PocketBase),
    ]
}

/// The installed peers. The table states the version of each, because a figure means little without it.
pub fn installed(table: &mut Table) -> Result<Vec<Box<dyn Target>>> {
    let mut installed = peers();
    let mut versions = installed.iter().map(|peer| peer::version(peer.name())).collect::<Result<Vec<_>>>()?.into_iter();
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

    /// Appends the request of a publisher before its first publish. [`Wire::acknowledged`] recognizes its answer.
    /// Most servers need none.
    fn open(&self, _publisher: usize, _out: &mut Vec<u8>) {}

    /// Appends the request that publishes.
    fn publish(&self, publication: Publication, out: &mut Vec<u8>);

    /// The length of the acknowledgement at the beginning of the bytes that a publisher received, or `None` if it is
    /// incomplete.
    ///
    /// # Errors
    /// If the server refused it.
    fn acknowledged(&self, received: &[u8]) -> Result<Option<usize>>;

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
