use std::collections::BTreeSet;
use std::ops::Bound;

use super::registry::{PEOPLE_AT_ONCE, Person, Presence};
use crate::domain::{TenantName, Username};

/// The users of whom a stream has yet to tell whether they are there. This is looked up when it is written, so a slow reader costs no
/// more than the names of users that have come or gone meanwhile.
pub struct PendingPresence {
    /// The users of whom it is told whether they are there or not.
    names: BTreeSet<Username>,
    /// Every user after this in the list of those that are there has yet to be told of, too.
    rest: Option<Bound<Username>>,
}

impl PendingPresence {
    /// Every user that is there.
    pub fn all() -> Self {
        Self { names: BTreeSet::new(), rest: Some(Bound::Unbounded) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.rest.is_none()
    }

    /// A user has come or gone.
    pub fn note(&mut self, username: &Username) {
        if !self.is_ahead(username) {
            self.names.insert(username.clone());
        }
    }

    /// Whether a user that is there will be told of as part of the list.
    fn is_ahead(&self, username: &Username) -> bool {
        match &self.rest {
            None => false,
            Some(Bound::Unbounded) => true,
            Some(Bound::Included(next)) => username >= next,
            Some(Bound::Excluded(last)) => username > last,
        }
    }

    /// It is to tell of another tenant: of every user that is there, and that those that were in the one before are not. `gone` are
    /// users that left the one before just now.
    pub fn go_on(&mut self, before: impl IntoIterator<Item = Username>, gone: impl IntoIterator<Item = Username>) {
        let told: Vec<_> = before.into_iter().filter(|username| !self.is_ahead(username)).collect();
        self.names.extend(told);
        self.names.extend(gone);
        self.rest = Some(Bound::Unbounded);
    }

    /// The next users, each with whether they are there.
    pub fn tell(&mut self, presence: &Presence, tenant: &TenantName) -> Vec<(Username, Option<Person>)> {
        let mut told = Vec::new();
        for _ in 0..PEOPLE_AT_ONCE {
            let Some(username) = self.names.pop_first() else { break };
            let person = presence.person(tenant, &username);
            if person.is_none() || !self.is_ahead(&username) {
                told.push((username, person));
            }
        }
        let left = PEOPLE_AT_ONCE - told.len();
        if let Some(from) = self.rest.as_ref().filter(|_| self.names.is_empty() && left > 0) {
            let people = presence.people(tenant, from.as_ref(), left);
            let last = people.last().filter(|_| people.len() == left);
            self.rest = last.map(|last| Bound::Excluded(last.username.clone()));
            told.extend(people.into_iter().map(|person| (person.username.clone(), Some(person))));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::Timestamp;
    use crate::events::registry::{GoesOnFor, Registry};

    #[test]
    fn a_stream_tells_of_every_user_once_however_many_there_are_and_ends_up_with_the_present_state() {
        let registry = Registry::default();
        let [acme, other] = ["acme", "other"].map(|name| TenantName::parse(name).unwrap());
        let user = |number: usize| Username::parse(&format!("{number:04}")).unwrap();
        let mut there = Vec::new();
        let mut come = |tenant: &TenantName, number: usize| {
            let streams = registry.user_streams(&user(number));
            there.push(streams.arrive(tenant, GoesOnFor::Last, Timestamp::from_millis(1)));
        };
        (0..2 * PEOPLE_AT_ONCE).for_each(|number| come(&acme, 2 * number));
        [1, 2, 5000].into_iter().for_each(|number| come(&other, number));
        let mut pending = PendingPresence::all();
        let mut known = BTreeMap::new();
        let mut tell = |tenant: &TenantName, pending: &mut PendingPresence| {
            let told = registry.look(|presence| pending.tell(presence, tenant));
            assert!(told.len() <= PEOPLE_AT_ONCE);
            let names: Vec<_> = told.iter().map(|(username, _)| username.as_str().to_owned()).collect();
            known.extend(told.into_iter().map(|(username, person)| (username, person.is_some())));
            (names, known.clone())
        };
        assert_eq!(tell(&acme, &mut pending).0.len(), PEOPLE_AT_ONCE);
        // One that was told of, and one that will be: only the first need be kept.
        [3, 9999].into_iter().for_each(|number| come(&acme, number));
        [3, 9999].into_iter().for_each(|number| pending.note(&user(number)));
        assert_eq!(pending.names.len(), 1);
        let (names, _) = tell(&acme, &mut pending);
        assert_eq!((names[0].as_str(), names.len()), ("0003", PEOPLE_AT_ONCE));
        let (names, known) = tell(&acme, &mut pending);
        assert_eq!(names, ["1022", "9999"]);
        assert!(
            pending.is_empty() && known.len() == 2 * PEOPLE_AT_ONCE + 2 && known.values().all(|is_there| *is_there)
        );
        // It goes to another tenant, in which one of those users is, too.
        let before = registry.people(&acme).into_iter().map(|person| person.username);
        pending.go_on(before, []);
        let mut times = BTreeMap::<_, usize>::new();
        while !pending.is_empty() {
            for name in tell(&other, &mut pending).0 {
                *times.entry(name).or_default() += 1;
            }
        }
        assert!(times.len() == 2 * PEOPLE_AT_ONCE + 4 && times.values().all(|times| *times == 1));
        let (_, known) = tell(&other, &mut pending);
        let there: Vec<_> = known.iter().filter(|(_, is_there)| **is_there).map(|(name, _)| name.as_str()).collect();
        assert_eq!(there, ["0001", "0002", "5000"]);
    }
}
