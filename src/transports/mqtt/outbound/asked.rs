//! Retained messages that subscriptions ask for, and how far they have been given: a client that is cut off before it has all of them
//! subscribes no more when its session goes on (MQTT 5.0, 4.1).

use crate::domain::{EventFilter, MqttAsked, Position};
use crate::events::Asked;
use crate::transports::mqtt::filters::{AskedNow, Filters};

/// The retained messages that were asked for.
#[derive(Debug, Default)]
pub struct Asking {
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
    /// Up to where the session had come over that.
    from: Position,
    /// The numbers at which groups of that end, in order. A group of which nothing is wanted any more is not given.
    bounds: [u32; 5],
}

impl Asking {
    /// For a session with these subscriptions that goes on from a position; `None` if nothing was ever asked for.
    pub fn before(filters: &Filters, given: MqttAsked, exact: MqttAsked, from: Position) -> Option<Box<Self>> {
        let asked = filters.iter().map(|wanted| wanted.asked.number).max().unwrap_or(0);
        let last = asked.max(given.through).max(exact.through);
        // What was given together is again, and what was noted of that is not again: up to where that is, is known by its numbers.
        let mut bounds = [given.done, given.through, exact.done, exact.through, last];
        bounds.sort_unstable();
        let groups = bounds.windows(2).filter_map(|bounds| {
            let [done, through] = bounds else { return None };
            let owed = || filters.iter().filter(|wanted| (done + 1..=*through).contains(&wanted.asked.number));
            let is_begun = (*done, *through) == (given.done, given.through);
            // What came meanwhile may have passed before the stream had the filter.
            let until = owed().map(|wanted| wanted.asked.until).max()?.max(from);
            let filter = EventFilter::topics(owed().map(|wanted| wanted.filter.clone())).ok()?;
            let after = if is_begun { given.after } else { Position::START };
            (*done >= given.done).then_some(Asked { filter, after, until, number: *through, is_begun: true })
        });
        let before = groups.collect();
        (last > 0).then(|| Box::new(Self { given, exact, last, last_before: last, before, from, bounds }))
    }

    /// Whether those that come now were asked for over an earlier connection.
    pub fn is_of_before(&self) -> bool {
        self.given.through <= self.last_before
    }

    /// Those that come now, with how far they do.
    pub fn now(&self) -> AskedNow {
        let so_far = if self.is_of_before() { self.from } else { Position::END };
        AskedNow { after: self.given.done, through: self.given.through, so_far }
    }

    /// Those that were asked for up to a number begin, after all that were asked for before.
    pub fn begin(&mut self, number: u32) {
        if self.given.through == number {
            return;
        }
        let ended = self.bounds.into_iter().filter(|bound| *bound < number).max().unwrap_or(0);
        self.given = MqttAsked { done: ended.max(self.given.done), through: number, after: Position::START };
    }

    /// How far those would be given if they were up to a position.
    pub fn at(&self, after: Position) -> MqttAsked {
        MqttAsked { after, ..self.given }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::super::{Limits, Outbound, Progress};
    use super::*;
    use crate::domain::{MqttAsk, TopicFilter};
    use crate::transports::mqtt::filters::Wanted;
    use crate::transports::mqtt::packet::{Qos, Version};

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

    /// What is still to be given to a session from position 12 on: from where and up to where, by the number up to which it was asked for.
    fn before(filters: &Filters, given: MqttAsked, exact: MqttAsked) -> Vec<(u64, u64, u32)> {
        let asking = Asking::before(filters, given, exact, Position::new(12));
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
        assert_eq!(before(&three, none, asked(1, 2, 15)), [(0, 12, 1), (0, 20, 2), (0, 30, 3)]);
    }

    #[test]
    fn what_is_given_is_that_of_the_subscriptions_that_asked_and_from_its_beginning() {
        let asked_for = |number| Asked {
            filter: EventFilter::topics([]).unwrap(),
            after: Position::START,
            until: Position::new(99),
            number,
            is_begun: false,
        };
        let mut outbound = Outbound::new(limits(), Position::START);
        outbound.begin_asked(&asked_for(1));
        // What was asked for meanwhile is given together with it.
        outbound.begin_asked(&asked_for(2));
        assert_eq!(outbound.asked_progress().0, asked(0, 2, 0));
        outbound.end_asked(2);
        assert_eq!(outbound.asked_progress().0, asked(2, 2, 0));
        // Of a group that nobody asks for any more only a part was given.
        let progress = Progress { asked: asked(0, 1, 60), ..Progress::default() };
        let left = filters(&[("b", 2, 80)]);
        let mut resumed = Outbound::resumed(limits(), left, progress, Position::new(99));
        let before = resumed.take_asked_before();
        resumed.begin_asked(&before[0]);
        assert_eq!(resumed.asked_progress().0, asked(1, 2, 0));
    }

    #[test]
    fn what_comes_after_a_group_that_nobody_asks_for_any_more_is_not_taken_for_noted() {
        let progress = Progress { exact_asked: asked(2, 3, 60), ..Progress::default() };
        let mut asking =
            Asking::before(&filters(&[("a", 4, 80)]), progress.asked, progress.exact_asked, Position::START).unwrap();
        asking.begin(4);
        assert!(asking.given == asked(3, 4, 0) && asking.at(Position::new(70)) > asking.exact);
        // Nor is what is asked for then, though nothing was owed.
        let mut asking =
            Asking::before(&Filters::default(), progress.asked, progress.exact_asked, Position::START).unwrap();
        asking.begin(4);
        assert_eq!(asking.given, asked(3, 4, 0));
    }

    fn limits() -> Limits {
        Limits {
            version: Version::V5,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            publisher: 1,
            keeps: true,
        }
    }
}
