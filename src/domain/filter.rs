use std::sync::Arc;

use super::{EventName, MAX_NAME_BYTES};
use crate::error::Error;

/// The most names or prefixes in one filter.
const MAX_PATTERNS: usize = 1000;

/// Which events a subscriber wants: all, or names and prefixes (`news,chat/*`). Cheap to clone; equal where the same is
/// wanted in another order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct EventFilter {
    /// `None` lets everything through. Sorted, each once.
    patterns: Option<Arc<[Pattern]>>,
}

/// One entry of a filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// This name and no other.
    Exact(EventName),
    /// Every name that begins so.
    Prefix(String),
}

impl Pattern {
    /// Whether a name is one of those.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.as_str() == name,
            Self::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}

impl EventFilter {
    /// Lets everything through.
    pub const ALL: Self = Self { patterns: None };

    /// Reads `news,chat/*`: names, or prefixes ended by `*`, with commas between. White space around one is dropped.
    ///
    /// # Errors
    /// [`Error::FilterInvalid`] for an empty list or entry, something that cannot be an event's name, or too many.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut patterns = Vec::new();
        for part in text.split(',').map(str::trim) {
            let pattern = match part.strip_suffix('*') {
                Some("") => return Ok(Self::ALL),
                Some(prefix) if prefix.len() <= MAX_NAME_BYTES => Pattern::Prefix(prefix.to_owned()),
                Some(_) => return Err(Error::FilterInvalid),
                None => Pattern::Exact(EventName::parse(part).map_err(|_| Error::FilterInvalid)?),
            };
            if patterns.len() == MAX_PATTERNS {
                return Err(Error::FilterInvalid);
            }
            patterns.push(pattern);
        }
        patterns.sort_unstable();
        patterns.dedup();
        Ok(Self { patterns: Some(patterns.into()) })
    }

    /// Whether an event of this name passes.
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(name)))
    }

    /// The entries, or `None` where everything passes.
    pub fn patterns(&self) -> Option<&[Pattern]> {
        self.patterns.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_names_and_prefixes() {
        let filter = EventFilter::parse("news, chat/*").unwrap();
        assert!(filter.matches("news") && filter.matches("chat/1") && filter.matches("chat/"));
        assert!(!filter.matches("newsroom") && !filter.matches("chat"));
        assert!(EventFilter::parse("a,*").unwrap().matches("anything"));
    }

    #[test]
    fn the_same_wishes_in_another_order_are_the_same_filter() {
        assert_eq!(EventFilter::parse("a,b/*,a").unwrap(), EventFilter::parse(" b/*, a").unwrap());
        assert_ne!(EventFilter::parse("a").unwrap(), EventFilter::parse("a*").unwrap());
    }

    #[test]
    fn what_could_match_nothing_is_refused() {
        for bad in ["", ",", "a,,b", "a\nb", "data:x"] {
            assert!(EventFilter::parse(bad).is_err(), "{bad:?}");
        }
    }
}
