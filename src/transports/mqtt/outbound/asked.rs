//! Retained messages that subscriptions ask for, and how far they have been given: a client that is cut off before it has all of them
//! subscribes no more when its session goes on (MQTT 5.0, 4.1).

use crate::domain::{EventFilter, MqttAsked, Position};
use crate::events::Asked;
use crate::transports::mqtt::filters::Filters;

/// The retained messages that were asked for.
#[derive(Debug, Default)]
pub struct Asking {
    /// By what those were asked for that come now.
    pub now: Option<EventFilter>,
    /// How far they have been given.
    pub given: MqttAsked,
    /// Those of QoS 2 up to here have been noted.
    pub exact: MqttAsked,
    /// The number of the last SUBSCRIBE that has asked for some.
    pub last: u32,
    /// The number of the last one that did so over an earlier connection.
    pub last_before: u32,
    /// What is still to be given of what was asked for over an earlier connection.
    pub before: Vec<Asked>,
}

impl Asking {
    /// For a session with these subscriptions that goes on from a position; `None` if nothing was ever asked for.
    pub fn before(filters: &Filters, given: MqttAsked, exact: MqttAsked, position: Position) -> Option<Box<Self>> {
        let last = filters.iter().map(|wanted| wanted.asked).max().unwrap_or(0).max(given.through).max(exact.through);
        // What was given together is again, and what was noted of that is not again: up to where that is, is known by its numbers.
        let mut bounds = [given.done, given.through, exact.done, exact.through, last];
        bounds.sort_unstable();
        let groups = bounds.windows(2).filter_map(|bounds| {
            let [done, through] = bounds else { return None };
            let owed = || filters.iter().filter(|wanted| *done < wanted.asked && wanted.asked <= *through);
            let is_begun = (*done, *through) == (given.done, given.through);
            // What came later than that comes by the stream.
            let until = owed().map(|wanted| wanted.since).max()?.max(position);
            let filter = EventFilter::topics(owed().map(|wanted| wanted.filter.clone())).ok()?;
            let after = if is_begun { given.after } else { Position::START };
            (*done >= given.done).then_some(Asked { filter, after, until, number: *through })
        });
        let before = groups.collect();
        (last > 0).then(|| Box::new(Self { now: None, given, exact, last, last_before: last, before }))
    }

    /// Whether those that come now were asked for over an earlier connection.
    pub fn is_of_before(&self) -> bool {
        self.given.through <= self.last_before
    }

    /// How far those would be given if they were up to a position.
    pub fn at(&self, after: Position) -> MqttAsked {
        MqttAsked { after, ..self.given }
    }
}
