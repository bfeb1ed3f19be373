//! The large filters that are in use: each is in memory once, and counts for each user who has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use super::channel::lock;
use crate::domain::{EventFilter, Username};
use crate::error::Error;

/// What takes no more than this is not looked at: it is as large as what else a stream takes.
const SMALL_BYTES: usize = 1 << 10;
/// How many bytes the different filters of a user may take together. The largest that there can be are less.
const BYTES_OF_USER: usize = 1 << 20;
/// How many bytes all different filters may take together.
const BYTES_OF_ALL: usize = 256 << 20;

/// What is in use. A filter is given back with the last copy of it, wherever that is.
#[derive(Default)]
pub struct Filters(Mutex<State>);

#[derive(Default)]
struct State {
    /// How many users have each.
    shared: HashMap<EventFilter, usize>,
    bytes: usize,
    of_user: HashMap<Username, OfUser>,
}

#[derive(Default)]
struct OfUser {
    held: HashMap<EventFilter, Weak<Held>>,
    bytes: usize,
}

/// A user's having a filter, which goes along with every copy of it.
struct Held {
    filters: Arc<Filters>,
    username: Username,
    filter: EventFilter,
    bytes: usize,
}

impl Filters {
    /// The same filter, as it is in memory already where somebody has it, and counted for a user for as long as there is a copy.
    ///
    /// # Errors
    /// [`Error::TooManyFilters`] if those of the user take too much; [`Error::Overloaded`] if those of all do.
    pub fn keep(self: &Arc<Self>, username: &Username, filter: EventFilter) -> Result<EventFilter, Error> {
        let bytes = filter.bytes();
        if bytes <= SMALL_BYTES {
            return Ok(filter);
        }
        let mut state = lock(&self.0);
        let State { shared, bytes: of_all, of_user } = &mut *state;
        let known = of_user.get(username).and_then(|of_user| of_user.held.get(&filter)?.upgrade());
        if let Some(held) = known {
            return Ok(held.filter.clone().held_by(held));
        }
        if of_user.get(username).map_or(0, |of_user| of_user.bytes) + bytes > BYTES_OF_USER {
            return Err(Error::TooManyFilters(BYTES_OF_USER));
        }
        let in_memory = shared.get_key_value(&filter).map(|(filter, _)| filter.clone());
        if in_memory.is_none() {
            if *of_all + bytes > BYTES_OF_ALL {
                return Err(Error::Overloaded);
            }
            *of_all += bytes;
        }
        let filter = in_memory.unwrap_or(filter);
        *shared.entry(filter.clone()).or_default() += 1;
        let of_user = of_user.entry(username.clone()).or_default();
        of_user.bytes += bytes;
        let (filters, username) = (Arc::clone(self), username.clone());
        let held = Arc::new(Held { filters, username, filter: filter.clone(), bytes });
        of_user.held.insert(filter.clone(), Arc::downgrade(&held));
        Ok(filter.held_by(held))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.filters.0);
        if let Some(users) = state.shared.get_mut(&self.filter) {
            *users -= 1;
            if *users == 0 {
                state.shared.remove(&self.filter);
                state.bytes -= self.bytes;
            }
        }
        let Some(of_user) = state.of_user.get_mut(&self.username) else { return };
        of_user.bytes -= self.bytes;
        // The user may have come with it again since the last copy went.
        if of_user.held.get(&self.filter).is_some_and(|held| held.strong_count() == 0) {
            of_user.held.remove(&self.filter);
        }
        if of_user.held.is_empty() {
            state.of_user.remove(&self.username);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of so many names of 250 bytes; `number` tells them apart.
    fn filter(number: usize, names: usize) -> EventFilter {
        let names: Vec<_> = (0..names).map(|name| format!("{number:03}{name:04}{}", "x".repeat(243))).collect();
        EventFilter::parse(&names.join(",")).unwrap()
    }

    fn user(name: &str) -> Username {
        Username::parse(name).unwrap()
    }

    #[test]
    fn a_filter_is_in_memory_once_and_counts_once_for_each_user_until_its_last_copy_goes() {
        let filters = Arc::new(Filters::default());
        let (alice, bob) = (user("alice"), user("bob"));
        let first = filters.keep(&alice, filter(1, 900)).unwrap();
        let bytes = first.bytes();
        // As many copies, by whoever, take no more.
        let mut copies: Vec<_> = (0..100).map(|_| filters.keep(&alice, filter(1, 900)).unwrap()).collect();
        let of_bob = filters.keep(&bob, filter(1, 900)).unwrap();
        let names = |filter: &EventFilter| filter.patterns().unwrap().as_ptr();
        assert!(copies.iter().chain([&of_bob]).all(|copy| names(copy) == names(&first)));
        assert_eq!(lock(&filters.0).bytes, bytes);
        let more: Vec<_> = (2..4).map_while(|number| filters.keep(&alice, filter(number, 900)).ok()).collect();
        assert_eq!(filters.keep(&alice, filter(9, 900)), Err(Error::TooManyFilters(BYTES_OF_USER)));
        // What is small always may be, what others have is not counted, and a copy is as good as the first.
        filters.keep(&alice, EventFilter::parse("a,b*").unwrap()).unwrap();
        filters.keep(&bob, filter(9, 900)).unwrap();
        copies.truncate(1);
        drop(first);
        assert_eq!(lock(&filters.0).of_user[&alice].bytes, bytes * (1 + more.len()));
        drop((more, of_bob, copies));
        let state = lock(&filters.0);
        assert!(state.shared.is_empty() && state.of_user.is_empty() && state.bytes == 0);
    }

    #[test]
    fn the_largest_filter_that_there_can_be_is_within_what_a_user_may_have() {
        let both = filter(1, 1000);
        let names: Vec<_> = (0..1000).map(|name| format!("{name:04}{}", "y".repeat(252))).collect();
        assert!(both.except(&names.join(",")).unwrap().bytes() <= BYTES_OF_USER);
    }

    #[test]
    fn all_filters_together_are_bounded() {
        let filters = Arc::new(Filters::default());
        let mut kept = Vec::new();
        let refused = loop {
            let number = kept.len();
            match filters.keep(&user(&number.to_string()), filter(number, 1000)) {
                Ok(filter) => kept.push(filter),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, Error::Overloaded);
        // Which others have may be had.
        filters.keep(&user("other"), filter(0, 1000)).unwrap();
        kept.pop();
        filters.keep(&user("other"), filter(999, 1000)).unwrap();
    }
}
