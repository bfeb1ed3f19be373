//! Accounts as they were last read: every request asks for one.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::{Cache, GuardResult};

use crate::domain::{Account, Username};
use crate::error::Error;

/// How many are remembered, of some 200 bytes each.
const REMEMBERED: usize = 32_768;

#[cfg(test)]
type Hook = Box<dyn Fn(&Username) + Send + Sync>;

/// A bounded cache that the writer keeps true: once a changed user can be read, and before anybody is told of the change,
/// the writer forgets them here. Not sooner: somebody busy would at once be read and remembered again as they were before.
pub struct AccountCache {
    accounts: Cache<Username, Arc<Account>>,
    /// Runs each time somebody has been forgotten, as the request of another thread may.
    #[cfg(test)]
    pub after_forgetting: std::sync::OnceLock<Hook>,
}

impl AccountCache {
    pub fn new() -> Self {
        Self {
            accounts: Cache::new(REMEMBERED),
            #[cfg(test)]
            after_forgetting: std::sync::OnceLock::new(),
        }
    }

    /// The account of a name, read where it is not remembered. Who does not exist is not remembered, so that made-up names
    /// drive nobody out.
    pub fn get_or_read(
        &self,
        username: &Username,
        read: impl FnOnce() -> Result<Option<Account>, Error>,
    ) -> Result<Option<Arc<Account>>, Error> {
        // Without waiting for who reads the same: they may be slow.
        let place = match self.accounts.get_value_or_guard(username, Some(Duration::ZERO)) {
            GuardResult::Value(account) => return Ok(Some(account)),
            GuardResult::Guard(place) => Some(place),
            GuardResult::Timeout => None,
        };
        let Some(account) = read()?.map(Arc::new) else { return Ok(None) };
        // Where the user was forgotten meanwhile the place is gone: what was read may be of before the change.
        let _ = place.map(|place| place.insert(Arc::clone(&account)));
        Ok(Some(account))
    }

    /// Forgets a user who has changed, and whatever is being read of them just now. Whoever reads them from now on must find
    /// the change.
    pub fn forget(&self, username: &Username) {
        self.accounts.remove(username);
        #[cfg(test)]
        if let Some(hook) = self.after_forgetting.get() {
            hook(username);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Generation, Position, TenantName, Timestamp, User};
    use crate::store::Store;

    fn account(generation: u64) -> Account {
        Account {
            id: uuid::Uuid::nil(),
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

    #[test]
    fn what_was_being_read_when_its_user_was_forgotten_is_not_remembered_also_where_nobody_else_reads() {
        let cache = AccountCache::new();
        let zoe = Username::parse("zoe").unwrap();
        let read = generation(&cache, || {
            cache.forget(&zoe);
            Ok(Some(account(1)))
        });
        assert_eq!(read, Some(1));
        assert_eq!(generation(&cache, || Ok(Some(account(2)))), Some(2));
    }

    /// A user who is busy asks at every moment, and so also at the worst: the moment at which the writer forgets them.
    #[test]
    fn a_user_who_asks_in_the_middle_of_a_change_is_not_remembered_as_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut committer) = Store::open(directory.path(), 64 << 20).unwrap();
        let zoe = Username::parse("zoe").unwrap();
        let mut change = |generation: u64| {
            let user = User { username: zoe.clone(), generation: Generation(generation), ..User::example() };
            let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
            transaction.put_user(&user);
            drop(transaction.commit().unwrap().reveal());
        };
        change(1);
        let generation = || store.account(&zoe).unwrap().unwrap().generation.0;
        assert_eq!(generation(), 1);
        let reader = store.clone();
        let hook = move |username: &Username| drop(reader.account(username).unwrap());
        assert!(store.accounts.after_forgetting.set(Box::new(hook)).is_ok());
        for number in 2..5 {
            change(number);
            assert_eq!(generation(), number);
        }
    }
}
