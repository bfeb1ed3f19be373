//! mosquitto: an MQTT 3.1.1 broker, in memory. It uses another transport, with less framing than HTTP.

use serde::{Deserialize, Serialize};

use super::{Answer, Greeting, Language, Publication, Running, Target, Wire, peer};
use crate::crowd::Audience;
use crate::lab::Lab;
use crate::mqtt::{self, Connect, Kind, Level, Message};
use crate::{Result, message};

/// The name of its wire protocol.
pub const WIRE: &str = "mosquitto";
const TOPIC: &str = "news";
/// A packet identifier: any but 0, since a publisher has one publish in flight.
const ID: u16 = 1;

/// The peer that does not speak HTTP.
pub struct Mosquitto {
    /// See [`Target::rate_goals`].
    pub rate_goals: Option<[f64; 2]>,
}

impl Target for Mosquitto {
    fn name(&self) -> &'static str {
        "mosquitto"
    }

    fn rate_goals(&self) -> Option<[f64; 2]> {
        self.rate_goals
    }

    fn start(&self, lab: &Lab, _: &Audience, core: Option<usize>) -> Result<Running> {
        Ok(Running { server: peer::start(self.name(), lab, core)?, language: Language::new(WIRE, &MosquittoWire)? })
    }
}

/// The messages of its clients.
#[derive(Serialize, Deserialize)]
pub struct MosquittoWire;

impl Wire for MosquittoWire {
    fn subscribe(&self, subscriber: usize, out: &mut Vec<u8>) {
        let client = format!("s{subscriber}");
        mqtt::write_connect(Connect { level: Level::V311, client: &client, login: None }, out);
    }

    fn greeted(&self, _: usize, received: &[u8]) -> Result<Greeting> {
        greeted(received, |out| mqtt::write_subscribe(TOPIC, 0, out))
    }

    fn open(&self, publisher: usize, out: &mut Vec<u8>) {
        let client = format!("p{publisher}");
        mqtt::write_connect(Connect { level: Level::V311, client: &client, login: None }, out);
    }

    fn publish(&self, publication: Publication, out: &mut Vec<u8>) {
        let message = Message { level: Level::V311, topic: TOPIC, id: Some(ID), retain: false };
        mqtt::write_message(message, |out| message::write_payload(publication.number, out), out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        acknowledged(received)
    }
}

/// The state of a subscriber, which is let in first and subscribes then.
pub fn greeted(received: &[u8], subscribe: impl FnOnce(&mut Vec<u8>)) -> Result<Greeting> {
    let Some(packet) = mqtt::packet(received)? else { return Ok(Greeting::Incomplete) };
    match packet.kind {
        Kind::ConnAck => {
            let mut words = Vec::new();
            subscribe(&mut words);
            Ok(Greeting::Reply(words))
        }
        Kind::SubAck => Ok(Greeting::Ready(packet.length)),
        Kind::Publish | Kind::PubAck | Kind::PingResp => Err(mqtt::refused(received)),
    }
}

/// What a publisher is told: that it is let in, or that a message is taken.
pub fn acknowledged(received: &[u8]) -> Result<Option<Answer>> {
    let Some(packet) = mqtt::packet(received)? else { return Ok(None) };
    match packet.kind {
        Kind::ConnAck | Kind::PubAck => Ok(Some(Answer::acknowledgement(packet.length))),
        Kind::Publish | Kind::SubAck | Kind::PingResp => Err(mqtt::refused(received)),
    }
}
