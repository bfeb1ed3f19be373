//! What is on disk of a session, and what is on its way there, as the store does it.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;

use crate::domain::{MqttAsked, Position};
use crate::transports::mqtt::outbound::{InFlight, Progress, State, Unnoted};

/// A change of a session.
pub enum Change {
    /// Messages of QoS 2 are to be sent, and all up to a position have been noted, and of retained ones that were asked for.
    Note(Vec<Unnoted>, (Position, MqttAsked)),
    /// A message of QoS 2 was received.
    Release(NonZeroU16),
    /// Messages are done.
    Forget(Vec<NonZeroU16>),
    /// How far it has come.
    Save(Progress),
}

#[derive(Default)]
pub struct Disk {
    saved: Progress,
    noted: BTreeMap<NonZeroU16, InFlight>,
    exact: (Position, MqttAsked),
    /// What is not there yet.
    posted: VecDeque<Change>,
}

impl Disk {
    pub fn post(&mut self, change: Change) {
        self.posted.push_back(change);
    }

    /// Writes the first change that is on its way.
    pub fn commit(&mut self) -> Option<Change> {
        let change = self.posted.pop_front()?;
        match &change {
            Change::Note(unnoted, exact) => {
                for one in unnoted {
                    if let Some(at) = self.saved.waiting.iter().position(|waiting| *waiting == one.message) {
                        self.saved.waiting.remove(at);
                    }
                }
                let noted =
                    unnoted.iter().map(|one| InFlight { id: one.id, message: one.message, state: State::SentOnce });
                self.noted.extend(noted.map(|one| (one.id, one)));
                self.exact = (self.exact.0.max(exact.0), self.exact.1.max(exact.1));
            }
            Change::Release(id) => {
                if let Some(message) = self.noted.get_mut(id) {
                    message.state = State::Released;
                }
            }
            Change::Forget(ids) => self.noted.retain(|id, _| !ids.contains(id)),
            Change::Save(progress) => {
                (self.saved, self.exact) = (progress.clone(), Default::default());
                for message in progress.in_flight.iter().filter(|message| message.state != State::Sent) {
                    let known = self.noted.get(&message.id).filter(|known| known.message == message.message);
                    let is_released = message.state == State::Released;
                    let state = if is_released { State::Released } else { State::SentOnce };
                    let noted = known.copied().unwrap_or(InFlight { state, ..*message });
                    self.noted.insert(message.id, noted);
                }
            }
        }
        Some(change)
    }

    /// Whether messages are being noted.
    pub fn is_noting(&self) -> bool {
        self.posted.iter().any(|change| matches!(change, Change::Note(..)))
    }

    /// The server is killed, or nothing can be written.
    pub fn lose(&mut self) {
        self.posted.clear();
    }

    /// How far the session has come, from what was saved last and what was noted since.
    pub fn progress(&self) -> Progress {
        let (mut in_flight, mut again) = (Vec::new(), Vec::new());
        let mut noted = self.noted.clone();
        for message in &self.saved.in_flight {
            match (message.state, noted.get(&message.id).copied()) {
                (State::Sent, None) => in_flight.push(*message),
                (State::Sent, Some(_)) => again.push(message.message),
                (_, Some(known)) => {
                    noted.remove(&message.id);
                    in_flight.push(known);
                }
                (_, None) => {}
            }
        }
        let mut since: Vec<_> = noted.into_values().collect();
        since.sort_by_key(|noted| (noted.message.position, noted.message.is_from_before));
        in_flight.extend(since);
        again.extend(&self.saved.waiting);
        let exact_position = self.saved.exact_position.max(self.exact.0);
        let exact_asked = self.saved.exact_asked.max(self.exact.1);
        Progress { in_flight, waiting: again, exact_position, exact_asked, ..self.saved }
    }
}
