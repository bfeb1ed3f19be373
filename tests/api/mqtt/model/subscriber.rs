//! A client that subscribes, as the specification has it, and what it must have got.

use std::collections::{BTreeMap, HashSet};

use super::super::super::support::TestServer;
use super::super::super::support::mqtt::{Connect, Message, Mqtt, packet, property};
use super::{FILTERS, TOPICS};

/// Something that was published.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    pub number: u32,
    pub topic: usize,
    pub qos: u8,
}

/// A message that a client was to get, with the QoS that it comes with.
#[derive(Clone, Copy, Debug)]
struct Due {
    number: u32,
    topic: usize,
    qos: u8,
    /// Whether it must come.
    must: bool,
}

pub struct Subscriber {
    client_id: String,
    level: u8,
    keeps: bool,
    /// `None` while it is away.
    pub mqtt: Option<Mqtt>,
    /// With which QoS, by filter.
    subscriptions: BTreeMap<usize, u8>,
    due: Vec<Due>,
    got: Vec<(u32, usize, u8)>,
    /// Messages of QoS 2 that were taken and are not released.
    unreleased: HashSet<u16>,
    token: String,
}

impl Subscriber {
    pub fn new(number: usize, keeps: bool, token: &str) -> Self {
        Self {
            client_id: format!("subscriber{number}"),
            level: if number.is_multiple_of(2) { 5 } else { 4 },
            keeps,
            mqtt: None,
            subscriptions: BTreeMap::new(),
            due: Vec::new(),
            got: Vec::new(),
            unreleased: HashSet::new(),
            token: token.to_owned(),
        }
    }

    pub async fn connect(&mut self, server: &TestServer) {
        let mut properties = Vec::new();
        if self.level == 5 && self.keeps {
            properties = [&[property::SESSION_EXPIRY][..], &u32::MAX.to_be_bytes()].concat();
        }
        let connect = Connect {
            level: self.level,
            client_id: &self.client_id,
            login: Some(("JWT", &self.token)),
            keeps_session: self.keeps,
            properties,
            ..Connect::default()
        };
        let (mqtt, connack) = Mqtt::open(server, &connect).await;
        assert_eq!(connack.body[1], 0, "{connack:?}");
        if !self.keeps {
            self.forget();
        }
        // What came on the connection before, and was not read, is lost; it may come again.
        self.lose();
        self.mqtt = Some(mqtt);
    }

    /// It is away, without having read what was on its way.
    pub fn disconnect(&mut self) {
        self.mqtt = None;
        if self.keeps { self.lose() } else { self.forget() }
    }

    /// Messages of QoS 0 that were on their way need not come any more.
    fn lose(&mut self) {
        self.due.iter_mut().filter(|due| due.qos == 0).for_each(|due| due.must = false);
    }

    /// It has no session any more.
    fn forget(&mut self) {
        self.subscriptions.clear();
        self.unreleased.clear();
        self.due.iter_mut().for_each(|due| due.must = false);
    }

    /// Something is published.
    pub fn publish(&mut self, Published { number, topic, qos }: Published) {
        let matches = |filter: &usize| is_match(FILTERS[*filter], TOPICS[topic]);
        let Some(granted) = self.subscriptions.iter().filter(|(filter, _)| matches(filter)).map(|(_, qos)| *qos).max()
        else {
            return;
        };
        let qos = qos.min(granted);
        // Nobody keeps messages of QoS 0 for a client that is away.
        if self.mqtt.is_some() || (qos > 0 && self.keeps) {
            self.due.push(Due { number, topic, qos, must: true });
        }
    }

    pub async fn subscribe(&mut self, filter: usize, qos: u8) {
        let Some(mut mqtt) = self.mqtt.take() else { return };
        // Nothing is retained in this model, so that nothing is given at once.
        assert_eq!(mqtt.subscribe(&[(FILTERS[filter], qos)]).await, [qos]);
        self.subscriptions.insert(filter, qos);
        self.mqtt = Some(mqtt);
    }

    pub async fn unsubscribe(&mut self, filter: usize) {
        let Some(mut mqtt) = self.mqtt.take() else { return };
        mqtt.unsubscribe(&[FILTERS[filter]]).await;
        if self.subscriptions.remove(&filter).is_some() {
            // What was on its way may come or not.
            let left: Vec<_> = self.subscriptions.keys().map(|filter| FILTERS[*filter]).collect();
            let is_wanted = |due: &Due| left.iter().any(|filter| is_match(filter, TOPICS[due.topic]));
            self.due.iter_mut().filter(|due| !is_wanted(due)).for_each(|due| due.must = false);
        }
        self.mqtt = Some(mqtt);
    }

    /// Reads and answers so many packets, if there are as many.
    pub async fn read(&mut self, packets: usize) {
        let Some(mut mqtt) = self.mqtt.take() else { return };
        // A PINGRESP comes after everything that was on its way.
        mqtt.send(&[0xC0, 0]).await;
        let mut read = 0;
        loop {
            let packet_in = mqtt.packet().await.expect("a connection");
            match packet_in.first {
                0xD0 => break,
                0x62 => {
                    let id = u16::from_be_bytes([packet_in.body[0], packet_in.body[1]]);
                    self.unreleased.remove(&id);
                    mqtt.send(&packet(0x70, &id.to_be_bytes())).await;
                }
                _ => {
                    let message = mqtt.as_message(&packet_in).unwrap_or_else(|| panic!("{packet_in:?}"));
                    // The rest is read, and not acknowledged.
                    self.take(&mut mqtt, &message, read < packets).await;
                    read += 1;
                }
            }
        }
        self.mqtt = Some(mqtt);
    }

    async fn take(&mut self, mqtt: &mut Mqtt, message: &Message, acknowledges: bool) {
        let number = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        let topic = TOPICS.iter().position(|topic| *topic == message.topic).unwrap();
        match (message.qos, message.id) {
            (2, Some(id)) => {
                if self.unreleased.insert(id) {
                    self.got.push((number, topic, 2));
                }
                if acknowledges {
                    mqtt.send(&packet(0x50, &id.to_be_bytes())).await;
                }
            }
            (qos, id) => {
                self.got.push((number, topic, qos));
                if let Some(id) = id.filter(|_| acknowledges) {
                    mqtt.acknowledge(id).await;
                }
            }
        }
    }

    /// Compares it with the model, once everything that must come has come.
    pub async fn settle(&mut self) {
        if self.mqtt.is_none() {
            return;
        }
        for _ in 0..2_000 {
            self.read(usize::MAX).await;
            let missing = self.missing();
            if missing.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(self.missing().is_empty(), "{} misses {:?}", self.client_id, self.missing());
        self.compare();
    }

    fn missing(&self) -> Vec<Due> {
        let has = |due: &Due| self.got.iter().any(|(number, ..)| *number == due.number);
        self.due.iter().filter(|due| due.must && !has(due)).copied().collect()
    }

    fn compare(&self) {
        let who = &self.client_id;
        for (topic, name) in TOPICS.iter().enumerate() {
            for qos in 0..3 {
                let got: Vec<_> = self
                    .got
                    .iter()
                    .filter(|(_, of, with)| (*of, *with) == (topic, qos))
                    .map(|(number, ..)| *number)
                    .collect();
                let mut first = Vec::new();
                for number in &got {
                    if !first.contains(number) {
                        first.push(*number);
                    }
                }
                assert!(first.is_sorted(), "{who}: QoS {qos} of {name} out of order: {got:?}");
                assert!(qos == 1 || first.len() == got.len(), "{who}: QoS {qos} of {name} twice: {got:?}");
                for number in first {
                    let due = self.due.iter().find(|due| due.number == number);
                    let due = due.unwrap_or_else(|| panic!("{who}: {number} was not for it"));
                    // A subscription may have been changed while it was on its way.
                    assert!(qos <= 2 && due.topic == topic, "{who}: {due:?}");
                }
            }
        }
    }
}

/// Whether a filter of the table matches a topic of the table.
fn is_match(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (filter.split_once('/'), topic.split_once('/').unwrap());
    let Some((first, second)) = filter else { return true };
    (first == "+" || first == topic.0) && (second == "#" || second == "+" || second == topic.1)
}
