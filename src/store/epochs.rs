//! Epochs: they tell which start of the server gave out an id.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::domain::{Epoch, Position};

/// The epochs of a database, with their first positions.
///
/// If an older copy of the database is restored, positions are given out again. Ids that the server gave out before the
/// restore have another epoch than the same positions have now. So they are recognized as ids of another course of
/// events.
///
/// A cheap clone, which knows of each epoch that begins later.
#[derive(Clone)]
pub struct Epochs(Arc<ArcSwap<Known>>);

#[derive(Clone)]
struct Known {
    /// The epochs that are on disk, in order.
    kept: Arc<[(Position, Epoch)]>,
    /// The epoch that was drawn for the positions after those, until it is on disk, too.
    drawn: Option<(Position, Epoch)>,
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
        Self(Arc::new(ArcSwap::from_pointee(Known { kept: kept.into(), drawn: Some((first, drawn)) })))
    }

    /// The numbers of all that were given out.
    pub fn all(&self) -> Vec<u32> {
        let known = self.0.load();
        known.kept.iter().chain(&known.drawn).map(|(_, epoch)| epoch.get()).collect()
    }

    /// The epoch that was drawn and is not on disk yet, and its first position. It is written with the first event.
    pub fn drawn(&self) -> Option<(Position, Epoch)> {
        self.0.load().drawn
    }

    /// Notes the epoch of a commit, which is on disk now: that which was drawn, or another one in its place. No reader sees a position
    /// of it yet.
    pub fn keep(&self, first: Position, epoch: Epoch) {
        let known = self.0.load();
        let kept = known.kept.iter().copied().filter(|(other, _)| *other < first).chain([(first, epoch)]).collect();
        self.0.store(Arc::new(Known { kept, drawn: None }));
    }

    /// Notes that the epoch on disk goes on: events of it came after that which was drawn would have begun.
    pub fn go_on(&self) {
        let known = self.0.load();
        if known.drawn.is_some() {
            self.0.store(Arc::new(Known { kept: Arc::clone(&known.kept), drawn: None }));
        }
    }

    /// The epoch in which a position was given out.
    pub fn of(&self, position: Position) -> Epoch {
        let known = self.0.load();
        let begins = known.kept.partition_point(|(first, _)| *first <= position);
        let drawn = known.drawn.filter(|(first, _)| *first <= position);
        // The first epoch begins at the start, so there always is one.
        drawn.or(known.kept[..begins].last().copied()).map_or(Epoch::new(0), |(_, epoch)| epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_position_is_of_the_epoch_that_began_last_before_it() {
        let kept = [(0, 7), (4, 8), (5, 9)].map(|(first, epoch)| (Position::new(first), Epoch::new(epoch)));
        let epochs = Epochs::after(Position::new(9), kept.into(), &[]);
        let (first, current) = epochs.drawn().unwrap();
        assert_eq!(first, Position::new(10));
        for (position, epoch) in [(0, 7), (3, 7), (4, 8), (5, 9), (9, 9)] {
            assert_eq!(epochs.of(Position::new(position)), Epoch::new(epoch), "{position}");
        }
        assert_eq!((epochs.of(Position::new(10)), epochs.of(Position::END)), (current, current));
        let new = Epochs::after(Position::START, Vec::new(), &[]);
        assert_eq!(new.drawn(), Some((Position::START, new.of(Position::START))));
    }

    #[test]
    fn each_copy_knows_an_epoch_that_is_kept_later_whoever_drew_it() {
        let position = Position::new;
        let epochs = Epochs::after(position(9), vec![(position(0), Epoch::new(7))], &[]);
        let (first, drawn) = epochs.drawn().unwrap();
        let copy = epochs.clone();
        epochs.keep(first, drawn);
        assert_eq!((copy.drawn(), copy.of(position(9)), copy.of(first)), (None, Epoch::new(7), drawn));
        epochs.keep(position(20), Epoch::new(8));
        assert_eq!(
            [9, 19, 20, 99].map(|at| copy.of(position(at))),
            [Epoch::new(7), drawn, Epoch::new(8), Epoch::new(8)]
        );
        assert_eq!(copy.all(), [7, drawn.get(), 8]);
        // What was drawn here and never written counts for nothing.
        let epochs = Epochs::after(position(9), vec![(position(0), Epoch::new(7))], &[]);
        epochs.keep(position(12), Epoch::new(8));
        assert_eq!([9, 11, 12].map(|at| epochs.of(position(at))), [7, 7, 8].map(Epoch::new));
        assert_eq!(epochs.drawn(), None);
    }
}
