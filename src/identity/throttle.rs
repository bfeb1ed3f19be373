//! How many wrong guesses are answered. Only those that fail count, and each is counted before it is checked, so that
//! guesses made side by side cannot slip through together.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::future::Cache;
use tokio::sync::Notify;

use crate::domain::{Username, network_of};
use crate::error::Error;

/// Failures that an allowance lets through at once, and how long it takes to win one back.
#[derive(Clone, Copy)]
struct Allowance {
    burst: f64,
    refill: Duration,
}

/// Guesses at one account's password, code or reset code, from anywhere.
const ACCOUNT: Allowance = Allowance { burst: 20.0, refill: Duration::from_secs(30) };
/// Guesses from one address, at any accounts. Many people may share one, so this is wide.
const ADDRESS: Allowance = Allowance { burst: 300.0, refill: Duration::from_millis(200) };
/// Guesses at the admin token from one address.
const ADMIN: Allowance = Allowance { burst: 100.0, refill: Duration::from_secs(1) };

/// How many accounts and addresses are remembered; the least used are forgotten first.
const REMEMBERED: u64 = 100_000;
/// After this long without a guess every allowance is whole again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(Username),
    Address(IpAddr),
    Admin(IpAddr),
}

/// What is left of one allowance.
struct Bucket {
    state: Mutex<State>,
    /// Told when a guess under way has come to something.
    settled: Notify,
}

struct State {
    left: f64,
    at: Instant,
    /// Guesses that are counted, and may yet turn out to be right.
    under_way: usize,
}

/// What has been guessed lately.
pub struct Throttle(Cache<Key, Arc<Bucket>>);

/// A guess that has been counted, until it has come to something: only what was found wrong stays counted.
///
/// It goes along to wherever the guess is checked, a hashing thread or the writer, and is settled there and then. So it makes no
/// difference whether whoever made it still waits for the answer: a right guess is never held against its user, and no wrong
/// one goes uncounted. Dropped unsettled, it was not checked, and told nobody anything.
#[must_use]
pub struct Attempt {
    buckets: Vec<Arc<Bucket>>,
    was_wrong: bool,
}

impl Throttle {
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_idle(FORGOTTEN_AFTER).build())
    }

    /// Counts a guess at an account.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] where the account or the address has had too many, whether or not the account exists.
    pub async fn account(&self, username: &Username, from: Option<IpAddr>) -> Result<Attempt, Error> {
        let account = self.take(Key::Account(username.clone()), ACCOUNT).await?;
        let mut attempt = Attempt::of(vec![account]);
        if let Some(address) = from.and_then(network) {
            // Where this refuses, it was not a guess at the account after all.
            attempt.buckets.push(self.take(Key::Address(address), ADDRESS).await?);
        }
        Ok(attempt)
    }

    /// Counts a guess at the admin token.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`].
    pub async fn admin(&self, from: Option<IpAddr>) -> Result<Attempt, Error> {
        let Some(address) = from.and_then(network) else {
            return Ok(Attempt::of(Vec::new()));
        };
        Ok(Attempt::of(vec![self.take(Key::Admin(address), ADMIN).await?]))
    }

    async fn take(&self, key: Key, allowance: Allowance) -> Result<Arc<Bucket>, Error> {
        let bucket = self.0.get_with(key, async { Arc::new(Bucket::full(allowance)) }).await;
        loop {
            let mut settled = pin!(bucket.settled.notified());
            // Before the look, so that nothing that settles after it is missed.
            settled.as_mut().enable();
            if bucket.try_take(allowance)? {
                return Ok(Arc::clone(&bucket));
            }
            // Used up, but by guesses that may be right: somebody who opens many connections at once is not an attacker.
            settled.await;
        }
    }
}

impl Bucket {
    fn full(allowance: Allowance) -> Self {
        let state = State { left: allowance.burst, at: Instant::now(), under_way: 0 };
        Self { state: Mutex::new(state), settled: Notify::new() }
    }

    /// Counts a guess where there is room for it; `false` where there may be some once others have settled.
    fn try_take(&self, allowance: Allowance) -> Result<bool, Error> {
        let mut state = self.lock();
        let won_back = state.at.elapsed().as_secs_f64() / allowance.refill.as_secs_f64();
        state.left = (state.left + won_back).min(allowance.burst);
        state.at = Instant::now();
        if state.left >= 1.0 {
            state.left -= 1.0;
            state.under_way += 1;
            return Ok(true);
        }
        if state.under_way > 0 {
            return Ok(false);
        }
        let wait = (1.0 - state.left) * allowance.refill.as_secs_f64();
        Err(Error::TooManyAttempts(wait.ceil().max(1.0) as u64))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    fn of(buckets: Vec<Arc<Bucket>>) -> Self {
        Self { buckets, was_wrong: false }
    }

    /// It was wrong, and stays counted.
    pub fn was_wrong(mut self) {
        self.was_wrong = true;
    }

    /// Counts it where it was wrong, as against right or failed for another reason; and where its user cannot be read, which
    /// the answer tells. What was right may have to be checked for more: the attempt goes on with it.
    ///
    /// # Errors
    /// That of the outcome.
    pub fn settle<T>(self, outcome: Result<T, Error>) -> Result<(T, Self), Error> {
        match outcome {
            Ok(value) => Ok((value, self)),
            Err(error) => {
                if matches!(error, Error::Unauthorized | Error::AdminTokenIncorrect | Error::Damaged(_)) {
                    self.was_wrong();
                }
                Err(error)
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for bucket in &self.buckets {
            {
                let mut state = bucket.lock();
                state.under_way -= 1;
                state.left += if self.was_wrong { 0.0 } else { 1.0 };
            }
            bucket.settled.notify_waiters();
        }
    }
}

/// What an address counts as. This machine's own tells nothing: behind it may be a proxy with everybody, and one who guesses must
/// not be able to shut out all the others.
fn network(address: IpAddr) -> Option<IpAddr> {
    (!address.to_canonical().is_loopback()).then(|| network_of(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Username {
        Username::parse(name).unwrap()
    }

    /// Makes wrong guesses one after another; how many were refused.
    async fn refused(throttle: &Throttle, guesses: u16, who: impl Fn(u16) -> (Username, Option<IpAddr>)) -> u16 {
        let mut refused = 0;
        for guess in 0..guesses {
            let (username, from) = who(guess);
            match throttle.account(&username, from).await {
                Ok(attempt) => attempt.was_wrong(),
                Err(_) => refused += 1,
            }
        }
        refused
    }

    #[tokio::test]
    async fn failures_are_counted_and_successes_are_not() {
        let throttle = Throttle::new();
        for _ in 0..1000 {
            let attempt = throttle.account(&user("good"), None).await.unwrap();
            assert!(attempt.settle(Ok(())).is_ok());
            let attempt = throttle.account(&user("good"), None).await.unwrap();
            assert!(attempt.settle::<()>(Err(Error::Overloaded)).is_err());
        }
        assert_eq!(refused(&throttle, 100, |_| (user("bad"), None)).await, 80);
        assert!(throttle.account(&user("good"), None).await.is_ok());
    }

    #[tokio::test]
    async fn a_guess_counts_before_it_is_known_to_be_wrong() {
        let throttle = Arc::new(Throttle::new());
        let mut under_way = Vec::new();
        for _ in 0..20 {
            under_way.push(throttle.account(&user("x"), None).await.unwrap());
        }
        let next = tokio::spawn({
            let throttle = Arc::clone(&throttle);
            async move { throttle.account(&user("x"), None).await.map(Attempt::was_wrong) }
        });
        // All but one were wrong: the one that waits has the room of the one that was right, and no other has any.
        drop(under_way.pop().unwrap().settle(Ok(())));
        under_way.into_iter().for_each(Attempt::was_wrong);
        assert_eq!(next.await.unwrap(), Ok(()));
        assert!(throttle.account(&user("x"), None).await.is_err());
    }

    #[tokio::test]
    async fn a_guess_that_is_given_up_before_it_is_checked_does_not_count() {
        let throttle = Throttle::new();
        let from = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..1000 {
            drop(throttle.account(&user("x"), from).await.unwrap());
        }
        assert_eq!(refused(&throttle, 100, |_| (user("x"), from)).await, 80);
    }

    #[tokio::test]
    async fn a_guess_that_its_address_may_not_make_does_not_count_for_the_account() {
        let throttle = Throttle::new();
        let from = Some(IpAddr::from([192, 0, 2, 1]));
        assert!(refused(&throttle, 400, |n| (user(&format!("user{n}")), from)).await > 80);
        for _ in 0..30 {
            assert!(throttle.account(&user("x"), from).await.is_err());
        }
        assert!(throttle.account(&user("x"), None).await.is_ok());
    }

    #[tokio::test]
    async fn one_address_cannot_try_every_account_and_one_ipv6_network_is_one_address() {
        let throttle = Throttle::new();
        let refused = refused(&throttle, 400, |n| {
            (user(&format!("user{n}")), Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n])))
        });
        let refused = refused.await;
        assert!(refused > 80, "{refused}");
    }

    #[tokio::test]
    async fn behind_a_proxy_on_this_machine_one_who_guesses_does_not_shut_out_the_others() {
        let throttle = Throttle::new();
        let from = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(refused(&throttle, 2000, |n| (user(&format!("user{n}")), from)).await, 0);
        for _ in 0..2000 {
            throttle.admin(from).await.unwrap().was_wrong();
        }
    }

    #[tokio::test]
    async fn guesses_at_the_admin_token_are_counted_by_address() {
        let throttle = Throttle::new();
        let mut refused = 0;
        for _ in 0..200 {
            match throttle.admin(Some(IpAddr::from([192, 0, 2, 1]))).await {
                Ok(attempt) => assert!(attempt.settle::<()>(Err(Error::AdminTokenIncorrect)).is_err()),
                Err(_) => refused += 1,
            }
        }
        assert!((95..=100).contains(&refused), "{refused}");
        assert!(throttle.admin(Some(IpAddr::from([192, 0, 2, 2]))).await.is_ok());
    }

    #[tokio::test]
    async fn the_refusal_tells_how_long_to_wait() {
        let throttle = Throttle::new();
        refused(&throttle, 20, |_| (user("x"), None)).await;
        let refused = throttle.account(&user("x"), None).await.err();
        assert!(matches!(refused, Some(Error::TooManyAttempts(1..=30))), "{refused:?}");
    }
}
