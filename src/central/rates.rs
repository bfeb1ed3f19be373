//! Rates: how much a user, and a tenant, may do in a second.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::{TenantName, Username};
use crate::error::Error;

/// From how many entries on those are forgotten that have their whole allowance again.
const PRUNE_FROM: usize = 1024;

/// Limits what a user, and a tenant, may do in a second: a bucket that fills at that rate and holds what comes in a second.
#[derive(Default)]
pub struct Rates {
    of_user: Mutex<Buckets<Username>>,
    of_tenant: Mutex<Buckets<TenantName>>,
}

struct Buckets<K> {
    /// Events a second; 0 is no limit.
    rate: u32,
    /// When each bucket is full again; one that is not here is full.
    full_at: HashMap<K, Instant>,
    prune_at: usize,
}

impl Rates {
    /// Goes by other limits from now on. What was taken before stays taken.
    pub fn set(&self, of_user: u32, of_tenant: u32) {
        lock(&self.of_user).rate = of_user;
        lock(&self.of_tenant).rate = of_tenant;
    }

    /// Takes so much from both allowances, or from neither: a user who is refused because of others pays nothing for it.
    ///
    /// # Errors
    /// [`Error::InsertRateExceeded`].
    pub fn take(&self, username: &Username, tenant: &TenantName, count: usize) -> Result<(), Error> {
        // Always in this order.
        let (mut of_user, mut of_tenant) = (lock(&self.of_user), lock(&self.of_tenant));
        let now = Instant::now();
        let (user, tenant) = (of_user.look(username, count, now)?, of_tenant.look(tenant, count, now)?);
        of_user.take(user, now);
        of_tenant.take(tenant, now);
        Ok(())
    }
}

fn lock<K>(buckets: &Mutex<Buckets<K>>) -> MutexGuard<'_, Buckets<K>> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self { rate: 0, full_at: HashMap::new(), prune_at: PRUNE_FROM }
    }
}

/// A bucket, and when it is full again after the events are taken from it; `None` without a limit.
type Taking<'a, K> = Option<(&'a K, Instant)>;

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// Whether so many events may be taken. More than a bucket holds needs a full one, and leaves it negative until it refills.
    fn look<'a>(&self, key: &'a K, events: usize, now: Instant) -> Result<Taking<'a, K>, Error> {
        if self.rate == 0 {
            return Ok(None);
        }
        let seconds = events as f64 / f64::from(self.rate);
        let missing = self.full_at.get(key).map_or(0.0, |at| at.saturating_duration_since(now).as_secs_f64());
        let wait = missing - (1.0 - seconds).max(0.0);
        if wait > 0.0 {
            return Err(Error::InsertRateExceeded((wait.ceil() as u64).max(1)));
        }
        Ok(Some((key, now + Duration::from_secs_f64(missing + seconds))))
    }

    fn take(&mut self, taking: Taking<'_, K>, now: Instant) {
        let Some((key, full_at)) = taking else { return };
        if self.full_at.len() >= self.prune_at {
            self.full_at.retain(|_, at| *at > now);
            self.prune_at = (self.full_at.len() * 2).max(PRUNE_FROM);
        }
        self.full_at.insert(key.clone(), full_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take<'a>(buckets: &mut Buckets<&'a str>, key: &'a str, events: usize, now: Instant) -> Result<(), Error> {
        let taking = buckets.look(&key, events, now)?;
        buckets.take(taking, now);
        Ok(())
    }

    #[test]
    fn a_bucket_holds_a_second_and_fills_at_its_rate() {
        let (mut buckets, now) = (Buckets { rate: 10, ..Buckets::default() }, Instant::now());
        for _ in 0..10 {
            take(&mut buckets, "a", 1, now).unwrap();
        }
        assert_eq!(take(&mut buckets, "a", 1, now), Err(Error::InsertRateExceeded(1)));
        take(&mut buckets, "b", 10, now).unwrap();
        let later = now + Duration::from_millis(101);
        take(&mut buckets, "a", 1, later).unwrap();
        assert!(take(&mut buckets, "a", 1, later).is_err());
    }

    #[test]
    fn more_than_a_bucket_holds_needs_a_full_one_and_leaves_it_negative() {
        let (mut buckets, now) = (Buckets { rate: 10, ..Buckets::default() }, Instant::now());
        take(&mut buckets, "a", 35, now).unwrap();
        assert_eq!(take(&mut buckets, "a", 1, now), Err(Error::InsertRateExceeded(3)));
        assert!(take(&mut buckets, "a", 1, now + Duration::from_millis(2550)).is_err());
        take(&mut buckets, "a", 1, now + Duration::from_millis(2650)).unwrap();
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut buckets = Buckets::default();
        take(&mut buckets, "a", usize::MAX, Instant::now()).unwrap();
        assert!(buckets.full_at.is_empty());
    }

    #[test]
    fn a_user_who_is_refused_because_of_others_of_the_tenant_keeps_their_own_allowance() {
        let rates = Rates::default();
        rates.set(10, 20);
        let [alice, bob] = ["alice", "bob"].map(|name| Username::parse(name).unwrap());
        let [acme, other] = ["acme", "other"].map(|name| TenantName::parse(name).unwrap());
        // More than comes in a second, which leaves the bucket negative.
        rates.take(&alice, &acme, 10_000).unwrap();
        for _ in 0..50 {
            assert!(rates.take(&bob, &acme, 1).is_err());
        }
        assert_eq!(rates.take(&bob, &other, 10), Ok(()));
        // Nor the tenant's, if it is the user's own that is used up.
        let third = TenantName::parse("third").unwrap();
        for _ in 0..50 {
            assert!(rates.take(&alice, &third, 1).is_err());
        }
        assert_eq!(rates.take(&Username::parse("carol").unwrap(), &third, 10), Ok(()));
    }
}
