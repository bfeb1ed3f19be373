//! What rights say to a topic filter of MQTT, before anything is delivered by it.

use super::{Own, Pattern, Patterns, Rights, TopicFilter, inbox_owner};

/// Whether a filter that begins as an inbox does matches nothing outside of it: `@bob/#` matches the name `@bob`, too.
fn is_in_inbox(filter: &TopicFilter) -> bool {
    filter.parent().is_none_or(|parent| inbox_owner(parent).is_some())
}

impl Rights {
    /// Whether somebody with these rights, and with events of their own, may see whatever a filter matches, apart from the inboxes of
    /// others, which nobody else may see. If in doubt, it is false.
    pub fn covers(&self, filter: &TopicFilter, own: &Own) -> bool {
        match inbox_owner(filter.as_str()) {
            Some(owner) if owner != own.username.as_str() => return false,
            Some(_) if is_in_inbox(filter) => return true,
            Some(_) | None => {}
        }
        let pattern = Pattern::from(filter.clone());
        let is_shared = match self {
            Self::All => true,
            Self::Of(patterns) => patterns.contain(&pattern),
        };
        is_shared || own.patterns.contain(&pattern)
    }

    /// Whether somebody with these rights, and with events of their own, may see anything at all that a filter matches. If in doubt,
    /// it is true. `@bob/#` stands for bob's inbox: that others may see the name `@bob`, which it matches too, does not count.
    pub fn overlaps(&self, filter: &TopicFilter, own: &Own) -> bool {
        if let Some(owner) = inbox_owner(filter.as_str()) {
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
