//! A client that subscribes, and what it must have got.

use std::collections::{BTreeMap, HashMap};

use super::super::super::support::TestServer;
use super::client::{Arrival, ModelClient};
use super::publisher::Published;
use super::{FILTERS, TOPICS, is_match};

/// A message that a client was to get when it was published.
#[derive(Clone, Copy, Debug)]
struct Due {
    number: u32,
    topic: usize,
    /// With which QoS it was published.
    published: u8,
    /// The QoS that it may come with: more than one if a subscription changed before it came.
    with: [bool; 3],
    /// Whether it must come.
    must: bool,
    /// Whether it may have been published more than once.
    is_repeated: bool,
}

/// A retained message that a subscription begins with.
#[derive(Clone, Copy, Debug)]
struct Retained {
    number: u32,
    topic: usize,
    qos: u8,
    must: bool,
    has_come: bool,
}

/// How a message came last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    qos: u8,
    id: Option<u16>,
    /// Its place among all that came, when it came first.
    place: usize,
    connection: u32,
    kills: u32,
}

pub struct Subscriber {
    pub client: ModelClient,
    /// With which QoS, by filter.
    subscriptions: BTreeMap<usize, u8>,
    due: Vec<Due>,
    retained: Vec<Retained>,
    seen: HashMap<u32, Seen>,
    /// How many messages came.
    places: usize,
    /// The greatest message of each topic and QoS that came.
    greatest: HashMap<(usize, u8), u32>,
    /// Up to which place messages were sent again on this connection.
    resent: (u32, usize),
    /// How often the server was killed.
    kills: u32,
}

impl Subscriber {
    pub fn new(client: ModelClient) -> Self {
        Self {
            client,
            subscriptions: BTreeMap::new(),
            due: Vec::new(),
            retained: Vec::new(),
            seen: HashMap::new(),
            places: 0,
            greatest: HashMap::new(),
            resent: (0, 0),
            kills: 0,
        }
    }

    pub async fn connect(&mut self, server: &TestServer) {
        self.client.connect(server).await;
        self.lose();
    }

    pub async fn disconnect(&mut self, says: bool) {
        if says {
            self.client.say_goodbye().await;
        } else {
            self.client.leave();
        }
        self.lose();
    }

    /// What was on its way to it is lost, or comes again.
    fn lose(&mut self) {
        if self.client.keeps {
            self.due.iter_mut().filter(|due| due.with[0]).for_each(|due| due.must = false);
            self.retained.iter_mut().filter(|retained| retained.qos == 0).for_each(|retained| retained.must = false);
        } else {
            self.subscriptions.clear();
            self.due.clear();
            self.retained.clear();
            self.seen.clear();
            self.greatest.clear();
        }
    }

    /// The server has ended.
    pub async fn cut(&mut self, kill: bool) {
        for arrival in self.client.rest().await {
            self.take(arrival);
        }
        if kill {
            self.kills += 1;
            self.client.forget_acknowledged();
        }
        self.lose();
    }

    /// Which QoS a message comes with, as it is subscribed now.
    fn granted(&self, topic: usize) -> Option<u8> {
        let matching = self.subscriptions.iter().filter(|(filter, _)| is_match(FILTERS[**filter], TOPICS[topic]));
        matching.map(|(_, qos)| *qos).max()
    }

    /// Something is sent to the server.
    pub fn publish(&mut self, Published { number, topic, qos: published, retain }: Published) {
        if retain {
            // One that is superseded need not come any more.
            self.retained.iter_mut().filter(|of| of.topic == topic).for_each(|of| of.must = false);
        }
        let Some(granted) = self.granted(topic) else { return };
        let qos = published.min(granted);
        // Nobody keeps messages of QoS 0 for a client that is away.
        let must = self.client.is_there() || (qos > 0 && self.client.keeps);
        let mut with = [false; 3];
        with[usize::from(qos)] = true;
        self.due.push(Due { number, topic, published, with, must, is_repeated: false });
    }

    /// A message may not have been published after all.
    pub fn lost(&mut self, number: u32) {
        self.due.iter_mut().filter(|due| due.number == number).for_each(|due| due.must = false);
    }

    /// A message may have been published once more.
    pub fn repeated(&mut self, number: u32) {
        self.due.iter_mut().filter(|due| due.number == number).for_each(|due| due.is_repeated = true);
    }

    /// Subscribes. `retained` has the retained message of each topic, by its number and QoS.
    pub async fn subscribe(&mut self, filter: usize, qos: u8, retained: &[Option<(u32, u8)>]) {
        let Some(mqtt) = self.client.mqtt() else { return };
        assert_eq!(mqtt.subscribe(&[(FILTERS[filter], qos)]).await, [qos]);
        self.subscriptions.insert(filter, qos);
        self.change();
        for (topic, name) in TOPICS.iter().enumerate() {
            if let Some((number, published)) = retained[topic].filter(|_| is_match(FILTERS[filter], name)) {
                let qos = published.min(qos);
                self.retained.push(Retained { number, topic, qos, must: true, has_come: false });
            }
        }
    }

    pub async fn unsubscribe(&mut self, filter: usize) {
        let Some(mqtt) = self.client.mqtt() else { return };
        mqtt.unsubscribe(&[FILTERS[filter]]).await;
        if self.subscriptions.remove(&filter).is_some() {
            self.change();
        }
    }

    /// Subscriptions have changed: what was on its way may come as it was or as it is due now, or not at all.
    fn change(&mut self) {
        let granted: Vec<_> = (0..TOPICS.len()).map(|topic| self.granted(topic)).collect();
        for due in self.due.iter_mut().filter(|due| !self.seen.contains_key(&due.number)) {
            match granted[due.topic] {
                Some(granted) => due.with[usize::from(due.published.min(granted))] = true,
                None => due.must = false,
            }
        }
        for retained in &mut self.retained {
            retained.must = false;
        }
    }

    pub async fn read(&mut self, acks: usize) {
        for arrival in self.client.read(acks).await {
            self.take(arrival);
        }
    }

    pub async fn sip(&mut self) {
        for arrival in self.client.sip().await {
            self.take(arrival);
        }
    }

    fn take(&mut self, arrival: Arrival) {
        let who = &self.client.id;
        let Arrival { number, topic, qos, retain, dup, id, is_again, is_done } = arrival;
        if retain {
            if !is_again {
                self.take_retained(arrival);
            }
            return;
        }
        let Some(due) = self.due.iter().find(|due| due.number == number && due.topic == topic) else {
            panic!("{who}: nobody asked for {arrival:?}");
        };
        let before = self.seen.get(&number).copied();
        assert!(is_again || due.with[usize::from(qos)], "{who}: another QoS is due: {arrival:?}, {due:?}");
        if let Some(before) = before
            && !due.is_repeated
        {
            let was_killed = before.kills < self.kills;
            let is_resent = self.client.keeps
                && qos == before.qos
                && id == before.id
                && before.connection < self.client.connection
                && (is_again || (qos == 1 && !is_done));
            // After a crash messages of QoS 1 may come twice; and those of QoS 2 only if they were of another QoS before.
            let is_once_more = was_killed && (qos == 1 || before.qos == 1 || qos != before.qos);
            assert!(is_resent || is_once_more, "{who}: twice: {arrival:?}, {before:?}, {due:?}");
            assert!(dup || is_once_more, "{who}: sent again without DUP: {arrival:?}, {before:?}");
            if dup && !was_killed {
                if self.resent.0 < self.client.connection {
                    self.resent = (self.client.connection, 0);
                }
                assert!(before.place > self.resent.1, "{who}: sent again out of order: {arrival:?}");
                self.resent.1 = before.place;
            }
        }
        // What came with another QoS for a while has no place of its own.
        let is_plain = due.with.iter().filter(|with| **with).count() == 1 && !(due.is_repeated && qos == 0);
        if before.is_none() && is_plain {
            let greatest = self.greatest.entry((topic, qos)).or_default();
            assert!(number > *greatest, "{who}: out of order: {arrival:?} after {greatest}");
            *greatest = number;
        }
        self.places += 1;
        let place = before.filter(|before| before.kills == self.kills).map_or(self.places, |before| before.place);
        let seen = Seen { qos, id, place, connection: self.client.connection, kills: self.kills };
        self.seen.insert(number, seen);
    }

    fn take_retained(&mut self, arrival: Arrival) {
        let who = &self.client.id;
        let Arrival { number, topic, qos, .. } = arrival;
        // Of QoS 1 it may come again, as others may. If two subscriptions asked for it at once, it comes with the greater QoS.
        let is_it = |of: &&mut Retained| of.number == number && of.topic == topic && of.qos == qos;
        let due = self.retained.iter_mut().filter(is_it).find(|of| qos == 1 || !of.has_come);
        let Some(due) = due else {
            panic!("{who}: no such retained message is due: {arrival:?}, {:?}", self.retained);
        };
        due.has_come = true;
        // It may have come for others that asked at once, too.
        let of_message = self.retained.iter_mut().filter(|of| of.number == number && of.topic == topic);
        of_message.filter(|of| of.qos <= qos).for_each(|of| of.must = false);
    }

    /// Reads until everything has come that must come.
    pub async fn settle(&mut self) {
        if !self.client.is_there() {
            return;
        }
        let until = tokio::time::Instant::now() + super::super::super::support::PATIENCE;
        loop {
            self.read(usize::MAX).await;
            let missing = self.missing();
            if missing.is_empty() {
                return;
            }
            assert!(tokio::time::Instant::now() < until, "{} misses {missing:?}", self.client.id);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    fn missing(&self) -> Vec<String> {
        let due = self.due.iter().filter(|due| due.must && !self.seen.contains_key(&due.number));
        let retained = self.retained.iter().filter(|retained| retained.must && !retained.has_come);
        due.map(|due| format!("{due:?}")).chain(retained.map(|retained| format!("{retained:?}"))).collect()
    }
}
