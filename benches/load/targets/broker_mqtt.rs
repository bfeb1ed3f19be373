//! Broker's MQTT. Subscribers speak MQTT 3.1.1, as the peer's do; publishers speak MQTT 5, in which a PUBACK says whether the
//! message was taken.

use serde::{Deserialize, Serialize};

use super::broker::BrokerWire;
use super::{Answer, Greeting, Publication, Wire, mosquitto};
use crate::crowd::Rooms;
use crate::mqtt::{self, Connect, Kind, Level, Message};
use crate::{Result, message};

/// The name of the wire protocol.
pub const WIRE: &str = "broker-mqtt";
/// The username of clients whose password is a token.
const BY_TOKEN: &str = "JWT";
/// How many messages of a publisher may be unacknowledged, if they are stored for good.
pub const PIPELINE: usize = 16;

/// What the clients do.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Task {
    /// Subscribers receive messages that are not retained.
    Deliver {
        /// The QoS of the subscriptions. Messages are published with QoS 1.
        qos: u8,
        /// Whether the filters have wildcards.
        by_wildcards: bool,
    },
    /// Publishers have retained messages stored, several at a time.
    Insert,
}

impl Task {
    /// Subscribers of exact names that receive messages with this QoS.
    pub const fn deliver(qos: u8) -> Self {
        Self::Deliver { qos, by_wildcards: false }
    }
}

/// The messages of its clients.
#[derive(Serialize, Deserialize)]
pub struct MqttWire {
    people: BrokerWire,
    task: Task,
}

impl MqttWire {
    /// The wire of these users.
    pub fn new(people: BrokerWire, task: Task) -> Self {
        Self { people, task }
    }

    fn write_connect(&self, level: Level, client: &str, user: usize, out: &mut Vec<u8>) {
        let token = &self.people.tokens[user % self.people.tokens.len()];
        mqtt::write_connect(Connect { level, client, login: Some((BY_TOKEN, token)) }, out);
    }

    fn write_subscribe(&self, subscriber: usize, out: &mut Vec<u8>) {
        let (qos, by_wildcards) = match self.task {
            Task::Deliver { qos, by_wildcards } => (qos, by_wildcards),
            Task::Insert => (0, false),
        };
        let filter = match self.people.audience.by {
            Rooms::Tenants => "name0".to_owned(),
            Rooms::Names if by_wildcards => format!("name{}/#", self.people.audience.room_of(subscriber)),
            Rooms::Names => topic_of(self.people.audience.room_of(subscriber)),
        };
        mqtt::write_subscribe(&filter, qos, out);
    }
}

/// The topic of a room that is not a tenant.
fn topic_of(room: usize) -> String {
    format!("name{room}/inbox")
}

impl Wire for MqttWire {
    fn subscribe(&self, subscriber: usize, out: &mut Vec<u8>) {
        self.write_connect(Level::V311, &format!("s{subscriber}"), subscriber, out);
    }

    fn greeted(&self, subscriber: usize, received: &[u8]) -> Result<Greeting> {
        mosquitto::greeted(received, |out| self.write_subscribe(subscriber, out))
    }

    fn keep_alive(&self) -> Option<Vec<u8>> {
        let mut words = Vec::new();
        mqtt::write_ping(&mut words);
        Some(words)
    }

    fn has_units(&self) -> bool {
        matches!(self.task, Task::Deliver { qos: 1.., .. })
    }

    fn unit(&self, _: usize, received: &[u8], content: &mut Vec<u8>, reply: &mut Vec<u8>) -> Result<Option<usize>> {
        let Some(packet) = mqtt::packet(received)? else { return Ok(None) };
        match packet.kind {
            Kind::Publish => {
                content.extend_from_slice(packet.body);
                packet.write_ack(reply)?;
            }
            Kind::PingResp => {}
            Kind::ConnAck | Kind::PubAck | Kind::SubAck => return Err(mqtt::refused(received)),
        }
        Ok(Some(packet.length))
    }

    fn open(&self, publisher: usize, out: &mut Vec<u8>) {
        self.write_connect(Level::V5, &format!("p{publisher}"), publisher, out);
    }

    fn pipeline(&self) -> usize {
        if let Task::Insert = self.task { PIPELINE } else { 1 }
    }

    fn publish(&self, Publication { room, number, .. }: Publication, out: &mut Vec<u8>) {
        let topic = match self.people.audience.by {
            Rooms::Tenants => format!("name{}", number % self.people.names),
            Rooms::Names => topic_of(room),
        };
        // Those of one publisher that are in flight together differ.
        let id = u16::try_from(1 + number % u32::from(u16::MAX)).ok();
        let retain = matches!(self.task, Task::Insert);
        let message = Message { level: Level::V5, topic: &topic, id, retain };
        mqtt::write_message(message, |out| message::write_payload(number, out), out);
    }

    fn acknowledged(&self, received: &[u8]) -> Result<Option<Answer>> {
        mosquitto::acknowledged(received)
    }
}
