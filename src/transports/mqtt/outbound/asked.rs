//! Retained messages that subscriptions ask for, and how far they have been given: a client that is cut off before it has all of them
//! subscribes no more when its session goes on (MQTT 5.0, 4.1).

use super::Outbound;
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
    last: u32,
    /// What is still to be given of what was asked for over an earlier connection.
    before: Vec<Asked>,
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
        (last > 0).then(|| Box::new(Self { now: None, given, exact, last, before }))
    }

    /// How far those would be given if they were up to a position.
    pub fn at(&self, after: Position) -> MqttAsked {
        MqttAsked { after, ..self.given }
    }
}

impl Outbound {
    /// The number of a SUBSCRIBE that asks for retained messages.
    pub fn ask(&mut self) -> u32 {
        let asking = self.asking.get_or_insert_default();
        asking.last = asking.last.saturating_add(1);
        asking.last
    }

    /// What is still to be given of what was asked for over an earlier connection.
    pub fn take_asked_before(&mut self) -> Vec<Asked> {
        self.asking.as_mut().map(|asking| std::mem::take(&mut asking.before)).unwrap_or_default()
    }

    /// Retained messages that come from here on were asked for by this.
    pub fn begin_asked(&mut self, asked: &Asked) {
        let asking = self.asking.get_or_insert_default();
        if asking.now.is_none() {
            asking.now = Some(asked.filter.clone());
        }
        asking.given.through = asked.number;
    }

    /// All of those have been taken, up to the SUBSCRIBE of this number.
    pub fn end_asked(&mut self, number: u32) {
        if let Some(asking) = &mut self.asking {
            asking.now = None;
            asking.given = MqttAsked { done: number, through: number, after: Position::START };
            self.has_changed = true;
        }
    }

    /// How far retained messages have been given that were asked for, and up to where those of QoS 2 have been noted.
    pub(super) fn asked_progress(&self) -> (MqttAsked, MqttAsked) {
        self.asking.as_ref().map_or_else(Default::default, |asking| (asking.given, asking.exact))
    }
}
