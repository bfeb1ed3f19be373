//! Accounts as they were last read: every request asks for one.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::{Cache, GuardResult};

use crate::domain::{Account, Username};
use crate::error::Error;

/// How many are remembered, of some 200 bytes each.
const REMEMBERED: usize = 32_768;

/// A bounded cache that the writer keeps true: who changes a user forgets them here before anybody is told.
pub struct AccountCache(Cache<Username, Arc<Account>>);

impl AccountCache {
    pub fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    /// The account of a name, read where it is not remembered. Who does not exist is not remembered, so that made-up names
    /// drive nobody out.
    pub fn get_or_read(
        &self,
        username: &Username,
        read: impl FnOnce() -> Result<Option<Account>, Error>,
    ) -> Result<Option<Arc<Account>>, Error> {
        // Without waiting for who reads the same: they may be slow.
        let place = match self.0.get_value_or_guard(username, Some(Duration::ZERO)) {
            GuardResult::Value(account) => return Ok(Some(account)),
            GuardResult::Guard(place) => Some(place),
            GuardResult::Timeout => None,
        };
        let Some(account) = read()?.map(Arc::new) else { return Ok(None) };
        // Where the user was forgotten meanwhile the place is gone: what was read may be of before the change.
        let _ = place.map(|place| place.insert(Arc::clone(&account)));
        Ok(Some(account))
    }

    /// Forgets a user who has changed, and whatever is being read of them just now.
    pub fn forget(&self, username: &Username) {
        self.0.remove(username);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Generation, Position, TenantName};

    fn account(generation: u64) -> Account {
        Account {
            tenant: TenantName::parse("t").unwrap(),
            tenant_since: Position::START,
            scopes_since: Position::START,
            generation: Generation(generation),
            scopes: Box::new([]),
            needs_code: false,
            revoked: false,
        }
    }

    fn generation(cache: &AccountCache, read: impl FnOnce() -> Result<Option<Account>, Error>) -> Option<u64> {
        let zoe = Username::parse("zoe").unwrap();
        cache.get_or_read(&zoe, read).unwrap().map(|account| account.generation.0)
    }

    #[test]
    fn who_is_forgotten_is_read_anew_even_where_an_older_reading_ends_later() {
        let cache = AccountCache::new();
        let zoe = Username::parse("zoe").unwrap();
        assert_eq!(generation(&cache, || Ok(None)), None);
        assert_eq!(generation(&cache, || Ok(Some(account(1)))), Some(1));
        assert_eq!(generation(&cache, || unreachable!("it is remembered")), Some(1));
        cache.forget(&zoe);
        // While it is read, the user changes: what was read is for who asked, and for nobody else.
        let slow = generation(&cache, || {
            cache.forget(&zoe);
            assert_eq!(generation(&cache, || Ok(Some(account(3)))), Some(3));
            Ok(Some(account(2)))
        });
        assert_eq!(slow, Some(2));
        assert_eq!(generation(&cache, || Ok(Some(account(4)))), Some(3));
    }
}
