//! What the open streams do, counted when somebody asks: nothing is counted for it before.

use std::collections::BTreeMap;

use crate::domain::{Position, TenantName, Username};

/// How many of the slowest readers are named.
const SLOWEST: usize = 10;

/// The open streams.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many there are, by the name of their transport ([`super::Format::transport`]).
    pub by_transport: BTreeMap<&'static str, u64>,
    /// How many read what they have missed.
    pub catching_up: u64,
    /// How many wait for their client, which takes nothing for now.
    pub blocked: u64,
    /// Those of the last that are furthest behind, the furthest first.
    pub slowest: Vec<SlowReader>,
}

/// A stream that waits for its client.
#[derive(Debug, PartialEq, Eq)]
pub struct SlowReader {
    /// The tenant of the stream.
    pub tenant: TenantName,
    /// Its user.
    pub username: Username,
    /// The name of its transport.
    pub transport: &'static str,
    /// Up to here its client has been given everything.
    pub position: Position,
}

/// What one stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is given what is new.
    Live,
    /// It reads what it has missed.
    CatchingUp,
    /// It waits for its client, which takes nothing for now.
    Blocked,
}

impl Survey {
    /// Counts a stream. `reader` says who reads it, and is asked for one that waits for its client.
    pub fn count(&mut self, transport: &'static str, standing: Standing, reader: impl FnOnce() -> SlowReader) {
        *self.by_transport.entry(transport).or_default() += 1;
        match standing {
            Standing::Live => {}
            Standing::CatchingUp => self.catching_up += 1,
            Standing::Blocked => {
                self.blocked += 1;
                self.slowest.push(reader());
                // Not at each, so that it costs little however many there are.
                if self.slowest.len() > 8 * SLOWEST {
                    self.keep_slowest();
                }
            }
        }
    }

    /// Adds the streams of another worker.
    pub fn add(&mut self, other: Self) {
        let Self { by_transport, catching_up, blocked, slowest } = other;
        for (transport, streams) in by_transport {
            *self.by_transport.entry(transport).or_default() += streams;
        }
        self.catching_up += catching_up;
        self.blocked += blocked;
        self.slowest.extend(slowest);
        self.keep_slowest();
    }

    /// Forgets all but the slowest readers.
    pub fn keep_slowest(&mut self) {
        self.slowest.sort_by_key(|reader| reader.position);
        self.slowest.truncate(SLOWEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(position: u64) -> SlowReader {
        let (tenant, username) = (TenantName::parse("acme").unwrap(), Username::parse("bob").unwrap());
        SlowReader { tenant, username, transport: "sse", position: Position::new(position) }
    }

    #[test]
    fn of_many_slow_readers_those_furthest_behind_are_named_and_all_are_counted() {
        let mut all = Survey::default();
        for worker in 0..2 {
            let mut survey = Survey::default();
            for position in (0..500).rev() {
                survey.count("sse", Standing::Blocked, || reader(2 * position + worker));
            }
            survey.count("mqtt", Standing::Live, || panic!("it is not slow"));
            survey.count("sse", Standing::CatchingUp, || panic!("it is not slow"));
            all.add(survey);
        }
        assert_eq!(all.by_transport, BTreeMap::from([("mqtt", 2), ("sse", 1002)]));
        assert_eq!((all.blocked, all.catching_up), (1000, 2));
        assert_eq!(all.slowest, (0..10).map(reader).collect::<Vec<_>>());
    }
}
