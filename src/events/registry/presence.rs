use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use serde::{Serialize, Serializer};

use crate::domain::{TenantName, Timestamp, Username};

/// How many users are looked at in a row: meanwhile nobody can come or go, in any tenant.
pub const PEOPLE_AT_ONCE: usize = 256;

/// How many of the largest tenants are named.
const LARGEST: usize = 10;

/// The users of all tenants that are present.
#[derive(Debug, PartialEq, Eq)]
pub struct Crowd {
    /// How many tenants have users that are present.
    pub tenants: usize,
    /// How many users are present.
    pub users: usize,
    /// The tenants with most of them, and how many.
    pub largest: Vec<(TenantName, usize)>,
}

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
    /// How many records there are of each user that has not come since the start. They are of streams from before the start, which
    /// may be taken over. These users are not present, and a look at those that are does not pass over them: after a start there may
    /// be very many.
    recalled: HashMap<Username, u32>,
    /// How many streams are told which users are present.
    watchers: usize,
}

/// The records of a user that is present.
struct Here {
    since: Timestamp,
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

    fn person(&self, username: &Username) -> Person {
        Person { username: username.clone(), since: self.since.as_millis(), streams: self.connected as usize }
    }
}

impl Tenant {
    /// One record less of a user that has not come since the start.
    fn forget_recalled(&mut self, username: &Username) {
        if let Some(records) = self.recalled.get_mut(username) {
            *records = records.saturating_sub(1);
            if *records == 0 {
                self.recalled.remove(username);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.people.is_empty() && self.recalled.is_empty() && self.watchers == 0
    }
}

impl Presence {
    /// A user opens a stream in a tenant, which is counted next. Returns whether they were not present before and somebody is to
    /// be told.
    pub(super) fn come(&mut self, tenant: &TenantName, username: &Username, now: Timestamp) -> bool {
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        let Entry::Vacant(entry) = tenant.people.entry(username.clone()) else { return false };
        let orphaned = tenant.recalled.remove(username).unwrap_or(0);
        entry.insert(Here { since: now, connected: 0, orphaned });
        tenant.watchers > 0
    }

    /// One more record of a user in a tenant.
    pub(super) fn add(&mut self, tenant: &TenantName, username: &Username, counted: Counted) {
        let tenant = self.tenants.entry(tenant.clone()).or_default();
        let count = match tenant.people.get_mut(username) {
            Some(here) => here.count(counted),
            None => tenant.recalled.entry(username.clone()).or_default(),
        };
        *count += 1;
    }

    /// One record less. Returns whether it was the last, so that the user has gone, and somebody is to be told.
    pub(super) fn remove(&mut self, tenant: &TenantName, username: &Username, counted: Counted) -> bool {
        let Some(of_tenant) = self.tenants.get_mut(tenant) else { return false };
        let has_gone = match of_tenant.people.get_mut(username) {
            Some(here) => {
                let count = here.count(counted);
                *count = count.saturating_sub(1);
                here.connected == 0 && here.orphaned == 0
            }
            None => {
                of_tenant.forget_recalled(username);
                false
            }
        };
        if has_gone {
            of_tenant.people.remove(username);
        }
        let is_watched = of_tenant.watchers > 0;
        self.forget_if_empty(tenant);
        has_gone && is_watched
    }

    /// One more stream is told which users of a tenant are present.
    pub(super) fn watch(&mut self, tenant: &TenantName) {
        self.tenants.entry(tenant.clone()).or_default().watchers += 1;
    }

    /// One stream less is told.
    pub(super) fn unwatch(&mut self, tenant: &TenantName) {
        if let Some(of_tenant) = self.tenants.get_mut(tenant) {
            of_tenant.watchers = of_tenant.watchers.saturating_sub(1);
            self.forget_if_empty(tenant);
        }
    }

    fn forget_if_empty(&mut self, tenant: &TenantName) {
        if self.tenants.get(tenant).is_some_and(Tenant::is_empty) {
            self.tenants.remove(tenant);
        }
    }

    /// Some of the users of a tenant that are present, by name and from one of them on.
    pub fn people(&self, tenant: &TenantName, from: Bound<&Username>, at_most: usize) -> Vec<Person> {
        self.entries(tenant, from).take(at_most).map(|(username, here)| here.person(username)).collect()
    }

    /// All that a look at the users of a tenant passes over, from one of them on. Each entry is a user that is present, so that a limit
    /// bounds the look.
    fn entries<'a>(
        &'a self,
        tenant: &TenantName,
        from: Bound<&Username>,
    ) -> impl Iterator<Item = (&'a Username, &'a Here)> + use<'a> {
        let people = self.tenants.get(tenant).map(|tenant| &tenant.people);
        people.map(|people| people.range::<Username, _>((from, Bound::Unbounded))).into_iter().flatten()
    }

    /// A user, if they are present.
    pub fn person(&self, tenant: &TenantName, username: &Username) -> Option<Person> {
        Some(self.tenants.get(tenant)?.people.get(username)?.person(username))
    }

    /// How many tenants have users that are present, how many users these are, and the tenants with most of them, the one with most first.
    /// It passes over every tenant.
    pub fn crowd(&self) -> Crowd {
        let mut of_tenant: Vec<_> = self.tenants.iter().map(|(name, tenant)| (tenant.people.len(), name)).collect();
        of_tenant.retain(|(users, _)| *users > 0);
        let (tenants, users) = (of_tenant.len(), of_tenant.iter().map(|(users, _)| users).sum());
        let by_size =
            |one: &(usize, &TenantName), other: &(usize, &TenantName)| (other.0, one.1).cmp(&(one.0, other.1));
        if of_tenant.len() > LARGEST {
            of_tenant.select_nth_unstable_by(LARGEST, by_size);
            of_tenant.truncate(LARGEST);
        }
        of_tenant.sort_unstable_by(by_size);
        Crowd { tenants, users, largest: of_tenant.into_iter().map(|(users, name)| (name.clone(), users)).collect() }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_tenants_are_named_and_all_that_have_somebody_are_counted() {
        let mut presence = Presence::default();
        let tenant = |number: usize| TenantName::parse(&format!("tenant {number:02}")).unwrap();
        for number in 0..30 {
            presence.watch(&tenant(100 + number));
            for user in 0..=number % 20 {
                let username = Username::parse(&user.to_string()).unwrap();
                presence.come(&tenant(number), &username, Timestamp::from_millis(1));
                presence.add(&tenant(number), &username, Counted::Connected);
            }
        }
        let Crowd { tenants, users, largest } = presence.crowd();
        assert_eq!((tenants, users), (30, 265));
        let expected = (0..10).map(|place| (tenant(19 - place), 20 - place));
        assert_eq!(largest, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_look_at_the_people_passes_over_nobody_who_has_not_come_since_the_start() {
        let (mut presence, acme) = (Presence::default(), TenantName::parse("acme").unwrap());
        let user = |number: usize| Username::parse(&format!("{number:05}")).unwrap();
        presence.watch(&acme);
        (0..10_000).for_each(|number| presence.add(&acme, &user(number), Counted::Orphaned));
        // One of them comes back.
        assert!(presence.come(&acme, &user(9_999), Timestamp::from_millis(1)));
        presence.add(&acme, &user(9_999), Counted::Connected);
        assert!(!presence.remove(&acme, &user(9_999), Counted::Orphaned));
        assert_eq!(presence.entries(&acme, Bound::Unbounded).count(), 1);
        assert_eq!(presence.people(&acme, Bound::Unbounded, 2).len(), 1);

        // The others stay away, and nobody is told.
        assert!((0..9_999).all(|number| !presence.remove(&acme, &user(number), Counted::Orphaned)));
        assert!(presence.remove(&acme, &user(9_999), Counted::Connected));
        presence.unwatch(&acme);
        assert!(presence.is_empty());
    }
}
