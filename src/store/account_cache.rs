//! Accounts as they were last read. Every request needs one.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::{Cache, GuardResult};

use crate::domain::{Account, Pattern, Username};
use crate::error::Error;

/// How many bytes of accounts are cached. Most take about 300 bytes; one with many scopes takes as much as hundreds of
/// those.
const REMEMBERED_BYTES: u64 = 16 << 20;
/// The expected number of cached accounts, if most are small.
const REMEMBERED: usize = 32_768;
/// The memory that a string takes in addition to its bytes.
const BYTES_OF_TEXT: usize = 32;

/// The memory that a scope takes in a list, in addition to its text: as a scope, or parsed.
const BYTES_OF_SCOPE: usize = size_of::<Pattern>();

/// Weighs accounts by their size in memory.
#[derive(Clone)]
struct Bytes;

impl Weighter<Username, Arc<Account>> for Bytes {
    fn weight(&self, username: &Username, account: &Arc<Account>) -> u64 {
        // Twice, since parsed they take as much again.
        let scopes = account.scopes.iter().map(|scope| 2 * (BYTES_OF_SCOPE + BYTES_OF_TEXT + scope.as_str().len()));
        let texts = username.as_str().len() + account.tenant.as_str().len() + 2 * BYTES_OF_TEXT;
        (size_of::<Account>() + texts + scopes.sum::<usize>() + size_of_val(&*account.sessions)) as u64
    }
}

#[cfg(test)]
type Hook = Box<dyn Fn(&Username) + Send + Sync>;

/// A bounded cache of accounts that the writer keeps current. The writer removes a changed user from it after the
/// change can be read, and before anybody is told of the change. If it did so earlier, a busy user would at once be
/// read and cached again as before the change.
pub struct AccountCache {
    accounts: Cache<Username, Arc<Account>, Bytes>,
    /// Runs each time a user was forgotten, as a request on another thread may run then.
    #[cfg(test)]
    pub after_forgetting: std::sync::OnceLock<Hook>,
}

impl AccountCache {
    pub fn new() -> Self {
        Self {
            accounts: Cache::with_weighter(REMEMBERED, REMEMBERED_BYTES, Bytes),
            #[cfg(test)]
            after_forgetting: std::sync::OnceLock::new(),
        }
    }

    /// The account of a user, read from the store if it is not cached. A user that does not exist is not cached, so
    /// that made-up names displace nobody.
    pub fn get_or_read(
        &self,
        username: &Username,
        read: impl FnOnce() -> Result<Option<Account>, Error>,
    ) -> Result<Option<Arc<Account>>, Error> {
        // It does not wait for another thread that reads the same user: that thread may be slow.
        let place = match self.accounts.get_value_or_guard(username, Some(Duration::ZERO)) {
            GuardResult::Value(account) => return Ok(Some(account)),
            GuardResult::Guard(place) => Some(place),
            GuardResult::Timeout => None,
        };
        let Some(account) = read()?.map(Arc::new) else { return Ok(None) };
        // If the user was forgotten meanwhile, the place is gone, because the account that was read may be from before
        // the change.
        let _ = place.map(|place| place.insert(Arc::clone(&account)));
        Ok(Some(account))
    }

    /// Forgets a user that has changed, and discards the result of a read that is under way. Every later read finds the
    /// change.
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
    use crate::domain::{Generation, Position, Scope, TenantName, Timestamp, User};
    use crate::store::Store;

    fn account(generation: u64) -> Account {
        Account {
            id: uuid::Uuid::nil(),
            tenant: TenantName::parse("t").unwrap(),
            tenant_since: Position::START,
            scopes_since: Position::START,
            generation: Generation(generation),
            scopes: Vec::new().into(),
            needs_code: false,
            revoked: false,
            sessions: Box::default(),
        }
    }

    fn generation(cache: &AccountCache, read: impl FnOnce() -> Result<Option<Account>, Error>) -> Option<u64> {
        let zoe = Username::parse("zoe").unwrap();
        cache.get_or_read(&zoe, read).unwrap().map(|account| account.generation.0)
    }

    #[test]
    fn a_forgotten_user_is_read_again_even_if_an_older_read_ends_later() {
        let cache = AccountCache::new();
        let zoe = Username::parse("zoe").unwrap();
        assert_eq!(generation(&cache, || Ok(None)), None);
        assert_eq!(generation(&cache, || Ok(Some(account(1)))), Some(1));
        assert_eq!(generation(&cache, || unreachable!("it is remembered")), Some(1));
        cache.forget(&zoe);
        // The user changes while it is read. The result goes to the request that asked, and nowhere else.
        let slow = generation(&cache, || {
            cache.forget(&zoe);
            assert_eq!(generation(&cache, || Ok(Some(account(3)))), Some(3));
            Ok(Some(account(2)))
        });
        assert_eq!(slow, Some(2));
        assert_eq!(generation(&cache, || Ok(Some(account(4)))), Some(3));
    }

    #[test]
    fn a_read_during_which_its_user_is_forgotten_is_not_cached() {
        let cache = AccountCache::new();
        let zoe = Username::parse("zoe").unwrap();
        let read = generation(&cache, || {
            cache.forget(&zoe);
            Ok(Some(account(1)))
        });
        assert_eq!(read, Some(1));
        assert_eq!(generation(&cache, || Ok(Some(account(2)))), Some(2));
    }

    #[test]
    fn accounts_are_cached_by_their_size_in_memory() {
        let cache = AccountCache::new();
        let scope = Scope::parse(&format!("{}:get", "x".repeat(250))).unwrap();
        let large = |number: u64| Account { scopes: vec![scope.clone(); 1000].into(), ..account(number) };
        let name = |number: u64| Username::parse(&number.to_string()).unwrap();
        for number in 0..200 {
            cache.get_or_read(&name(number), || Ok(Some(large(number)))).unwrap();
        }
        assert!(cache.accounts.weight() <= REMEMBERED_BYTES);
        // They take about 300 KiB each.
        assert!((1..60).contains(&cache.accounts.len()), "{}", cache.accounts.len());
        let cache = AccountCache::new();
        for number in 0..30_000 {
            cache.get_or_read(&name(number), || Ok(Some(account(number)))).unwrap();
        }
        assert!(cache.accounts.len() > 25_000, "{}", cache.accounts.len());
    }

    /// A busy user sends requests at every moment, and so also at the worst one: when the writer forgets the user.
    #[test]
    fn a_user_that_sends_a_request_during_a_change_is_not_cached_as_before_it() {
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
