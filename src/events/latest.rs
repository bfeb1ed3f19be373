use std::collections::{BTreeMap, HashMap};

use super::frame::Frame;
use crate::domain::{EventName, Position};

/// What a frame costs beside its bytes, about: its places in both maps.
const FRAME_BYTES: usize = 200;

/// The latest frame of every name of one tenant, in the order of positions: what a new subscriber gets, without asking the
/// store. Read from the store once and kept up by every publish from then on.
#[derive(Default)]
pub struct Latest {
    frames: BTreeMap<Position, Frame>,
    positions: HashMap<EventName, Position>,
    bytes: usize,
}

impl Latest {
    /// Takes a frame in place of the one that its name had. One that is older than that changes nothing: it was read while
    /// the other came.
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
        self.bytes += cost(&frame);
        self.frames.insert(frame.position, frame);
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
        Frame { position: Position::new(position), name, bytes: Bytes::from_static(b"frame") }
    }

    fn positions(latest: &Latest, after: u64, until: u64) -> Vec<u64> {
        latest.between(Position::new(after), Position::new(until)).map(|frame| frame.position.get()).collect()
    }

    #[test]
    fn each_name_is_there_once_as_it_was_last_in_whatever_order_it_came() {
        let mut latest = Latest::default();
        for (position, name) in [(5, "a"), (1, "b"), (3, "a"), (2, "c"), (7, "b"), (6, "d")] {
            latest.take(frame(position, name));
        }
        assert_eq!(positions(&latest, 0, 9), [2, 5, 6, 7]);
        assert_eq!(positions(&latest, 2, 6), [5, 6]);
        assert!(positions(&latest, 6, 2).is_empty());
        assert_eq!(latest.bytes(), latest.between(Position::START, Position::new(9)).map(cost).sum::<usize>());
    }
}
