//! A client that publishes, keeps its session, and sends again what was not answered.

use std::collections::VecDeque;

use super::super::super::support::TestServer;
use super::super::super::support::mqtt::{Connect, Mqtt, Packet, packet, property};
use super::TOPICS;

/// How many messages it has unanswered at most: fewer than the server takes.
const WINDOW: usize = 40;

/// Something that was published.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    pub number: u32,
    pub topic: usize,
    pub qos: u8,
    pub retain: bool,
}

struct Unanswered {
    id: u16,
    message: Published,
    /// Whether a PUBREC came.
    is_received: bool,
}

pub struct Publisher {
    client_id: String,
    level: u8,
    mqtt: Option<Mqtt>,
    has_session: bool,
    last_id: u16,
    unanswered: VecDeque<Unanswered>,
    /// Messages of QoS 0 of which it is not known whether they were inserted.
    unsure: Vec<u32>,
}

impl Publisher {
    pub fn new(number: usize) -> Self {
        Self {
            client_id: format!("publisher{number}"),
            level: if number.is_multiple_of(2) { 5 } else { 4 },
            mqtt: None,
            has_session: false,
            last_id: 0,
            unanswered: VecDeque::new(),
            unsure: Vec::new(),
        }
    }

    /// Is connected from now on, and has sent again what was not answered. Returns the messages that may be published twice so.
    pub async fn connect(&mut self, server: &TestServer, token: &str) -> Vec<u32> {
        if self.mqtt.is_some() {
            return Vec::new();
        }
        let properties = match self.level {
            5 => [&[property::SESSION_EXPIRY][..], &u32::MAX.to_be_bytes()].concat(),
            _ => Vec::new(),
        };
        let connect = Connect {
            level: self.level,
            client_id: &self.client_id,
            login: Some(("JWT", token)),
            keeps_session: true,
            properties,
            ..Connect::default()
        };
        let (mut mqtt, connack) = Mqtt::open(server, &connect).await;
        assert_eq!(connack.body[..2], [self.has_session.into(), 0], "{}: Session Present", self.client_id);
        self.has_session = true;
        let mut repeated = Vec::new();
        for Unanswered { id, message, is_received } in &self.unanswered {
            let bytes = if *is_received { packet(0x62, &id.to_be_bytes()) } else { bytes(&mqtt, *message, *id, true) };
            mqtt.send(&bytes).await;
            if message.qos == 1 {
                repeated.push(message.number);
            }
        }
        self.mqtt = Some(mqtt);
        repeated
    }

    /// Publishes, without awaiting an answer.
    pub async fn publish(&mut self, message: Published) {
        if self.unanswered.len() >= WINDOW {
            self.drain().await;
        }
        let mqtt = self.mqtt.as_mut().expect("a connection");
        let mut id = 0;
        if message.qos > 0 {
            self.last_id = self.last_id % 1000 + 1;
            id = self.last_id;
            self.unanswered.push_back(Unanswered { id, message, is_received: false });
        } else {
            self.unsure.push(message.number);
        }
        let bytes = bytes(mqtt, message, id, false);
        mqtt.send(&bytes).await;
    }

    /// Whether something is on its way.
    pub fn is_busy(&self) -> bool {
        !self.unanswered.is_empty() || !self.unsure.is_empty()
    }

    /// Awaits that everything is published that was sent. It must be connected.
    pub async fn drain(&mut self) {
        while !self.unanswered.is_empty() {
            let packet = self.mqtt.as_mut().expect("a connection").packet().await.expect("an answer");
            if let Some(release) = self.answered(&packet) {
                self.mqtt.as_mut().unwrap().send(&release).await;
            }
        }
        if !self.unsure.is_empty() {
            // Answers come in order, so this one, which is no event, comes once the messages of QoS 0 are committed.
            let mqtt = self.mqtt.as_mut().expect("a connection");
            let nothing = mqtt.publish_bytes(("$none", b""), 1, false, u16::MAX, &[]);
            mqtt.send(&nothing).await;
            assert_eq!(mqtt.packet().await.expect("a PUBACK").first, 0x40);
            self.unsure.clear();
        }
    }

    /// Takes an answer. Returns a PUBREL that is to be sent.
    fn answered(&mut self, Packet { first, body }: &Packet) -> Option<Vec<u8>> {
        let id = u16::from_be_bytes([body[0], body[1]]);
        let reason = body.get(2).copied().unwrap_or_default();
        let at = self.unanswered.iter().position(|one| one.id == id).expect("a message");
        match first {
            0x40 | 0x50 => {
                assert_eq!(reason, 0, "{}: refused", self.client_id);
                let qos = if *first == 0x40 { 1 } else { 2 };
                // MQTT 5.0, 4.6.0-2 and 4.6.0-3.
                let first = self.unanswered.iter().position(|one| one.message.qos == qos && !one.is_received);
                assert_eq!(first, Some(at), "{}: answers out of order", self.client_id);
            }
            _ => {}
        }
        match first {
            0x50 => {
                self.unanswered[at].is_received = true;
                return Some(packet(0x62, &id.to_be_bytes()));
            }
            0x40 | 0x70 => drop(self.unanswered.remove(at)),
            _ => panic!("{}: {first:#x}", self.client_id),
        }
        None
    }

    /// Its connection is lost; if the server has ended, it still reads what has come.
    pub async fn lose(&mut self, server_has_ended: bool) -> Vec<u32> {
        if let Some(mut mqtt) = self.mqtt.take()
            && server_has_ended
        {
            for packet in mqtt.rest().await {
                if packet.first & 0xF0 != 0xE0 {
                    self.answered(&packet);
                }
            }
        }
        std::mem::take(&mut self.unsure)
    }
}

fn bytes(mqtt: &Mqtt, Published { number, topic, qos, retain }: Published, id: u16, dup: bool) -> Vec<u8> {
    let mut bytes = mqtt.publish_bytes((TOPICS[topic], number.to_string().as_bytes()), qos, retain, id, &[]);
    bytes[0] |= u8::from(dup) << 3;
    bytes
}
