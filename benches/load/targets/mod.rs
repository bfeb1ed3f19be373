//! The servers that are measured, and how their clients speak.
//!
//! A new one is a file here with a [`Target`], which starts it, and a [`Wire`], which is what the clients need to know of
//! it, and a line in each of the two lists below: [`peers`] and [`Language::wire`]. The clients run in processes of their
//! own, so a wire travels as its name and a JSON text and is made anew there.

pub mod broker;
pub mod raw;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::server::Server;

/// A server that can be started.
pub trait Target {
    /// What it is called in the table.
    fn name(&self) -> &'static str;

    /// Whether what it has acknowledged is on disk, so that its inserts can be compared with Broker's.
    fn is_durable(&self) -> bool {
        false
    }

    /// Starts it for an audience, ready for its clients, on one core alone where one is given. The process that is started
    /// has to be the server itself, in one process: its CPU is what is measured.
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
            other => Err(format!("there is no wire {other}")),
        }
    }

    fn parameters<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.parameters).map_err(|error| format!("wire {}: {error}", self.name))
    }
}

/// The servers beside Broker that `--peers` adds to the fan-out, and to the inserts where they are durable.
pub fn peers() -> Vec<Box<dyn Target>> {
    Vec::new()
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
}

/// See [`Wire::greeted`].
pub enum Greeting {
    /// More must arrive.
    Incomplete,
    /// This is to be sent on the same connection, and what was received is done with.
    #[expect(dead_code, reason = "for wires that want a second word, such as MQTT over WebSocket")]
    Reply(Vec<u8>),
    /// This is to be sent on a connection of its own, and once that was acknowledged the subscriber is subscribed.
    #[expect(dead_code, reason = "for wires that subscribe by a request beside the stream, such as PocketBase's")]
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
