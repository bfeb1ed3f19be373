//! A client that keeps to the specification, as it sees what comes.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use crate::transports::mqtt::outbound::Limits;
use crate::transports::mqtt::packet::Version;

/// What a client has to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Acknowledged(NonZeroU16),
    Received(NonZeroU16),
    Completed(NonZeroU16),
}

#[derive(Default)]
pub struct PeerState {
    /// Messages of QoS 2 that were received, and are not released: by identifier. They outlive connections.
    received: BTreeMap<NonZeroU16, (u64, bool)>,
    /// What was taken by QoS 2, over all connections, and how often; and by QoS 1.
    taken_once: BTreeMap<(u64, bool), usize>,
    taken: BTreeSet<u64>,
    /// What came over this connection for the first time, with its QoS: if that of a subscription was changed and the server was killed,
    /// what is done may come once more by the other.
    came: BTreeSet<(u64, u8)>,
    /// Identifiers that are in use on this connection, each with its message as far as that is known.
    open: BTreeMap<NonZeroU16, Option<(u64, bool)>>,
    /// Those of messages that came over this connection.
    published: BTreeSet<NonZeroU16>,
    /// What is to be sent.
    answers: Vec<Answer>,
}

impl PeerState {
    /// The connection is another one.
    pub fn come_back(&mut self, has_session: bool) {
        let (received, taken_once, taken) = match has_session {
            true => (
                std::mem::take(&mut self.received),
                std::mem::take(&mut self.taken_once),
                std::mem::take(&mut self.taken),
            ),
            false => Default::default(),
        };
        *self = Self { received, taken_once, taken, ..Self::default() };
    }

    /// How many messages that came over this connection are not acknowledged wholly.
    pub fn unacknowledged(&self) -> usize {
        self.published.len()
    }

    /// How often a retained message was taken by QoS 2.
    pub fn retained(&self, position: u64) -> usize {
        self.taken_once.get(&(position, true)).copied().unwrap_or_default()
    }

    /// Whether the event at a position was taken before, as one of this QoS or another.
    pub fn has(&self, position: u64, once: bool) -> bool {
        self.taken_once.contains_key(&(position, false)) || (!once && self.taken.contains(&position))
    }

    /// Takes an answer out that is to be sent.
    pub fn take_answer(&mut self, at: usize) -> Option<Answer> {
        if self.answers.is_empty() {
            return None;
        }
        let answer = self.answers.remove(at % self.answers.len());
        if let Answer::Acknowledged(id) | Answer::Completed(id) = answer {
            self.open.remove(&id);
            self.published.remove(&id);
        }
        Some(answer)
    }

    /// A PUBREL came.
    pub fn release(&mut self, id: NonZeroU16) {
        let message = self.received.remove(&id);
        let open = self.open.entry(id).or_default();
        *open = open.or(message);
        self.due(Answer::Completed(id));
    }

    fn due(&mut self, answer: Answer) {
        if !self.answers.contains(&answer) {
            self.answers.push(answer);
        }
    }

    /// Takes PUBLISHes and PUBRELs. Returns the positions of the messages, and which are retained.
    pub fn receive(&mut self, mut packets: &[u8], limits: &Limits, is_hostile: bool) -> Vec<(u64, bool)> {
        let mut messages = Vec::new();
        while let [first, length, rest @ ..] = packets {
            let (mut length, mut rest, first) = (usize::from(*length), rest, *first);
            if length > 127 {
                (length, rest) = (length - 128 + 128 * usize::from(rest[0]), &rest[1..]);
            }
            let (packet, after) = rest.split_at(length);
            packets = after;
            if limits.maximum_packet_size.is_some_and(|most| length + 2 > most.get() as usize) {
                panic!("a packet of {length} bytes");
            }
            match first >> 4 {
                6 => self.release(id_of(packet)),
                3 => messages.push(self.publish(first, packet, limits, is_hostile)),
                kind => panic!("a packet of kind {kind}"),
            }
        }
        assert!(packets.is_empty());
        messages
    }

    fn publish(&mut self, first: u8, packet: &[u8], limits: &Limits, is_hostile: bool) -> (u64, bool) {
        let (is_dup, qos, is_from_before) = (first & 8 != 0, first >> 1 & 3, first & 1 != 0);
        let mut rest = &packet[2 + usize::from(u16::from_be_bytes([packet[0], packet[1]]))..];
        let id = (qos > 0).then(|| id_of(rest));
        rest = &rest[if qos > 0 { 2 } else { 0 }..];
        if limits.version == Version::V5 {
            rest = &rest[1 + usize::from(rest[0])..];
        }
        let position = rest.first_chunk().copied().map_or(0, u64::from_be_bytes);
        let message = (position, is_from_before);
        let is_new = is_hostile || is_from_before || self.came.insert((position, qos));
        assert!(is_new, "{position} came again over one connection");
        let is_under_way = self.open.values().any(|open| *open == Some(message));
        assert!(is_hostile || is_from_before || !is_under_way, "{position} came beside itself");
        let Some(id) = id else { return message };
        self.published.insert(id);
        if qos == 1 {
            assert!(is_hostile || !self.open.contains_key(&id), "{id} is in use");
            self.open.insert(id, Some(message));
            self.due(Answer::Acknowledged(id));
            self.taken.insert(position);
        } else {
            let known = self.received.insert(id, message);
            assert!(is_hostile || is_dup || (known.is_none() && !self.open.contains_key(&id)), "{id} is in use");
            assert!(is_hostile || known.is_none_or(|known| known == message), "{id} is another message");
            self.open.insert(id, Some(message));
            if known.is_none() {
                let times = self.taken_once.entry(message).or_default();
                *times += 1;
                assert!(is_hostile || is_from_before || *times == 1, "{position} is taken twice");
            }
            self.due(Answer::Received(id));
        }
        message
    }
}

fn id_of(packet: &[u8]) -> NonZeroU16 {
    let id = packet.first_chunk().copied().map_or(0, u16::from_be_bytes);
    NonZeroU16::new(id).unwrap_or_else(|| panic!("the identifier is 0"))
}

/// Appends a PUBREL.
pub fn release(id: NonZeroU16, out: &mut Vec<u8>) {
    out.extend([0x62, 2]);
    out.extend(id.get().to_be_bytes());
}
