//! What must hold of a client's messages whatever it and the events do, in any order. Fuzzing (`fuzz/`) searches for inputs for which it
//! does not, and `cargo test` replays what that has found worth keeping.

mod client;
mod disk;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::filters::Wanted;
use super::outbound::{Due, Limits, Outbound, Taken, Unnoted};
use super::packet::{Qos, Version};
use super::record::Record;
use crate::domain::{EventFilter, MqttAsk, Position, Timestamp, TopicFilter};

use client::{Answer, PeerState, release};
use disk::{Change, Disk};
use stream::{LARGE, Stream, record};

/// The filters that a client may have.
const FILTERS: [&str; 4] = ["a", "#", "a/+", "+/#"];
/// How many steps there are at most, and rounds until everything is delivered in the end.
const MOST: usize = 400;

/// The state of a connection, and of its session over several, without sockets. The input is the options, and then what happens.
///
/// - No message has the packet identifier of another one that is in flight, and there are no more of them than the client takes, those
///   included that are sent again.
/// - A message of QoS 2 is taken once by the client, over all connections of a session that is kept, and crashes of the server; a retained
///   one no more often than it was asked for.
/// - A message that is not retained is sent once over one connection, unless the QoS of its subscription was changed.
/// - Whatever was owed to the client has come when it has acknowledged everything.
///
/// With `is_hostile`, the client acknowledges what it never got as well, and only the first counts.
pub fn session(input: &[u8]) {
    let [options, window, steps @ ..] = input else { return };
    let mut run = Run::new(*options, *window);
    let mut steps = steps.iter().copied().take(MOST);
    while let Some(step) = steps.next() {
        run.step(step & 0x0f, step >> 4, &mut steps);
        run.check();
    }
    run.finish();
}

struct Run {
    limits: Limits,
    is_hostile: bool,
    outbound: Outbound,
    stream: Stream,
    /// Whether the stream waits until the client takes more.
    is_waiting: bool,
    now: Timestamp,
    disk: Disk,
    peer: PeerState,
    /// What is being read for the client.
    reading: Option<Due>,
    /// What is to come to the client, by position and whether it is retained: with the moment of its expiry.
    owed: BTreeMap<(u64, bool), Option<Timestamp>>,
    /// What was given by a QoS below 2. If the QoS of its subscription is raised right after the server was killed, before all of that has
    /// come again, it counts as noted, and if it is killed after that, too.
    given_below: BTreeSet<u64>,
    /// By what retained messages were asked for.
    asked: Vec<TopicFilter>,
}

impl Run {
    fn new(options: u8, window: u8) -> Self {
        let limits = Limits {
            version: if options & 1 == 0 { Version::V311 } else { Version::V5 },
            receive_maximum: receive_maximum(window),
            maximum_packet_size: (options & 2 != 0).then(|| NonZeroU32::new(LARGE as u32)).flatten(),
            topic_alias_maximum: u16::from(options >> 6),
            publisher: 1,
            keeps: options & 4 != 0,
        };
        let mut outbound = Outbound::new(limits, Position::START);
        put(&mut outbound, 1, Qos::ExactlyOnce, Position::START, 0);
        Self {
            limits,
            is_hostile: options & 8 != 0,
            outbound,
            stream: Stream::default(),
            is_waiting: false,
            now: Timestamp::from_secs(1000),
            disk: Disk::default(),
            peer: PeerState::default(),
            reading: None,
            owed: BTreeMap::new(),
            given_below: BTreeSet::new(),
            asked: Vec::new(),
        }
    }

    /// One step: what is done, a number for it, and what follows in the input.
    fn step(&mut self, what: u8, number: u8, more: &mut dyn Iterator<Item = u8>) {
        match what {
            0 | 1 => self.publish(number, more.next().unwrap_or_default()),
            2 | 3 => self.give(),
            4 | 5 => self.answer(number.into()),
            6 => self.note(),
            7 if number > 13 => self.refuse(number == 14),
            7 => self.commit(),
            8 => self.read(number),
            9 => drop(self.outbound.stall()),
            10 => self.save(),
            11 => self.cut(number & 1 != 0, (number & 2 != 0).then_some(number >> 2)),
            12 => self.subscribe(number, false),
            13 => self.now = self.now + Duration::from_secs(number.into()),
            14 => self.subscribe(number, true),
            _ => self.lie(number, more.next().unwrap_or_default()),
        }
    }

    fn publish(&mut self, number: u8, more: u8) {
        let published = self.stream.publish(number, more, self.now);
        let (topic, is_retained) = (published.topic.to_owned(), published.is_retained);
        // In the place of the one that was there.
        self.owed.retain(|(position, is_from_before), _| {
            !is_from_before || !is_retained || self.stream.at(*position).topic != topic
        });
    }

    /// The stream gives the next event.
    fn give(&mut self) {
        if self.is_waiting && !self.outbound.takes_any() {
            return;
        }
        let Some(bytes) = self.stream.next(&mut self.outbound) else { return };
        let (record, mut out) = (record(&bytes), Vec::new());
        let taken = self.outbound.take(&record, self.now, &mut Vec::new(), &mut out);
        self.is_waiting = taken == Taken::No;
        if self.is_waiting {
            assert!(out.is_empty(), "{out:?}");
            return;
        }
        self.stream.go_on();
        if !record.is_from_before {
            let (qos, position) = (self.qos(&record), record.position.get());
            let is_once = qos == Qos::ExactlyOnce;
            let is_done = self.peer.has(position, is_once) || (is_once && self.given_below.contains(&position));
            if qos > Qos::AtMostOnce && !is_done {
                self.owed.insert((position, false), record.expires_at);
            }
            if !is_once {
                self.given_below.insert(position);
            }
        }
        self.receive(&out);
    }

    /// With which QoS an event is to come to the client: 0 if it need not.
    fn qos(&self, record: &Record<'_>) -> Qos {
        let fits = self.limits.maximum_packet_size.is_none() || record.bytes.len() < LARGE;
        let is_current = record.expires_at.is_none_or(|at| at > self.now);
        let delivery = self.outbound.filters.deliver(record, false, None, &mut Vec::new());
        let delivery = delivery.filter(|_| fits && is_current);
        delivery.map_or(Qos::AtMostOnce, |delivery| delivery.qos.min(record.qos))
    }

    /// The client takes packets.
    fn receive(&mut self, packets: &[u8]) {
        for (position, is_from_before) in self.peer.receive(packets, &self.limits, self.is_hostile) {
            self.owed.remove(&(position, is_from_before));
            if is_from_before && !self.is_hostile {
                let topic = self.stream.at(position).topic;
                let asked = self.asked.iter().filter(|filter| filter.matches(topic)).count();
                assert!(self.peer.retained(position) <= asked, "{position} is retained, and taken twice");
            }
        }
    }

    /// The client sends one of the answers that are due.
    fn answer(&mut self, at: usize) {
        match self.peer.take_answer(at) {
            None => {}
            Some(Answer::Acknowledged(id)) => assert!(self.outbound.acknowledged(id) || self.is_hostile, "{id}"),
            Some(Answer::Received(id)) => {
                assert!(self.outbound.received(id, true) || self.is_hostile, "{id}");
                self.post(Change::Release(id));
            }
            Some(Answer::Completed(id)) => {
                self.outbound.completed(id);
                self.post(Change::Forget(vec![id]));
            }
        }
    }

    /// Acknowledges something that the client may never have got.
    fn lie(&mut self, kind: u8, id: u8) {
        let Some(id) = NonZeroU16::new(id.into()).filter(|_| self.is_hostile) else { return };
        match kind & 3 {
            0 => drop(self.outbound.acknowledged(id)),
            1 => {
                self.outbound.received(id, true);
                self.post(Change::Release(id));
            }
            2 => {
                self.outbound.completed(id);
                self.post(Change::Forget(vec![id]));
            }
            _ if self.outbound.received(id, false) => self.post(Change::Forget(vec![id])),
            _ => {}
        }
    }

    /// A change of what the disk has. Without a session that is kept there is none, and what follows is done at once.
    fn post(&mut self, change: Change) {
        self.disk.post(change);
        if !self.limits.keeps {
            self.commit();
        }
    }

    /// The first change that is on its way is on disk.
    fn commit(&mut self) {
        let mut out = Vec::new();
        match self.disk.commit() {
            Some(Change::Note(unnoted, _)) => {
                let not_sent = self.outbound.send_noted(&unnoted, self.now, &mut out);
                not_sent.iter().for_each(|id| self.forget_owed(&unnoted, *id));
                self.receive(&out);
                if !not_sent.is_empty() {
                    self.post(Change::Forget(not_sent));
                }
            }
            Some(Change::Release(id)) => self.peer.release(id),
            Some(Change::Forget(_) | Change::Save(_)) | None => {}
        }
    }

    /// What was noted and is too large, has expired, or is not wanted any more, does not come.
    fn forget_owed(&mut self, unnoted: &[Unnoted], id: NonZeroU16) {
        for message in unnoted.iter().filter(|unnoted| unnoted.id == id) {
            let message = (message.message.position.get(), message.message.is_from_before);
            let has_expired = self.owed.get(&message).is_some_and(|at| at.is_some_and(|at| at <= self.now));
            assert!(has_expired || !self.owed.contains_key(&message) || self.is_hostile, "{message:?} is not sent");
        }
    }

    fn note(&mut self) {
        if self.outbound.has_unnoted() && !self.disk.is_noting() {
            let (unnoted, exact) = self.outbound.take_unnoted();
            self.post(Change::Note(unnoted, exact));
        }
    }

    /// Begins to read what is to be sent, or sends what was read: all of it, or as much as is looked at.
    fn read(&mut self, number: u8) {
        let mut out = Vec::new();
        let Some(due) = self.reading.take() else {
            self.outbound.release_again(&mut out, release);
            self.reading = self.outbound.due();
            return self.receive(&out);
        };
        let positions = due.positions();
        let looked_at = if number & 1 == 0 { positions.len() } else { 1 };
        let records = self.stream.records(&positions[..looked_at]);
        match &due {
            Due::Again(due) => {
                let gone = self.outbound.resend(&due[..looked_at], &records, self.now, &mut out, release);
                assert!(gone.is_empty(), "{gone:?}");
            }
            Due::Waiting(due) => {
                let gone = self.outbound.send_due(&due[..looked_at], &records, self.now, &mut out);
                assert!(gone.is_empty(), "{gone:?}");
            }
        }
        self.receive(&out);
    }

    fn save(&mut self) {
        if self.limits.keeps && self.outbound.has_changed() {
            self.outbound.set_saved();
            self.post(Change::Save(self.outbound.progress()));
        }
    }

    /// What is on its way to the disk is refused. Before that is looked at, the server is killed once all is saved; or the connection is lost.
    fn refuse(&mut self, is_killed: bool) {
        self.disk.lose();
        self.save();
        while self.disk.commit().is_some() {}
        self.cut(is_killed, None);
    }

    /// The connection is lost, or the server is killed, and the client comes back.
    fn cut(&mut self, is_killed: bool, window: Option<u8>) {
        (self.reading, self.is_waiting) = (None, false);
        self.limits.receive_maximum = window.map_or(self.limits.receive_maximum, receive_maximum);
        let filters = std::mem::take(&mut self.outbound.filters);
        if self.limits.keeps {
            if is_killed {
                self.disk.lose();
            } else {
                self.disk.post(Change::Save(self.outbound.progress()));
                while self.disk.commit().is_some() {}
            }
            self.peer.come_back(true);
            let progress = self.disk.progress();
            let position = progress.position;
            self.outbound = Outbound::resumed(self.limits, filters, progress, self.stream.head());
            self.stream.begin(position, self.outbound.take_asked_before());
        } else {
            self.peer.come_back(false);
            self.owed.clear();
            self.asked.clear();
            self.outbound = Outbound::new(self.limits, self.stream.head());
            // It subscribes to the same anew, and asks for nothing.
            for wanted in filters.iter() {
                self.outbound.filters.put(Wanted { asked: MqttAsk::default(), ..wanted.clone() });
            }
            self.stream.begin(self.stream.head(), Vec::new());
        }
    }

    /// The client subscribes, and may ask for what is retained; or it unsubscribes.
    fn subscribe(&mut self, number: u8, is_asked: bool) {
        let at = usize::from(number >> 2);
        let Some(filter) = TopicFilter::parse(FILTERS[at]) else { return };
        // What is on its way may come by another QoS, or not at all.
        self.owed.clear();
        let Some(qos) = Qos::of(number & 3) else {
            self.outbound.filters.remove(&filter);
            return;
        };
        if self.outbound.is_saved_before(&filter, qos) {
            self.save();
        }
        let asked = if is_asked { self.outbound.ask() } else { 0 };
        put(&mut self.outbound, at, qos, self.stream.head(), asked);
        if is_asked {
            self.stream.ask(&filter, asked);
            self.asked.push(filter.clone());
            let Ok(filter) = EventFilter::topics([filter]) else { return };
            for record in self.stream.latest(&filter) {
                let record = Record { is_from_before: true, qos: record.qos.min(qos), ..record };
                if self.qos(&record) > Qos::AtMostOnce {
                    self.owed.insert((record.position.get(), true), record.expires_at);
                }
            }
        }
    }

    /// What the server has of the client.
    fn check(&self) {
        let in_flight = self.outbound.progress().in_flight;
        let mut ids: Vec<_> = in_flight.iter().map(|message| message.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), in_flight.len(), "{in_flight:?}");
        let most = usize::from(self.limits.receive_maximum.get());
        assert!(self.is_hostile || self.peer.unacknowledged() <= most, "{in_flight:?}");
    }

    /// The client acknowledges everything, and everything has come in the end.
    fn finish(&mut self) {
        if self.is_hostile {
            return;
        }
        for _ in 0..20 * self.stream.steps() {
            self.give();
            self.note();
            self.commit();
            self.read(0);
            self.answer(0);
            self.check();
            if self.is_done() {
                break;
            }
        }
        self.owed.retain(|_, expires_at| expires_at.is_none_or(|at| at > self.now));
        assert!(self.owed.is_empty(), "{:?} never came: {:?}", self.owed, self.outbound);
        assert!(self.is_done(), "{:?}", self.outbound);
    }

    /// Whether everything has been given and acknowledged.
    fn is_done(&self) -> bool {
        let is_acknowledged = self.outbound.done_up_to() == self.stream.head() && !self.outbound.has_unnoted();
        self.stream.is_done() && is_acknowledged && self.outbound.progress().in_flight.is_empty()
    }
}

fn put(outbound: &mut Outbound, at: usize, qos: Qos, since: Position, asked: u32) {
    if let Some(filter) = TopicFilter::parse(FILTERS[at]) {
        let (no_local, retain_as_published, id) = (false, false, None);
        let asked = MqttAsk { number: asked, until: since };
        outbound.filters.put(Wanted { filter, qos, no_local, retain_as_published, id, since, asked });
    }
}

/// How many messages a client takes at a time.
fn receive_maximum(window: u8) -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add((window % 4).into())
}
