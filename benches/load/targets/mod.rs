//! The servers that are measured, and how their clients speak.
//!
//! A new one is a file here with a [`Target`], which starts it, and a [`Wire`], which is what the clients need to know of
//! it, and a line in each of the two lists below: [`peers`] and [`Language::wire`]. The clients run in processes of their
//! own, so a wire travels as its name and a JSON text and is made anew there.

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
    /// What it is called in the table.
    fn name(&self) -> &'static str;

    /// Whether what it has acknowledged is on disk, so that its inserts can be compared with Broker's.
    fn is_durable(&self) -> bool {
        false
    }

    /// Whether a subscriber stays connected for as long as it likes. Where not, all subscribe anew before each round.
    fn streams_last(&self) -> bool {
        true
    }

    /// Starts it for an audience, ready for its clients, on one core alone where one is given. The process that is started
    /// has to be the server itself: its CPU, and that of the processes that it has started, is what is measured.
    fn start(&self, lab: &Lab, audience: &Audience, core: Option<usize>) -> Result<Running>;
}

/// A target that was started.
pub struct Running {
    /// Its process.
    pub server: Server,
    /// How its clients speak.
    pub language: Language,
}

/// A [`Wire`] on its way to another process.
#[derive(Clone, Serialize, serde::Deserialize)]
pub struct Language {
    name: String,
    parameters: String,
}

impl Language {
    /// Of a wire of this name, which is made of these parameters.
    pub fn new(name: &str, parameters: &impl Serialize) -> Result<Self> {
        let parameters = serde_json::to_string(parameters).map_err(|error| error.to_string())?;
        Ok(Self { name: name.to_owned(), parameters })
    }

    /// The wire.
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

/// The servers beside Broker that `--peers` adds to the fan-out, and to the inserts where they are durable.
pub fn peers() -> Vec<Box<dyn Target>> {
    vec![
        Box::new(durable_streams::DurableStreams),
        Box::new(nchan::Nchan),
        Box::new(mosquitto::Mosquitto),
        Box::new(pocketbase::PocketBase),
    ]
}

/// Those of them that are installed. The table says which version of each that is: a figure is of little use without.
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

/// What clients of a server say. The payload is [`crate::message`]'s and must reach the subscriber as it is, or inside a
/// JSON string; the framing around it may be anything.
pub trait Wire {
    /// Appends what a subscriber sends once it is connected.
    fn subscribe(&self, subscriber: usize, out: &mut Vec<u8>);

    /// What a subscriber makes of what it has received so far.
    ///
    /// # Errors
    /// Where the server refused it.
    fn greeted(&self, subscriber: usize, received: &[u8]) -> Result<Greeting>;

    /// Appends what a publisher sends once it is connected, before its first publish. Its answer is whatever
    /// [`Wire::acknowledged`] takes for one. Most servers want nothing.
    fn open(&self, _publisher: usize, _out: &mut Vec<u8>) {}

    /// Appends the request that publishes.
    fn publish(&self, publication: Publication, out: &mut Vec<u8>);

    /// How long the acknowledgement at the beginning of what a publisher received is; `None` while it is not all there.
    ///
    /// # Errors
    /// Where the server refused it.
    fn acknowledged(&self, received: &[u8]) -> Result<Option<usize>>;

    /// Whether all receive events that are under way together in the same order.
    fn keeps_order(&self) -> bool {
        true
    }
}

/// See [`Wire::greeted`].
pub enum Greeting {
    /// More must arrive.
    Incomplete,
    /// This is to be sent on the same connection, and what was received is done with.
    Reply(Vec<u8>),
    /// This is to be sent on another connection, and once that was acknowledged the subscriber is subscribed.
    Aside(Vec<u8>),
    /// The subscriber is subscribed; so many bytes were the greeting, and what follows is events.
    Ready(usize),
}

/// What is to be published.
#[derive(Clone, Copy)]
pub struct Publication {
    /// Which of the publishers' connections it goes over.
    pub publisher: usize,
    /// Whom it is for.
    pub room: usize,
    /// The number in its payload.
    pub number: u32,
}
