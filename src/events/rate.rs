use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Instant;

use super::channel::lock;
use crate::domain::{TenantName, Username};
use crate::error::Error;

/// From how many on those are forgotten who have their whole allowance again.
const PRUNE_FROM: usize = 1024;

/// How many events a user, and a tenant, may insert in a second: a bucket that fills at that rate and holds as much as comes in
/// a second.
pub struct Rates {
    of_user: Buckets<Username>,
    of_tenant: Buckets<TenantName>,
}

struct Buckets<K> {
    /// Events a second; 0 is no limit.
    rate: u32,
    state: Mutex<State<K>>,
}

struct State<K> {
    /// When each is full again; who is not here has a full one.
    full_at: HashMap<K, Instant>,
    prune_at: usize,
}

impl Rates {
    /// Limits in events a second; 0 is none.
    pub fn new(of_user: u32, of_tenant: u32) -> Self {
        Self { of_user: Buckets::new(of_user), of_tenant: Buckets::new(of_tenant) }
    }

    /// Takes so many events from both allowances.
    ///
    /// # Errors
    /// [`Error::InsertRateExceeded`].
    pub fn take(&self, username: &Username, tenant: &TenantName, events: usize) -> Result<(), Error> {
        let now = Instant::now();
        self.of_user.take(username, events, now)?;
        self.of_tenant.take(tenant, events, now)
    }
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    fn new(rate: u32) -> Self {
        Self { rate, state: Mutex::new(State { full_at: HashMap::new(), prune_at: PRUNE_FROM }) }
    }

    /// What is more than a bucket holds needs a full one, and is owed.
    fn take(&self, key: &K, events: usize, now: Instant) -> Result<(), Error> {
        if self.rate == 0 {
            return Ok(());
        }
        let seconds = |events: usize| events as f64 / f64::from(self.rate);
        let mut state = lock(&self.state);
        let State { full_at, prune_at } = &mut *state;
        if full_at.len() >= *prune_at {
            full_at.retain(|_, at| *at > now);
            *prune_at = (full_at.len() * 2).max(PRUNE_FROM);
        }
        let missing = full_at.get(key).map_or(0.0, |at| at.saturating_duration_since(now).as_secs_f64());
        let wait = missing - (1.0 - seconds(events)).max(0.0);
        if wait > 0.0 {
            return Err(Error::InsertRateExceeded((wait.ceil() as u64).max(1)));
        }
        full_at.insert(key.clone(), now + std::time::Duration::from_secs_f64(missing + seconds(events)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_holds_a_second_and_fills_at_its_rate() {
        let (buckets, now) = (Buckets::new(10), Instant::now());
        for _ in 0..10 {
            buckets.take(&"a", 1, now).unwrap();
        }
        assert_eq!(buckets.take(&"a", 1, now), Err(Error::InsertRateExceeded(1)));
        buckets.take(&"b", 10, now).unwrap();
        let later = now + Duration::from_millis(101);
        buckets.take(&"a", 1, later).unwrap();
        assert!(buckets.take(&"a", 1, later).is_err());
    }

    #[test]
    fn more_than_a_bucket_holds_needs_a_full_one_and_is_owed() {
        let (buckets, now) = (Buckets::new(10), Instant::now());
        buckets.take(&"a", 35, now).unwrap();
        assert_eq!(buckets.take(&"a", 1, now), Err(Error::InsertRateExceeded(3)));
        assert!(buckets.take(&"a", 1, now + Duration::from_millis(2550)).is_err());
        buckets.take(&"a", 1, now + Duration::from_millis(2650)).unwrap();
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let buckets = Buckets::new(0);
        buckets.take(&"a", usize::MAX, Instant::now()).unwrap();
        assert!(lock(&buckets.state).full_at.is_empty());
    }
}
