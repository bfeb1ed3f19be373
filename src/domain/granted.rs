use std::ops::Deref;
use std::sync::OnceLock;

use super::{Authorize, GuestRights, MayInsert, Own, Patterns, Rights, Scope, Username};

/// The scopes of a user, and what they let the user see and insert; or what a guest may, who has no scopes. The scopes are parsed
/// once, when that is first asked for: a user may have a thousand of them, and each request asks.
#[derive(Clone, Debug)]
pub struct Granted {
    scopes: Box<[Scope]>,
    /// In a box, since it is not made unless scopes count.
    parsed: OnceLock<Box<Parsed>>,
    /// Whether it is a guest's. Then it counts whatever users may do.
    is_of_guest: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parsed {
    see: (Rights, Own),
    insert: MayInsert,
}

impl Granted {
    /// What a guest of this name may see and insert.
    pub fn of_guest(username: &Username, GuestRights { see, insert }: GuestRights) -> Self {
        let own = Own { username: username.clone(), patterns: Patterns::default() };
        let parsed = Parsed { see: (Rights::Of(see), own), insert: MayInsert::OfGuest(insert) };
        Self { scopes: Box::default(), parsed: OnceLock::from(Box::new(parsed)), is_of_guest: true }
    }

    /// The rule that counts here.
    fn counting(&self, authorize: Authorize) -> Authorize {
        if self.is_of_guest { Authorize::Scopes } else { authorize }
    }

    /// The events that the user, who has this name, may see.
    pub fn to_see(&self, authorize: Authorize, username: &Username) -> (Rights, Own) {
        match self.counting(authorize) {
            Authorize::Open => authorize.to_see(username, &self.scopes),
            Authorize::Scopes => self.parsed(username).see.clone(),
        }
    }

    /// The events that the user, who has this name, may insert and remove.
    pub fn to_insert(&self, authorize: Authorize, username: &Username) -> MayInsert {
        match self.counting(authorize) {
            Authorize::Open => authorize.to_insert(username, &self.scopes),
            Authorize::Scopes => self.parsed(username).insert.clone(),
        }
    }

    fn parsed(&self, username: &Username) -> &Parsed {
        self.parsed.get_or_init(|| {
            let see = Authorize::Scopes.to_see(username, &self.scopes);
            Box::new(Parsed { see, insert: Authorize::Scopes.to_insert(username, &self.scopes) })
        })
    }
}

impl Deref for Granted {
    type Target = [Scope];

    fn deref(&self) -> &[Scope] {
        &self.scopes
    }
}

impl<T: Into<Box<[Scope]>>> From<T> for Granted {
    fn from(scopes: T) -> Self {
        Self { scopes: scopes.into(), parsed: OnceLock::new(), is_of_guest: false }
    }
}

impl PartialEq for Granted {
    fn eq(&self, other: &Self) -> bool {
        let is_same = self.scopes == other.scopes && self.is_of_guest == other.is_of_guest;
        is_same && (!self.is_of_guest || self.parsed == other.parsed)
    }
}

impl Eq for Granted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_parsed_once_and_only_where_they_count() {
        let (bob, scopes) = (Username::parse("bob").unwrap(), ["news:get", "u/{username}:get", "chat/*:post"]);
        let granted = Granted::from(scopes.map(|scope| Scope::parse(scope).unwrap()).to_vec());
        for authorize in [Authorize::Open, Authorize::Scopes] {
            for _ in 0..2 {
                assert_eq!(granted.to_see(authorize, &bob), authorize.to_see(&bob, &granted));
                assert_eq!(granted.to_insert(authorize, &bob), authorize.to_insert(&bob, &granted));
            }
            assert_eq!(granted.parsed.get().is_some(), authorize == Authorize::Scopes);
        }
        // The patterns are shared, not made again.
        let [(one, _), (other, _)] = [(), ()].map(|()| granted.to_see(Authorize::Scopes, &bob));
        let (Rights::Of(one), Rights::Of(other)) = (one, other) else { panic!("{granted:?}") };
        assert!(std::ptr::eq(&one[0], &other[0]));
    }
}
