use std::collections::BTreeSet;
use std::ops::Bound;

use super::registry::{PEOPLE_AT_ONCE, Person, Presence};
use crate::domain::{TenantName, Username};

/// Of whom a stream has yet to tell how it stands with them. It is looked at when it is written, so a reader who is slow costs no
/// more than the names of those who have come or gone meanwhile.
pub struct PendingPresence {
    /// Those of whom it is told whether they are there or not.
    names: BTreeSet<Username>,
    /// Who comes after this in the list of those who are there has yet to be told, too.
    rest: Option<Bound<Username>>,
}

impl PendingPresence {
    /// Everybody who is there.
    pub fn all() -> Self {
        Self { names: BTreeSet::new(), rest: Some(Bound::Unbounded) }
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.rest.is_none()
    }

    /// Somebody has come or gone.
    pub fn note(&mut self, username: &Username) {
        if !self.is_ahead(username) {
            self.names.insert(username.clone());
        }
    }

    /// Whether somebody, if they are there, will be come to.
    fn is_ahead(&self, username: &Username) -> bool {
        match &self.rest {
            None => false,
            Some(Bound::Unbounded) => true,
            Some(Bound::Included(next)) => username >= next,
            Some(Bound::Excluded(last)) => username > last,
        }
    }

    /// It is to tell of another tenant: of everybody who is there, and that those who were in the one before are not. `gone` are
    /// those who left that just now.
    pub fn go_on(&mut self, before: impl IntoIterator<Item = Username>, gone: impl IntoIterator<Item = Username>) {
        let told: Vec<_> = before.into_iter().filter(|username| !self.is_ahead(username)).collect();
        self.names.extend(told);
        self.names.extend(gone);
        self.rest = Some(Bound::Unbounded);
    }

    /// How it stands with the next of them.
    pub fn tell(&mut self, presence: &Presence, tenant: &TenantName) -> Vec<(Username, Option<Person>)> {
        let mut told = Vec::new();
        for _ in 0..PEOPLE_AT_ONCE {
            let Some(username) = self.names.pop_first() else { break };
            let person = presence.person(tenant, &username);
            if person.is_none() || !self.is_ahead(&username) {
                told.push((username, person));
            }
        }
        let subscriptions = PEOPLE_AT_ONCE - told.len();
        if let Some(from) = self.rest.as_ref().filter(|_| self.names.is_empty() && subscriptions > 0) {
            let people = presence.people(tenant, from.as_ref(), subscriptions);
            let last = people.last().filter(|_| people.len() == subscriptions);
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
    fn a_stream_is_told_of_everybody_once_however_many_they_are_and_ends_up_with_how_it_is() {
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
        // Of whom was told, and of whom will be: only the first need be kept.
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
        // It goes to another tenant, in which one of those is too.
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
