use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use serde::{Serialize, Serializer};

use crate::domain::{TenantName, Timestamp, Username};

/// How many users are looked at in a row: meanwhile nobody can come or go, in any tenant.
pub const PEOPLE_AT_ONCE: usize = 256;

/// A user that is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Their name.
    #[serde(serialize_with = "as_text")]
    pub username: Username,
    /// Since when they are present, in Unix milliseconds.
    pub since: u64,
    /// How many streams they have open; none within the grace.
    pub streams: usize,
}

fn as_text<S: Serializer>(username: &Username, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(username.as_str())
}

/// The users that are present, for each tenant. They are counted from the records of the registry, under its lock: a user is present
/// from their first stream until the grace of their last one is over.
#[derive(Default)]
pub struct Presence {
    tenants: HashMap<TenantName, Tenant>,
}

#[derive(Default)]
struct Tenant {
    people: BTreeMap<Username, Here>,
    /// How many streams are told which users are present.
    watchers: usize,
}

/// The records of a user in a tenant.
#[derive(Default)]
struct Here {
    /// `None` if nothing of theirs has come since the start: there are streams of before, which may be taken over.
    since: Option<Timestamp>,
    connected: u32,
    orphaned: u32,
}

/// Whether a record counts as a stream that its user has open, or only keeps them present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Counted {
    Connected,
    Orphaned,
}

impl Here {
    fn count(&mut self, counted: Counted) -> &mut u32 {
        match counted {
            Counted::Connected => &mut self.connected,
            Counted::Orphaned => &mut self.orphaned,
        }
    }

    fn person(&self, username: &Username) -> Option<Person> {
        let since = self.since?.as_millis();
        Some(Person { username: username.clone(), since, streams: self.connected as usize })
    }
}

impl Presence {
    /// A user opens a stream in a tenant, which is counted next. Returns whether they were not present before and somebody is to
    /// be told.
    pub(super) fn come(&mut self, tenant: &TenantName, username: &Username, now: Timestamp) -> bool {
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        let here = tenant.people.entry(username.clone()).or_default();
        let is_new = here.since.is_none();
        here.since.get_or_insert(now);
        is_new && tenant.watchers > 0
    }

    /// One more record of a user in a tenant.
    pub(super) fn add(&mut self, tenant: &TenantName, username: &Username, counted: Counted) {
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        *tenant.people.entry(username.clone()).or_default().count(counted) += 1;
    }

    /// One record less. Returns whether it was the last, so that the user has gone, and somebody is to be told.
    pub(super) fn remove(&mut self, tenant: &TenantName, username: &Username, counted: Counted) -> bool {
        let Entry::Occupied(mut tenant) = self.tenants.entry(tenant.clone()) else { return false };
        let Some(here) = tenant.get_mut().people.get_mut(username) else { return false };
        let count = here.count(counted);
        *count = count.saturating_sub(1);
        if here.connected > 0 || here.orphaned > 0 {
            return false;
        }
        let was_there = here.since.is_some();
        tenant.get_mut().people.remove(username);
        let is_watched = tenant.get().watchers > 0;
        if tenant.get().people.is_empty() && !is_watched {
            tenant.remove();
        }
        was_there && is_watched
    }

    /// One more stream is told which users of a tenant are present.
    pub(super) fn watch(&mut self, tenant: &TenantName) {
        self.tenants.entry(tenant.clone()).or_default().watchers += 1;
    }

    /// One stream less is told.
    pub(super) fn unwatch(&mut self, tenant: &TenantName) {
        let Entry::Occupied(mut tenant) = self.tenants.entry(tenant.clone()) else { return };
        let watchers = tenant.get().watchers.saturating_sub(1);
        tenant.get_mut().watchers = watchers;
        if tenant.get().people.is_empty() && watchers == 0 {
            tenant.remove();
        }
    }

    /// Some of the users of a tenant that are present, by name and from one of them on.
    pub fn people(&self, tenant: &TenantName, from: Bound<&Username>, at_most: usize) -> Vec<Person> {
        let people = self.tenants.get(tenant).map(|tenant| &tenant.people);
        let rest = people.into_iter().flat_map(|people| people.range::<Username, _>((from, Bound::Unbounded)));
        rest.filter_map(|(username, here)| here.person(username)).take(at_most).collect()
    }

    /// A user, if they are present.
    pub fn person(&self, tenant: &TenantName, username: &Username) -> Option<Person> {
        self.tenants.get(tenant)?.people.get(username)?.person(username)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}
