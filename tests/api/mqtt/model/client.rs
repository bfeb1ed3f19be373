//! A client that reads and acknowledges as the specification has it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::super::super::support::TestServer;
use super::super::super::support::mqtt::{Connect, Mqtt, Packet, packet, property};
use super::TOPICS;

/// A message that came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub number: u32,
    pub topic: usize,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub id: Option<u16>,
    /// Whether it is one of QoS 2 that the client has had and not seen released, so that it is no new one.
    pub is_again: bool,
    /// Whether the server has seen, before it came, that it was acknowledged.
    pub is_done: bool,
}

/// What is to be acknowledged, and of QoS 1 which message that is.
type Due = (Vec<u8>, Option<Key>);
/// A message, and whether it came as a retained one.
pub type Key = (u32, bool);

pub struct ModelClient {
    pub id: String,
    level: u8,
    pub keeps: bool,
    /// How many messages it takes unacknowledged; only clients of MQTT 5 can say so.
    receive_maximum: Option<u16>,
    token: String,
    /// `None` while it is away.
    mqtt: Option<Mqtt>,
    /// Which connection this is.
    pub connection: u32,
    /// Whether a session of it is known to the server.
    has_session: bool,
    to_acknowledge: VecDeque<Due>,
    /// What was acknowledged, by messages of QoS 1.
    pub acknowledged: HashSet<Key>,
    /// The same, of this connection, of those that the server may not have seen.
    unconfirmed: Vec<Key>,
    /// Whose acknowledgement the server has seen.
    pub seen_by_server: HashSet<Key>,
    /// Messages of QoS 2 that were taken and are not released, by packet identifier.
    unreleased: HashMap<u16, u32>,
}

impl ModelClient {
    pub fn new(id: String, level: u8, keeps: bool, receive_maximum: Option<u16>, token: &str) -> Self {
        Self {
            id,
            level,
            keeps,
            receive_maximum,
            token: token.to_owned(),
            mqtt: None,
            connection: 0,
            has_session: false,
            to_acknowledge: VecDeque::new(),
            acknowledged: HashSet::new(),
            unconfirmed: Vec::new(),
            seen_by_server: HashSet::new(),
            unreleased: HashMap::new(),
        }
    }

    pub fn is_there(&self) -> bool {
        self.mqtt.is_some()
    }

    /// Connects, if need be in its own place. What was not read on the connection before is lost.
    pub async fn connect(&mut self, server: &TestServer) {
        let mut properties = Vec::new();
        if self.level == 5 && self.keeps {
            properties.extend([&[property::SESSION_EXPIRY][..], &u32::MAX.to_be_bytes()].concat());
        }
        if let Some(maximum) = self.receive_maximum {
            properties.extend([&[property::RECEIVE_MAXIMUM][..], &maximum.to_be_bytes()].concat());
        }
        let connect = Connect {
            level: self.level,
            client_id: &self.id,
            login: Some(("JWT", &self.token)),
            keeps_session: self.keeps,
            properties,
            ..Connect::default()
        };
        let (mqtt, connack) = Mqtt::open(server, &connect).await;
        assert_eq!(connack.body[..2], [self.has_session.into(), 0], "{}: Session Present and the code", self.id);
        self.leave();
        self.has_session = self.keeps;
        self.connection += 1;
        self.mqtt = Some(mqtt);
    }

    /// Goes with a DISCONNECT.
    pub async fn say_goodbye(&mut self) {
        if let Some(mqtt) = &mut self.mqtt {
            mqtt.send(&[0xE0, 0]).await;
        }
        self.leave();
    }

    /// Is away, without having read what was on its way.
    pub fn leave(&mut self) {
        self.mqtt = None;
        self.to_acknowledge.clear();
        self.unconfirmed.clear();
        if !self.keeps {
            self.unreleased.clear();
            self.acknowledged.clear();
            self.seen_by_server.clear();
        }
    }

    /// The server has ended, so that nothing more comes than what has come. Returns that, and is away.
    pub async fn rest(&mut self) -> Vec<Arrival> {
        let Some(mut mqtt) = self.mqtt.take() else { return Vec::new() };
        let rest = mqtt.rest().await;
        let arrivals = rest.iter().filter_map(|packet| self.take(&mqtt, packet)).collect();
        self.leave();
        arrivals
    }

    /// The connection, for what is asked for by hand.
    pub fn mqtt(&mut self) -> Option<&mut Mqtt> {
        self.mqtt.as_mut()
    }

    /// Reads all that has come, and makes so many acknowledgements, in order. The server has seen them when this returns.
    pub async fn read(&mut self, acks: usize) -> Vec<Arrival> {
        let Some(mut mqtt) = self.mqtt.take() else { return Vec::new() };
        let (mut arrivals, mut left) = (Vec::new(), acks);
        // What is acknowledged brings more; the second PINGRESP comes after all acknowledgements were looked at.
        for _ in 0..2 {
            mqtt.send(&[0xC0, 0]).await;
            loop {
                let packet = mqtt.packet().await.expect("a connection");
                if packet.first == 0xD0 {
                    break;
                }
                arrivals.extend(self.take(&mqtt, &packet));
            }
            self.acknowledge(&mut mqtt, &mut left).await;
        }
        mqtt.send(&[0xC0, 0]).await;
        loop {
            let packet = mqtt.packet().await.expect("a connection");
            if packet.first == 0xD0 {
                break;
            }
            arrivals.extend(self.take(&mqtt, &packet));
        }
        self.seen_by_server.extend(self.unconfirmed.drain(..));
        self.mqtt = Some(mqtt);
        arrivals
    }

    /// Reads what is there now, and acknowledges it without looking whether the server sees that.
    pub async fn sip(&mut self) -> Vec<Arrival> {
        let Some(mut mqtt) = self.mqtt.take() else { return Vec::new() };
        let mut arrivals = Vec::new();
        while let Ok(packet) = tokio::time::timeout(Duration::from_micros(200), mqtt.packet()).await {
            arrivals.extend(self.take(&mqtt, &packet.expect("a connection")));
            self.acknowledge(&mut mqtt, &mut { usize::MAX }).await;
        }
        self.mqtt = Some(mqtt);
        arrivals
    }

    async fn acknowledge(&mut self, mqtt: &mut Mqtt, left: &mut usize) {
        while *left > 0
            && let Some((bytes, message)) = self.to_acknowledge.pop_front()
        {
            *left -= 1;
            mqtt.send(&bytes).await;
            self.acknowledged.extend(message);
            self.unconfirmed.extend(message);
        }
    }

    fn take(&mut self, mqtt: &Mqtt, packet_in: &Packet) -> Option<Arrival> {
        match packet_in.first {
            0x62 => {
                let id = u16::from_be_bytes([packet_in.body[0], packet_in.body[1]]);
                self.unreleased.remove(&id);
                self.to_acknowledge.push_back((packet(0x70, &id.to_be_bytes()), None));
                return None;
            }
            // It stops, or has had enough of an older connection.
            0xE0 | 0xD0 => return None,
            _ => {}
        }
        let message = mqtt.as_message(packet_in).unwrap_or_else(|| panic!("{}: {packet_in:?}", self.id));
        let number = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        let topic = TOPICS.iter().position(|topic| *topic == message.topic).unwrap();
        let (qos, retain, dup, id) = (message.qos, message.retain, message.dup, message.id);
        let is_done = self.seen_by_server.contains(&(number, retain));
        let mut arrival = Arrival { number, topic, qos, retain, dup, id, is_again: false, is_done };
        match id {
            None => {}
            Some(id) if qos == 2 => {
                if let Some(before) = self.unreleased.insert(id, number) {
                    assert_eq!(before, number, "{}: a packet identifier was given away again: {arrival:?}", self.id);
                    assert!(dup, "{}: sent again without DUP: {arrival:?}", self.id);
                    arrival.is_again = true;
                }
                self.to_acknowledge.push_back((packet(0x50, &id.to_be_bytes()), None));
            }
            Some(id) => {
                // It counts again from now on.
                self.acknowledged.remove(&(number, retain));
                self.to_acknowledge.push_back((packet(0x40, &id.to_be_bytes()), Some((number, retain))));
            }
        }
        Some(arrival)
    }

    /// The server was killed, and may have forgotten acknowledgements of QoS 1.
    pub fn forget_acknowledged(&mut self) {
        self.seen_by_server.clear();
    }
}
