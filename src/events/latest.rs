use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::shared_event::SharedEvent;
use crate::domain::{EventKind, EventName, Position};

/// What an event costs beside its own bytes, about: its structure, and its places in both maps.
pub const EVENT_BYTES: usize = 240;

/// The latest event of every name of one tenant, in the order of positions: a new subscriber gets it without a look into the store.
/// It is read from the store once, and every publish keeps it up to date from then on.
#[derive(Default)]
pub struct LatestByName {
    events: BTreeMap<Position, Arc<SharedEvent>>,
    positions: HashMap<EventName, Position>,
    bytes: usize,
    /// Whether everything is there, so that nothing older can come.
    is_settled: bool,
}

impl LatestByName {
    /// Takes an event in place of the one that its name had; a removal leaves none, and a transient event changes nothing. Nor does an
    /// event that is older than the one that is known: it was read from the store while the other one was published.
    pub fn take(&mut self, event: Arc<SharedEvent>) {
        if event.kind == EventKind::Transient {
            return;
        }
        let position = event.position();
        if let Some(known) = self.positions.get_mut(&event.name) {
            if *known >= position {
                return;
            }
            let old = self.events.remove(known);
            self.bytes -= old.map_or(0, |old| cost(&old));
            *known = position;
        } else {
            self.positions.insert(event.name.clone(), position);
        }
        // Of a removal only the position stays, or something older would be taken for new.
        if event.kind == EventKind::Value {
            self.bytes += cost(&event);
            self.events.insert(position, event);
        } else if self.is_settled {
            self.positions.remove(&event.name);
        }
    }

    /// Nothing older comes any more: removals may be forgotten.
    pub fn settle(&mut self) {
        self.is_settled = true;
        let events = &self.events;
        self.positions.retain(|_, position| events.contains_key(position));
    }

    /// The events after one position, up to another, in order.
    pub fn between(&self, after: Position, until: Position) -> impl Iterator<Item = &Arc<SharedEvent>> {
        // A range may not end before it begins.
        let until = until.max(after);
        self.events.range(after.next()..until.next()).map(|(_, event)| event)
    }

    /// How much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(event: &SharedEvent) -> usize {
    EVENT_BYTES + event.bytes() + event.name.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Epoch, Event, EventId};

    fn shared(position: u64, name: &str, kind: EventKind) -> Arc<SharedEvent> {
        let id = EventId { position: Position::new(position), epoch: Epoch::new(1) };
        Arc::new(SharedEvent::new(Event { kind, ..Event::example(position, name, "null") }, id))
    }

    fn event(position: u64, name: &str) -> Arc<SharedEvent> {
        shared(position, name, EventKind::Value)
    }

    fn transient(position: u64, name: &str) -> Arc<SharedEvent> {
        shared(position, name, EventKind::Transient)
    }

    fn removal(position: u64, name: &str) -> Arc<SharedEvent> {
        shared(position, name, EventKind::Removal)
    }

    fn positions(latest: &LatestByName, after: u64, until: u64) -> Vec<u64> {
        latest.between(Position::new(after), Position::new(until)).map(|event| event.position().get()).collect()
    }

    #[test]
    fn each_name_is_there_once_as_it_was_last_in_whatever_order_it_came() {
        let mut latest = LatestByName::default();
        for (position, name) in [(5, "a"), (1, "b"), (3, "a"), (2, "c"), (7, "b"), (6, "d")] {
            latest.take(event(position, name));
        }
        assert_eq!(positions(&latest, 0, 9), [2, 5, 6, 7]);
        assert_eq!(positions(&latest, 2, 6), [5, 6]);
        assert!(positions(&latest, 6, 2).is_empty());
        assert_eq!(
            latest.bytes(),
            latest.between(Position::START, Position::new(9)).map(|event| cost(event)).sum::<usize>()
        );
    }

    #[test]
    fn a_removed_name_is_gone_also_where_something_older_of_it_comes_later() {
        let mut latest = LatestByName::default();
        latest.take(event(1, "a"));
        latest.take(removal(4, "a"));
        latest.take(event(2, "a"));
        assert!(positions(&latest, 0, 9).is_empty());
        latest.settle();
        assert!(latest.positions.is_empty() && latest.bytes() == 0);
        latest.take(event(5, "a"));
        assert_eq!(positions(&latest, 0, 9), [5]);
        latest.take(removal(6, "a"));
        assert!(latest.positions.is_empty() && latest.bytes() == 0);
    }

    #[test]
    fn transient_events_neither_take_the_place_of_a_latest_one_nor_any_memory() {
        let mut latest = LatestByName::default();
        latest.take(event(1, "a"));
        latest.take(removal(2, "b"));
        let bytes = latest.bytes();
        (3..1000).for_each(|position| latest.take(transient(position, ["a", "b", "c"][position as usize % 3])));
        assert_eq!((positions(&latest, 0, 1000), latest.bytes(), latest.positions.len()), (vec![1], bytes, 2));
        // What is older than the removal stays away.
        latest.take(event(1, "b"));
        latest.settle();
        assert_eq!((positions(&latest, 0, 1000), latest.positions.len()), (vec![1], 1));
    }

    #[test]
    fn the_page_says_what_an_event_costs_beside_its_own_bytes() {
        let said = format!("{EVENT_BYTES} bytes of overhead per event");
        assert!(include_str!("../../docs/operations.md").contains(&said), "{said}");
    }
}
