use std::ops::Deref;
use std::sync::OnceLock;

use super::{Authorize, MayInsert, Own, Rights, Scope, Username};

/// The scopes of a user, and what they let the user see and insert. The scopes are parsed once, when that is first asked for:
/// a user may have a thousand of them, and each request asks.
#[derive(Clone, Debug)]
pub struct Granted {
    scopes: Box<[Scope]>,
    /// In a box, since it is not made unless scopes count.
    parsed: OnceLock<Box<Parsed>>,
}

#[derive(Clone, Debug)]
struct Parsed {
    see: (Rights, Own),
    insert: MayInsert,
}

impl Granted {
    /// The events that the user, who has this name, may see.
    pub fn to_see(&self, authorize: Authorize, username: &Username) -> (Rights, Own) {
        match authorize {
            Authorize::Open => authorize.to_see(username, &self.scopes),
            Authorize::Scopes => self.parsed(username).see.clone(),
        }
    }

    /// The events that the user, who has this name, may insert and remove.
    pub fn to_insert(&self, authorize: Authorize, username: &Username) -> MayInsert {
        match authorize {
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
        Self { scopes: scopes.into(), parsed: OnceLock::new() }
    }
}

impl PartialEq for Granted {
    fn eq(&self, other: &Self) -> bool {
        self.scopes == other.scopes
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
