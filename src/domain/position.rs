use serde::{Deserialize, Serialize};
use std::fmt;

/// A position in the order of all events. The first event has position 1; 0 is before every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(u64);

impl Position {
    /// The position before the first event, at which a new subscriber begins.
    pub const START: Self = Self(0);

    /// The position after every event.
    pub const END: Self = Self(u64::MAX);

    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of events up to here.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next position.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Six digits that are drawn at each start. They tell ids of this database from ids of another one, and from ids of
/// events that a restored copy lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u32);

impl Epoch {
    const MODULUS: u32 = 1_000_000;

    /// An epoch from any number, reduced to six digits.
    pub const fn new(number: u32) -> Self {
        Self(number % Self::MODULUS)
    }

    /// The number, below a million.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// An event id: 16 digits of position and 6 of epoch. Subscribers get it in `id:` and send it back in `Last-Event-ID`.
///
/// Its width is fixed, so that ids increase as text and as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The position of the event.
    pub position: Position,
    /// The epoch in which the position was given out.
    pub epoch: Epoch,
}

impl EventId {
    const POSITION_DIGITS: usize = 16;
    const DIGITS: usize = 22;

    /// Parses an id; `None` for anything that no Broker has written.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (position, epoch) = text.split_at(Self::POSITION_DIGITS);
        Some(Self { position: Position::new(position.parse().ok()?), epoch: Epoch::new(epoch.parse().ok()?) })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}{:06}", self.position.get(), self.epoch.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written_and_grows_as_text_too() {
        let epoch = Epoch::new(42);
        let ids: Vec<_> = [1, 9, 10, 999_999, 1_000_000_000]
            .map(|n| EventId { position: Position::new(n), epoch }.to_string())
            .into();
        assert!(ids.is_sorted());
        assert_eq!(EventId::parse(&ids[2]).unwrap().position, Position::new(10));
        assert_eq!(EventId::parse(&ids[2]).unwrap().epoch, epoch);
    }

    #[test]
    fn text_that_is_no_id_is_not_parsed() {
        for bad in ["", "5", "-000000000000005000042", "00000000000000050000421", "000000000000000500004x"] {
            assert!(EventId::parse(bad).is_none(), "{bad}");
        }
    }
}
