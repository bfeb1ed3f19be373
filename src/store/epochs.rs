//! Epochs: they tell which start of the server gave out an id.

use std::sync::Arc;

use crate::domain::{Epoch, Position};

/// The epochs of a database, with their first positions.
///
/// If an older copy of the database is restored, positions are given out again. Ids that the server gave out before the
/// restore have another epoch than the same positions have now. So they are recognized as ids of another course of
/// events.
#[derive(Clone)]
pub struct Epochs {
    /// The epochs of earlier starts, in order.
    earlier: Arc<[(Position, Epoch)]>,
    /// The epoch of this start, and its first position.
    current: (Position, Epoch),
}

impl Epochs {
    /// The epochs that are on disk, in order, and a new one for the positions after the head. It is none that was given out before: of
    /// those `spent`, nothing else is known.
    pub fn after(head: Position, kept: Vec<(Position, Epoch)>, spent: &[Epoch]) -> Self {
        let first = if kept.is_empty() { Position::START } else { head.next() };
        let is_known = |epoch: &Epoch| spent.contains(epoch) || kept.iter().any(|(_, known)| known == epoch);
        let mut drawn = Epoch::new(u32::from_be_bytes(crate::random::bytes()));
        // There are a million of them. A database that has known them all gets one again.
        for _ in 0..1000 {
            if !is_known(&drawn) {
                break;
            }
            drawn = Epoch::new(u32::from_be_bytes(crate::random::bytes()));
        }
        let current = (first, drawn);
        Self { earlier: kept.into(), current }
    }

    /// The numbers of all that were given out.
    pub fn all(&self) -> Vec<u32> {
        self.earlier.iter().chain([&self.current]).map(|(_, epoch)| epoch.get()).collect()
    }

    /// The epoch of this start, and its first position.
    pub fn current(&self) -> (Position, Epoch) {
        self.current
    }

    /// The epoch in which a position was given out.
    pub fn of(&self, position: Position) -> Epoch {
        let (first, current) = self.current;
        if position >= first {
            return current;
        }
        let later = self.earlier.partition_point(|(first, _)| *first <= position);
        // The first epoch begins at the start, so there always is one.
        self.earlier[..later].last().map_or(current, |(_, epoch)| *epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_position_is_of_the_epoch_that_began_last_before_it() {
        let kept = [(0, 7), (4, 8), (5, 9)].map(|(first, epoch)| (Position::new(first), Epoch::new(epoch)));
        let epochs = Epochs::after(Position::new(9), kept.into(), &[]);
        let (first, current) = epochs.current();
        assert_eq!(first, Position::new(10));
        for (position, epoch) in [(0, 7), (3, 7), (4, 8), (5, 9), (9, 9)] {
            assert_eq!(epochs.of(Position::new(position)), Epoch::new(epoch), "{position}");
        }
        assert_eq!((epochs.of(Position::new(10)), epochs.of(Position::END)), (current, current));
        let new = Epochs::after(Position::START, Vec::new(), &[]);
        assert_eq!(new.current(), (Position::START, new.of(Position::START)));
    }
}
