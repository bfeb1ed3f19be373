//! What the events give to a client, as its stream does it: what it has asked for comes first, and then what is new.

use std::collections::VecDeque;

use crate::domain::{EventFilter, Position, Timestamp, TopicFilter};
use crate::events::Asked;
use crate::transports::mqtt::outbound::Outbound;
use crate::transports::mqtt::record::{HEAD_BYTES, Head, IS_RETAINED, Record, mark_from_before};

/// The topics of events.
const TOPICS: [&str; 4] = ["a", "b", "a/b", "c"];
/// How large a packet is that a client with a limit does not take, and its limit.
pub const LARGE: usize = 100;
/// How many latest events are read at a time.
const AT_ONCE: usize = 2;

#[derive(Default)]
pub struct Stream {
    /// All events, as records; the position of the first is 1.
    log: Vec<Vec<u8>>,
    /// How many of them have been given.
    given: usize,
    /// Latest events that are to be given before others.
    asked: VecDeque<Asked>,
    /// The filters of the last of that.
    asked_last: Vec<TopicFilter>,
    /// Those that were read, as records.
    rest: VecDeque<Vec<u8>>,
}

impl Stream {
    pub fn head(&self) -> Position {
        Position::new(self.log.len() as u64)
    }

    /// Whether everything has been given.
    pub fn is_done(&self) -> bool {
        self.given == self.log.len() && self.asked.is_empty() && self.rest.is_empty()
    }

    /// How many steps there are at most until everything is given.
    pub fn steps(&self) -> usize {
        self.log.len() + self.asked.len() * TOPICS.len() + 10
    }

    pub fn publish(&mut self, number: u8, more: u8, now: Timestamp) -> Record<'_> {
        let position = self.log.len() as u64 + 1;
        let expires_at = if more & 7 == 7 { now.as_millis() + 5000 } else { 0 };
        let payload = [&position.to_be_bytes()[..], &vec![0; if more & 0x38 == 0x38 { LARGE } else { 0 }]].concat();
        let topic = TOPICS[usize::from(number >> 2)];
        let head = Head {
            length: HEAD_BYTES + topic.len() + payload.len(),
            flags: (number & 3).min(2) | if more & 0x40 == 0 { IS_RETAINED } else { 0 },
            topic: topic.len(),
            properties: 0,
            position,
            expires_at,
            publisher: 9,
        };
        self.log.push([&head.bytes()[..], topic.as_bytes(), &payload].concat());
        self.at(position)
    }

    /// The event at a position.
    pub fn at(&self, position: u64) -> Record<'_> {
        record(&self.log[position as usize - 1])
    }

    /// The events at these positions.
    pub fn records(&self, positions: &[Position]) -> Vec<u8> {
        positions.iter().flat_map(|position| self.log[position.get() as usize - 1].clone()).collect()
    }

    /// The latest event of each topic that a filter matches, in their order.
    pub fn latest(&self, filter: &EventFilter) -> Vec<Record<'_>> {
        let latest = TOPICS.iter().filter(|topic| filter.matches(topic)).filter_map(|topic| {
            let mut events = self.log.iter().rev().map(|bytes| record(bytes));
            events.find(|record| record.topic == *topic && record.is_retained)
        });
        let mut latest: Vec<_> = latest.collect();
        latest.sort_by_key(|record| record.position);
        latest
    }

    /// The client asks for latest events. What has not begun is made one.
    pub fn ask(&mut self, filter: &TopicFilter, number: u32) {
        let until = self.head();
        let last = self.asked.back_mut().filter(|last| !last.is_begun);
        if last.is_none() {
            self.asked_last.clear();
        }
        if !self.asked_last.contains(filter) {
            self.asked_last.push(filter.clone());
        }
        let Ok(filter) = EventFilter::topics(self.asked_last.clone()) else { return };
        match last {
            Some(last) => (last.filter, last.until, last.number) = (filter, until, number),
            None => self.asked.push_back(Asked { filter, after: Position::START, until, number, is_begun: false }),
        }
    }

    /// What is given next.
    pub fn next(&mut self, outbound: &mut Outbound) -> Option<Vec<u8>> {
        while self.rest.is_empty() {
            let Some(mut asked) = self.asked.pop_front() else { return self.log.get(self.given).cloned() };
            if asked.after >= asked.until {
                outbound.end_asked(asked.number);
                continue;
            }
            let mut latest = self.latest(&asked.filter);
            latest.retain(|record| asked.after < record.position && record.position <= asked.until);
            asked.after = latest.get(AT_ONCE - 1).map_or(asked.until, |last| last.position);
            self.rest = latest.iter().take(AT_ONCE).map(|record| record.bytes.to_vec()).collect();
            self.rest.iter_mut().for_each(|bytes| mark_from_before(bytes));
            asked.is_begun = true;
            outbound.begin_asked(&asked);
            self.asked.push_front(asked);
        }
        self.rest.front().cloned()
    }

    /// That was taken.
    pub fn go_on(&mut self) {
        if self.rest.pop_front().is_none() {
            self.given += 1;
        }
    }

    /// The stream is another one, from a position on, after what was asked for before.
    pub fn begin(&mut self, position: Position, asked: Vec<Asked>) {
        (self.given, self.asked, self.rest) = (position.get() as usize, asked.into(), VecDeque::new());
    }
}

/// The record that there is.
pub fn record(bytes: &[u8]) -> Record<'_> {
    Record::first(bytes).map_or_else(|| panic!("no record"), |(record, _)| record)
}
