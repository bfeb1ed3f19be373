use std::collections::{BTreeMap, HashMap};

use super::frame::Frame;
use crate::domain::{EventName, Position};

/// What a frame costs beside its bytes, about: its places in both maps.
const FRAME_BYTES: usize = 200;

/// The latest frame of every name of one tenant, in the order of positions: what a new subscriber gets, without asking the
/// store. Read from the store once and kept up by every publish from then on.
#[derive(Default)]
pub struct LatestFrames {
    frames: BTreeMap<Position, Frame>,
    positions: HashMap<EventName, Position>,
    bytes: usize,
    /// Whether everything is there, so that nothing older can come.
    is_settled: bool,
}

impl LatestFrames {
    /// Takes a frame in place of the one that its name had; a removal leaves none. One that is older than that changes
    /// nothing: it was read while the other came.
    pub fn take(&mut self, frame: Frame) {
        if let Some(known) = self.positions.get_mut(&frame.name) {
            if *known >= frame.position {
                return;
            }
            let old = self.frames.remove(known);
            self.bytes -= old.map_or(0, |old| cost(&old));
            *known = frame.position;
        } else {
            self.positions.insert(frame.name.clone(), frame.position);
        }
        // Of a removal only the position stays, lest something older be taken for new.
        if !frame.is_removal {
            self.bytes += cost(&frame);
            self.frames.insert(frame.position, frame);
        } else if self.is_settled {
            self.positions.remove(&frame.name);
        }
    }

    /// Nothing older comes any more: removals may be forgotten.
    pub fn settle(&mut self) {
        self.is_settled = true;
        let frames = &self.frames;
        self.positions.retain(|_, position| frames.contains_key(position));
    }

    /// The frames after one position, up to another, in order.
    pub fn between(&self, after: Position, until: Position) -> impl Iterator<Item = &Frame> {
        // A range may not end before it begins.
        let until = until.max(after);
        self.frames.range(after.next()..until.next()).map(|(_, frame)| frame)
    }

    /// How much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(frame: &Frame) -> usize {
    FRAME_BYTES + frame.bytes.len() + frame.name.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn frame(position: u64, name: &str) -> Frame {
        let name = EventName::parse(name).unwrap();
        let bytes = Bytes::from_static(b"frame");
        Frame { position: Position::new(position), name, bytes, is_removal: false }
    }

    fn positions(latest: &LatestFrames, after: u64, until: u64) -> Vec<u64> {
        latest.between(Position::new(after), Position::new(until)).map(|frame| frame.position.get()).collect()
    }

    #[test]
    fn each_name_is_there_once_as_it_was_last_in_whatever_order_it_came() {
        let mut latest = LatestFrames::default();
        for (position, name) in [(5, "a"), (1, "b"), (3, "a"), (2, "c"), (7, "b"), (6, "d")] {
            latest.take(frame(position, name));
        }
        assert_eq!(positions(&latest, 0, 9), [2, 5, 6, 7]);
        assert_eq!(positions(&latest, 2, 6), [5, 6]);
        assert!(positions(&latest, 6, 2).is_empty());
        assert_eq!(latest.bytes(), latest.between(Position::START, Position::new(9)).map(cost).sum::<usize>());
    }

    #[test]
    fn a_removed_name_is_gone_also_where_something_older_of_it_comes_later() {
        let mut latest = LatestFrames::default();
        latest.take(frame(1, "a"));
        latest.take(Frame { is_removal: true, ..frame(4, "a") });
        latest.take(frame(2, "a"));
        assert!(positions(&latest, 0, 9).is_empty());
        latest.settle();
        assert!(latest.positions.is_empty() && latest.bytes() == 0);
        latest.take(frame(5, "a"));
        assert_eq!(positions(&latest, 0, 9), [5]);
        latest.take(Frame { is_removal: true, ..frame(6, "a") });
        assert!(latest.positions.is_empty() && latest.bytes() == 0);
    }
}
