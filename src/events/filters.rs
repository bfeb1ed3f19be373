//! The large filters that are in use. Each is in memory once for each tenant, and counts for each user who has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use super::lock::lock;
use crate::domain::{EventFilter, TenantName, Username};
use crate::error::Error;

/// A filter that takes no more than this does not count: it is no larger than the rest of a stream.
const SMALL_BYTES: usize = 1 << 10;
/// How many bytes the different filters of a user may take together. The largest filter that there can be takes less.
const BYTES_OF_USER: usize = 1 << 20;
/// How many bytes the different filters of all tenants may take together. No tenant has more of that than it leaves to the others.
const BYTES_OF_ALL: usize = 256 << 20;

/// The filters that are in use. A filter is forgotten with the last copy of it, wherever that is.
#[derive(Default)]
pub struct Filters(Mutex<State>);

#[derive(Default)]
struct State {
    of_tenant: HashMap<TenantName, OfTenant>,
    bytes: usize,
}

#[derive(Default)]
struct OfTenant {
    /// How many users have each filter.
    shared: HashMap<EventFilter, usize>,
    bytes: usize,
    of_user: HashMap<Username, OfUser>,
}

#[derive(Default)]
struct OfUser {
    held: HashMap<EventFilter, Weak<Held>>,
    bytes: usize,
}

/// Counts a filter for a user. Every copy of the filter carries it, and it stays with the tenant in which the user got the filter.
struct Held {
    filters: Arc<Filters>,
    tenant: TenantName,
    username: Username,
    filter: EventFilter,
    bytes: usize,
}

impl Filters {
    /// The same filter, sharing memory with that of another user of the tenant if there is one. It counts for the user for as long as
    /// there is a copy.
    ///
    /// # Errors
    /// [`Error::TooManyFilters`] if those of the user take too much; [`Error::Overloaded`] if those of the tenant do.
    pub fn keep(
        self: &Arc<Self>,
        tenant: &TenantName,
        username: &Username,
        filter: EventFilter,
    ) -> Result<EventFilter, Error> {
        let bytes = filter.bytes();
        if bytes <= SMALL_BYTES {
            return Ok(filter);
        }
        let mut state = lock(&self.0);
        let State { of_tenant, bytes: of_all } = &mut *state;
        let ours = of_tenant.get(tenant);
        let own = ours.and_then(|ours| ours.of_user.get(username));
        if let Some(held) = own.and_then(|own| own.held.get(&filter)?.upgrade()) {
            return Ok(held.filter.clone().held_by(held));
        }
        // A guest is not one client, but all that were given the same name: each has a limit of its own connection.
        if !username.is_guest() && own.map_or(0, |own| own.bytes) + bytes > BYTES_OF_USER {
            return Err(Error::TooManyFilters(BYTES_OF_USER));
        }
        let in_memory = ours.and_then(|ours| ours.shared.get_key_value(&filter)).map(|(filter, _)| filter.clone());
        let added = if in_memory.is_some() { 0 } else { bytes };
        if added > 0 && ours.map_or(0, |ours| ours.bytes) + added > BYTES_OF_ALL.saturating_sub(*of_all + added) {
            return Err(Error::Overloaded);
        }
        let filter = in_memory.unwrap_or(filter);
        *of_all += added;
        let ours = of_tenant.entry(tenant.clone()).or_default();
        ours.bytes += added;
        *ours.shared.entry(filter.clone()).or_default() += 1;
        let own = ours.of_user.entry(username.clone()).or_default();
        own.bytes += bytes;
        let (filters, tenant, username) = (Arc::clone(self), tenant.clone(), username.clone());
        let held = Arc::new(Held { filters, tenant, username, filter: filter.clone(), bytes });
        own.held.insert(filter.clone(), Arc::downgrade(&held));
        Ok(filter.held_by(held))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.filters.0);
        let State { of_tenant, bytes: of_all } = &mut *state;
        let Some(ours) = of_tenant.get_mut(&self.tenant) else { return };
        if let Some(users) = ours.shared.get_mut(&self.filter) {
            *users -= 1;
            if *users == 0 {
                ours.shared.remove(&self.filter);
                ours.bytes -= self.bytes;
                *of_all -= self.bytes;
            }
        }
        let Some(own) = ours.of_user.get_mut(&self.username) else { return };
        own.bytes -= self.bytes;
        // The user may have sent the same filter again since the last copy was dropped.
        if own.held.get(&self.filter).is_some_and(|held| held.strong_count() == 0) {
            own.held.remove(&self.filter);
        }
        if own.held.is_empty() {
            ours.of_user.remove(&self.username);
        }
        if ours.of_user.is_empty() {
            of_tenant.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter of so many names of 250 bytes; `number` tells filters apart.
    fn filter(number: usize, names: usize) -> EventFilter {
        let names: Vec<_> = (0..names).map(|name| format!("{number:03}{name:04}{}", "x".repeat(243))).collect();
        EventFilter::parse(&names.join(",")).unwrap()
    }

    /// Has a user of a tenant keep a filter.
    fn keep(filters: &Arc<Filters>, tenant: &str, username: &str, filter: EventFilter) -> Result<EventFilter, Error> {
        filters.keep(&TenantName::parse(tenant).unwrap(), &Username::parse(username).unwrap(), filter)
    }

    #[test]
    fn a_filter_is_in_memory_once_and_counts_once_for_each_user_until_its_last_copy_goes() {
        let filters = Arc::new(Filters::default());
        let first = keep(&filters, "acme", "alice", filter(1, 900)).unwrap();
        let bytes = first.bytes();
        // Copies take no more, whichever user has them.
        let mut copies: Vec<_> = (0..100).map(|_| keep(&filters, "acme", "alice", filter(1, 900)).unwrap()).collect();
        let of_bob = keep(&filters, "acme", "bob", filter(1, 900)).unwrap();
        let names = |filter: &EventFilter| filter.patterns().unwrap().as_ptr();
        assert!(copies.iter().chain([&of_bob]).all(|copy| names(copy) == names(&first)));
        assert_eq!(lock(&filters.0).bytes, bytes);
        let more: Vec<_> =
            (2..4).map_while(|number| keep(&filters, "acme", "alice", filter(number, 900)).ok()).collect();
        assert_eq!(keep(&filters, "acme", "alice", filter(9, 900)), Err(Error::TooManyFilters(BYTES_OF_USER)));
        // Small filters are always allowed, filters of others do not count, and a copy is as good as the first.
        keep(&filters, "acme", "alice", EventFilter::parse("a,b*").unwrap()).unwrap();
        keep(&filters, "acme", "bob", filter(9, 900)).unwrap();
        copies.truncate(1);
        drop(first);
        let of_alice = |filters: &Filters| {
            lock(&filters.0)
                .of_tenant
                .values()
                .map(|ours| ours.of_user[&Username::parse("alice").unwrap()].bytes)
                .sum::<usize>()
        };
        assert_eq!(of_alice(&filters), bytes * (1 + more.len()));
        drop((more, of_bob, copies));
        let state = lock(&filters.0);
        assert!(state.of_tenant.is_empty() && state.bytes == 0);
    }

    #[test]
    fn the_largest_filter_that_there_can_be_is_within_what_a_user_may_have() {
        let both = filter(1, 1000);
        let names: Vec<_> = (0..1000).map(|name| format!("{name:04}{}", "y".repeat(252))).collect();
        assert!(both.except(&names.join(",")).unwrap().bytes() <= BYTES_OF_USER);
    }

    #[test]
    fn all_filters_together_are_bounded_and_no_tenant_has_more_than_it_leaves_to_the_others() {
        let filters = Arc::new(Filters::default());
        let fill = |tenant: &str| {
            let mut kept = Vec::new();
            loop {
                let number = kept.len();
                match keep(&filters, tenant, &number.to_string(), filter(number, 1000)) {
                    Ok(filter) => kept.push(filter),
                    Err(refused) => {
                        assert_eq!(refused, Error::Overloaded);
                        return kept;
                    }
                }
            }
        };
        let mut large = fill("large");
        let second = fill("second");
        assert!(large.len() > second.len() && second.len() > large.len() / 3);
        assert!(lock(&filters.0).bytes <= BYTES_OF_ALL);
        // However much two tenants have taken, there is something for a third, and a filter that others of the tenant have is free.
        keep(&filters, "third", "other", filter(0, 1000)).unwrap();
        keep(&filters, "large", "other", filter(0, 1000)).unwrap();
        large.clear();
        keep(&filters, "second", "other", filter(999, 1000)).unwrap();
        drop(second);
        assert_eq!(lock(&filters.0).bytes, 0);
        assert!(lock(&filters.0).of_tenant.is_empty());
    }
}
