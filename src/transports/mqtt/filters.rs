//! The subscriptions of one client.

use std::num::NonZeroU32;

use super::packet::{Qos, RetainHandling};
use super::record::Record;
use crate::domain::{Position, TopicFilter};

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
}

/// The subscriptions of a client, each filter once.
#[derive(Debug, Default)]
pub struct Filters(Vec<Wanted>);

/// How a message is delivered: by all subscriptions together that want it, so that it comes once.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The highest QoS of them.
    pub qos: Qos,
    /// Whether one of them wants to know what the publisher said of RETAIN.
    pub retain_as_published: bool,
}

impl Filters {
    /// Adds a subscription, or puts it in the place of the one with the same filter (MQTT 5.0, 3.8.4-3). Returns whether it is a new one.
    pub fn put(&mut self, wanted: Wanted) -> bool {
        match self.0.iter_mut().find(|other| other.filter == wanted.filter) {
            Some(other) => {
                *other = Wanted { since: other.since, ..wanted };
                false
            }
            None => {
                if self.0.is_empty() {
                    // Not for four, as a list grows by itself.
                    self.0.reserve_exact(1);
                }
                self.0.push(wanted);
                true
            }
        }
    }

    /// Takes a subscription out. Returns whether it was there.
    pub fn remove(&mut self, filter: &TopicFilter) -> bool {
        let at = self.0.iter().position(|other| other.filter == *filter);
        at.map(|at| self.0.swap_remove(at)).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one has this filter.
    pub fn contains(&self, filter: &TopicFilter) -> bool {
        self.0.iter().any(|other| other.filter == *filter)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Wanted> {
        self.0.iter()
    }

    /// How a message is delivered, and for which identifiers; `None` if no subscription wants it. `is_own` says that the client has
    /// published it.
    pub fn deliver(&self, record: &Record<'_>, is_own: bool, ids: &mut Vec<NonZeroU32>) -> Option<Delivery> {
        ids.clear();
        let mut found: Option<Delivery> = None;
        for wanted in &self.0 {
            let is_before = record.position <= wanted.since && !record.is_from_before;
            if is_before || (is_own && wanted.no_local) || !wanted.filter.matches(record.topic) {
                continue;
            }
            ids.extend(wanted.id);
            let known = found.get_or_insert(Delivery { qos: Qos::AtMostOnce, retain_as_published: false });
            known.qos = known.qos.max(wanted.qos);
            known.retain_as_published |= wanted.retain_as_published;
        }
        found
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
