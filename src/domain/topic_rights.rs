//! What rights say to a topic filter of MQTT, before anything is delivered by it.

use super::{Own, Pattern, Patterns, Rights, TopicFilter, inbox_owner};

/// The owner of the inbox in which everything is that a filter matches, if there is one. `@bob/#` matches the name `@bob`, too, which
/// is in no inbox.
fn inbox_of(filter: &TopicFilter) -> Option<&str> {
    let is_more = filter.parent().is_none_or(|parent| inbox_owner(parent).is_some());
    inbox_owner(filter.as_str()).filter(|_| is_more)
}

impl Rights {
    /// Whether somebody with these rights, and with events of their own, may see whatever a filter matches, apart from the inboxes of
    /// others, which nobody else may see. If in doubt, it is false.
    pub fn covers(&self, filter: &TopicFilter, own: &Own) -> bool {
        if let Some(owner) = inbox_of(filter) {
            return owner == own.username.as_str();
        }
        let pattern = Pattern::from(filter.clone());
        let is_shared = match self {
            Self::All => true,
            Self::Of(patterns) => patterns.contain(&pattern),
        };
        is_shared || own.patterns.contain(&pattern)
    }

    /// Whether somebody with these rights, and with events of their own, may see anything at all that a filter matches. If in doubt,
    /// it is true.
    pub fn overlaps(&self, filter: &TopicFilter, own: &Own) -> bool {
        if let Some(owner) = inbox_of(filter) {
            return owner == own.username.as_str();
        }
        let overlaps = |patterns: &Patterns| patterns.overlap(filter);
        let is_shared = match self {
            Self::All => true,
            Self::Of(patterns) => overlaps(patterns),
        };
        is_shared || overlaps(&own.patterns) || filter.overlaps_prefix(&format!("@{}/", own.username))
    }
}

#[cfg(test)]
mod tests;
