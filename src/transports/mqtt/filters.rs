//! The subscriptions of one client.

use std::num::NonZeroU32;

use super::packet::{Qos, RetainHandling};
use super::record::Record;
use crate::domain::{MqttAsk, Position, TopicFilter};

/// Up to so many subscriptions are compared one by one.
const FEW: usize = 16;

/// A subscription: which messages are wanted, and how (MQTT 5.0, 3.8.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The topics.
    pub filter: TopicFilter,
    /// With which QoS at most.
    pub qos: Qos,
    /// Whether what the client publishes itself is left out.
    pub no_local: bool,
    /// Whether a message says what its publisher said of RETAIN.
    pub retain_as_published: bool,
    /// What the client knows the subscription by.
    pub id: Option<NonZeroU32>,
    /// What was published up to here came before it. A session that goes on from an earlier position is not given that.
    pub since: Position,
    /// The last SUBSCRIBE that has asked for its retained messages.
    pub asked: MqttAsk,
}

/// The subscriptions of a client, each filter once, in the order of the filters' text.
#[derive(Debug, Default)]
pub struct Filters {
    wanted: Vec<Wanted>,
}

/// Which retained messages come.
#[derive(Clone, Copy, Debug)]
pub struct AskedNow {
    /// They were asked for after the SUBSCRIBE of this number.
    pub after: u32,
    /// And up to that of this one.
    pub through: u32,
    /// Up to here they come by whatever of those matches, and after that only as far as each subscription has asked.
    pub so_far: Position,
}

/// How a message is delivered: by all subscriptions together that want it, so that it comes once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The highest QoS of them.
    pub qos: Qos,
    /// Whether one of them wants to know what the publisher said of RETAIN.
    pub retain_as_published: bool,
}

impl Filters {
    fn place(&self, filter: &TopicFilter) -> Result<usize, usize> {
        self.wanted.binary_search_by(|other| other.filter.as_str().cmp(filter.as_str()))
    }

    /// Adds a subscription, or puts it in the place of the one with the same filter (MQTT 5.0, 3.8.4-3). Returns whether it is a new one.
    pub fn put(&mut self, wanted: Wanted) -> bool {
        let place = self.place(&wanted.filter);
        match place {
            Ok(at) => {
                let before = &mut self.wanted[at];
                *before = Wanted { since: before.since, asked: wanted.asked.max(before.asked), ..wanted };
            }
            Err(at) => {
                if self.wanted.is_empty() {
                    // Not for four, as a list grows by itself.
                    self.wanted.reserve_exact(1);
                }
                self.wanted.insert(at, wanted);
            }
        }
        place.is_err()
    }

    /// Has a subscription be what it was, if it is there.
    pub fn restore(&mut self, before: Wanted) {
        if let Ok(at) = self.place(&before.filter) {
            self.wanted[at] = before;
        }
    }

    /// Takes a subscription out. Returns whether it was there.
    pub fn remove(&mut self, filter: &TopicFilter) -> bool {
        let Ok(at) = self.place(filter) else { return false };
        self.wanted.remove(at);
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// The one with this filter.
    pub fn get(&self, filter: &TopicFilter) -> Option<&Wanted> {
        self.place(filter).ok().map(|at| &self.wanted[at])
    }

    /// Whether one has this filter.
    pub fn contains(&self, filter: &TopicFilter) -> bool {
        self.get(filter).is_some()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Wanted> {
        self.wanted.iter()
    }

    /// How a message is delivered, and for which identifiers; `None` if no subscription wants it. `is_own` says that the client has
    /// published it. Retained messages are delivered by those subscriptions alone that they were `asked` for by (MQTT 5.0, 3.8.4), if that
    /// is known, and so far: what is newer comes as it is published.
    pub fn deliver(
        &self,
        record: &Record<'_>,
        is_own: bool,
        asked: Option<AskedNow>,
        ids: &mut Vec<NonZeroU32>,
    ) -> Option<Delivery> {
        ids.clear();
        let mut found: Option<Delivery> = None;
        self.each_match(record.topic, &mut |wanted| {
            let is_other = match record.is_from_before {
                true => asked.is_some_and(|asked| {
                    let was_asked = (asked.after + 1..=asked.through).contains(&wanted.asked.number);
                    !was_asked || record.position > wanted.asked.until.max(asked.so_far)
                }),
                false => record.position <= wanted.since,
            };
            if is_other || (is_own && wanted.no_local) {
                return;
            }
            ids.extend(wanted.id);
            let known = found.get_or_insert(Delivery { qos: Qos::AtMostOnce, retain_as_published: false });
            known.qos = known.qos.max(wanted.qos);
            known.retain_as_published |= wanted.retain_as_published;
        });
        found
    }

    /// Gives every subscription that matches a topic to `each`.
    fn each_match(&self, topic: &str, each: &mut dyn FnMut(&Wanted)) {
        // Names with wildcards come from other transports, and no filter matches them.
        if topic.contains(['+', '#']) {
            return;
        }
        let of_server = if topic.starts_with('$') { going_on(&self.wanted, 0, "$") } else { &self.wanted };
        each_going_on(of_server, 0, topic, each);
    }
}

/// Those of some subscriptions, which are in order and the same up to a byte, that go on with a text there.
fn going_on<'a>(wanted: &'a [Wanted], at: usize, text: &str) -> &'a [Wanted] {
    let (_, from) = wanted.split_at(wanted.partition_point(|one| one.filter.as_str()[at..] < *text));
    from.split_at(from.partition_point(|one| one.filter.as_str()[at..].starts_with(text))).0
}

/// Gives those of some subscriptions that match what a topic has from a level on: they are in order, and the same up to that level, which
/// begins at a byte. In their order they are a tree of levels, in which this goes down.
fn each_going_on(wanted: &[Wanted], at: usize, topic: &str, each: &mut dyn FnMut(&Wanted)) {
    #[cfg(test)]
    tests::STEPS.set(tests::STEPS.get() + 1);
    if wanted.len() <= FEW {
        return wanted.iter().filter(|wanted| wanted.filter.matches_from(at, topic)).for_each(each);
    }
    // There is one at most: nothing follows it.
    going_on(wanted, at, "#").iter().for_each(&mut *each);
    let (level, below) = topic.split_once('/').map_or((topic, None), |(level, below)| (level, Some(below)));
    for level in [level, "+"] {
        let (wanted, at) = (going_on(wanted, at, level), at + level.len());
        match below {
            Some(below) => each_going_on(going_on(wanted, at, "/"), at + 1, below, each),
            None => {
                let ends_here = wanted.first().filter(|first| first.filter.as_str().len() == at);
                // `a/#` matches `a`, too.
                let above = going_on(wanted, at, "/#").iter();
                ends_here.into_iter().chain(above).for_each(&mut *each);
            }
        }
    }
}

/// Whether the latest event of each name is given to a subscription that is new or not (MQTT 5.0, 3.8.3.1).
pub fn gives_retained(handling: RetainHandling, is_new: bool) -> bool {
    match handling {
        RetainHandling::Always => true,
        RetainHandling::IfNew => is_new,
        RetainHandling::Never => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::MAX_LEVELS_WITH_PLUS;

    thread_local! {
        /// How many places of the tree were looked at.
        pub static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn filters_that_go_every_way_cost_no_more_than_there_are_ways() {
        let level = |bits: usize, number: usize| if bits >> number & 1 == 0 { "a/" } else { "+/" };
        let way = |bits: usize| (0..MAX_LEVELS_WITH_PLUS - 1).map(|number| level(bits, number)).collect::<String>();
        let mut filters = Filters::default();
        (0..5120).filter_map(|one| wanted(&format!("{}b{one}", way(one / 40)))).for_each(|wanted| {
            filters.put(wanted);
        });
        assert_eq!(filters.len(), 5120);
        filters.each_match(&["a"; MAX_LEVELS_WITH_PLUS].join("/"), &mut |wanted| panic!("{wanted:?}"));
        let steps = STEPS.take();
        assert!((128..=2 << MAX_LEVELS_WITH_PLUS).contains(&steps), "{steps}");
    }

    fn wanted(filter: &str) -> Option<Wanted> {
        let filter = TopicFilter::parse(filter)?;
        let qos = Qos::AtMostOnce;
        Some(Wanted {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            id: None,
            since: Position::START,
            asked: MqttAsk::default(),
        })
    }

    proptest! {
        #[test]
        fn the_subscriptions_that_match_are_found_in_many_as_one_by_one(
            texts in prop::collection::vec("[ab$]{0,1}(/[ab+]{0,1}){0,3}(/#)?|[+#]|[+](/[ab]){0,2}", 0..60),
            topic in "[ab$+]{0,2}(/[ab]{0,1}){0,3}",
        ) {
            let mut filters = Filters::default();
            texts.iter().filter_map(|text| wanted(text)).for_each(|wanted| {
                filters.put(wanted);
            });
            let mut found = Vec::new();
            filters.each_match(&topic, &mut |wanted| found.push(wanted.filter.clone()));
            found.sort();
            let one_by_one: Vec<_> = filters.iter().map(|wanted| wanted.filter.clone()).collect();
            let expected: Vec<_> = one_by_one.into_iter().filter(|filter| filter.matches(&topic)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_newer_than_a_subscription_asked_for_is_no_retained_message_of_it() {
        let mut filters = Filters::default();
        let until = |number, until| MqttAsk { number, until: Position::new(until) };
        filters.put(Wanted { asked: until(1, 3), ..wanted("a").unwrap() });
        filters.put(Wanted { asked: until(2, 9), qos: Qos::ExactlyOnce, ..wanted("#").unwrap() });
        let given = |position, is_from_before, so_far, through| {
            let record = Record {
                bytes: &[],
                position: Position::new(position),
                qos: Qos::ExactlyOnce,
                is_retained: true,
                is_from_before,
                expires_at: None,
                publisher: None,
                topic: "a",
                properties: &[],
                payload: &[],
            };
            let asked = AskedNow { after: 0, through, so_far: Position::new(so_far) };
            let delivery = filters.deliver(&record, false, Some(asked), &mut Vec::new());
            delivery.map(|delivery| delivery.qos)
        };
        assert_eq!((given(3, true, 0, 1), given(3, true, 0, 2)), (Some(Qos::AtMostOnce), Some(Qos::ExactlyOnce)));
        assert_eq!((given(9, true, 0, 2), given(10, true, 0, 2)), (Some(Qos::ExactlyOnce), None));
        assert_eq!((given(10, true, 10, 2), given(11, true, 10, 2)), (Some(Qos::ExactlyOnce), None));
        // It comes as it is published.
        assert_eq!(given(10, false, 0, 0), Some(Qos::ExactlyOnce));
        // It is asked for once more, and not by a SUBSCRIBE that asks for nothing.
        filters.put(Wanted { qos: Qos::AtLeastOnce, ..wanted("#").unwrap() });
        filters.put(Wanted { asked: until(3, 12), ..wanted("a").unwrap() });
        let asked: Vec<_> = filters.iter().map(|wanted| wanted.asked.until.get()).collect();
        assert_eq!(asked, [9, 12]);
    }

    #[test]
    fn a_filter_is_there_once_and_keeps_its_beginning() {
        let mut filters = Filters::default();
        let a = |qos, since| Wanted { qos, since: Position::new(since), ..wanted("a/+").unwrap() };
        assert!(filters.put(a(Qos::AtMostOnce, 3)) && filters.put(wanted("b").unwrap()));
        assert!(!filters.put(a(Qos::AtLeastOnce, 9)));
        let kept: Vec<_> = filters.iter().map(|wanted| (wanted.qos, wanted.since.get())).collect();
        assert_eq!(kept, [(Qos::AtLeastOnce, 3), (Qos::AtMostOnce, 0)]);
        let filter = TopicFilter::parse("a/+").unwrap();
        assert!(filters.contains(&filter) && filters.remove(&filter) && !filters.remove(&filter));
        assert_eq!(filters.len(), 1);
    }
}
