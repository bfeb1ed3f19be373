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
    /// For a session with these subscriptions; `None` if nothing was ever asked for.
    pub fn before(filters: &Filters, given: MqttAsked, exact: MqttAsked) -> Option<Box<Self>> {
        let asked = filters.iter().map(|wanted| wanted.asked.number).max().unwrap_or(0);
        let last = asked.max(given.through).max(exact.through);
        // What was given together is again, and what was noted of that is not again: up to where that is, is known by its numbers.
        let mut bounds = [given.done, given.through, exact.done, exact.through, last];
        bounds.sort_unstable();
        let groups = bounds.windows(2).filter_map(|bounds| {
            let [done, through] = bounds else { return None };
            let owed = || filters.iter().filter(|wanted| (done + 1..=*through).contains(&wanted.asked.number));
            let is_begun = (*done, *through) == (given.done, given.through);
            let until = owed().map(|wanted| wanted.asked.until).max()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{MqttAsk, TopicFilter};
    use crate::transports::mqtt::filters::Wanted;
    use crate::transports::mqtt::packet::Qos;

    /// Subscriptions by filter, number of the SUBSCRIBE that asked, and up to where.
    fn filters(all: &[(&str, u32, u64)]) -> Filters {
        let mut filters = Filters::default();
        for (filter, number, until) in all {
            filters.put(Wanted {
                filter: TopicFilter::parse(filter).unwrap(),
                qos: Qos::ExactlyOnce,
                no_local: false,
                retain_as_published: false,
                id: None,
                since: Position::START,
                asked: MqttAsk { number: *number, until: Position::new(*until) },
            });
        }
        filters
    }

    fn asked(done: u32, through: u32, after: u64) -> MqttAsked {
        MqttAsked { done, through, after: Position::new(after) }
    }

    /// What is still to be given: from where and up to where, by the number up to which it was asked for.
    fn before(filters: &Filters, given: MqttAsked, exact: MqttAsked) -> Vec<(u64, u64, u32)> {
        let asking = Asking::before(filters, given, exact);
        let before = asking.map(|asking| asking.before).unwrap_or_default();
        before.iter().map(|asked| (asked.after.get(), asked.until.get(), asked.number)).collect()
    }

    #[test]
    fn what_was_asked_for_and_not_given_is_given_up_to_where_it_was_asked_for() {
        let three = filters(&[("a", 1, 10), ("b", 2, 20), ("c", 3, 30)]);
        let none = MqttAsked::default();
        assert_eq!(before(&Filters::default(), none, none), []);
        assert_eq!(before(&filters(&[("a", 0, 0)]), none, none), []);
        // Nothing is known to have been given.
        assert_eq!(before(&three, none, none), [(0, 30, 3)]);
        // The second one was being given together with the third, and goes on where it was.
        assert_eq!(before(&three, asked(1, 3, 15), none), [(15, 30, 3)]);
        assert_eq!(before(&three, asked(1, 2, 15), none), [(15, 20, 2), (0, 30, 3)]);
        assert_eq!(before(&three, asked(3, 3, 0), none), []);
        // What was noted of QoS 2 was given in groups of its own.
        assert_eq!(before(&three, none, asked(1, 2, 15)), [(0, 10, 1), (0, 20, 2), (0, 30, 3)]);
    }
}
