//! How many wrong guesses are answered. Only those that fail count, and each is counted before it is checked, so that
//! guesses made side by side cannot slip through together.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::domain::Username;
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

struct Bucket {
    left: f64,
    at: Instant,
}

/// What has been guessed lately.
pub struct Throttle(Cache<Key, Arc<Mutex<Bucket>>>);

/// A guess that has been counted. It is given back where it turns out to be right.
#[must_use]
pub struct Attempt(Vec<Arc<Mutex<Bucket>>>);

impl Throttle {
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_idle(FORGOTTEN_AFTER).build())
    }

    /// Counts a guess at an account.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] where the account or the address has had too many, whether or not the account exists.
    pub fn account(&self, username: &Username, from: Option<IpAddr>) -> Result<Attempt, Error> {
        let account = self.take(Key::Account(username.clone()), ACCOUNT)?;
        let Some(address) = from.and_then(network) else { return Ok(Attempt(vec![account])) };
        match self.take(Key::Address(address), ADDRESS) {
            Ok(address) => Ok(Attempt(vec![account, address])),
            Err(error) => {
                // Not a guess at the account after all.
                Attempt(vec![account]).succeeded();
                Err(error)
            }
        }
    }

    /// Counts a guess at the admin token.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`].
    pub fn admin(&self, from: Option<IpAddr>) -> Result<Attempt, Error> {
        let Some(address) = from.and_then(network) else { return Ok(Attempt(Vec::new())) };
        Ok(Attempt(vec![self.take(Key::Admin(address), ADMIN)?]))
    }

    fn take(&self, key: Key, allowance: Allowance) -> Result<Arc<Mutex<Bucket>>, Error> {
        let fresh = || Arc::new(Mutex::new(Bucket { left: allowance.burst, at: Instant::now() }));
        let shared = self.0.get_with(key, fresh);
        {
            let mut bucket = lock(&shared);
            let won_back = bucket.at.elapsed().as_secs_f64() / allowance.refill.as_secs_f64();
            bucket.left = (bucket.left + won_back).min(allowance.burst);
            bucket.at = Instant::now();
            if bucket.left < 1.0 {
                let wait = (1.0 - bucket.left) * allowance.refill.as_secs_f64();
                return Err(Error::TooManyAttempts(wait.ceil().max(1.0) as u64));
            }
            bucket.left -= 1.0;
        }
        Ok(shared)
    }
}

impl Attempt {
    /// It was right: it does not count.
    pub fn succeeded(self) {
        for bucket in self.0 {
            lock(&bucket).left += 1.0;
        }
    }
}

/// What an address counts as. Whoever has one IPv6 address has a whole network of 2^64. This machine's own tells nothing:
/// behind it may be a proxy with everybody, and one who guesses must not be able to shut out all the others.
fn network(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V4(address) => Some(address.into()),
        IpAddr::V6(address) => Some(std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()),
    }
}

fn lock(bucket: &Mutex<Bucket>) -> std::sync::MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Username {
        Username::parse(name).unwrap()
    }

    #[test]
    fn failures_are_counted_and_successes_are_not() {
        let throttle = Throttle::new();
        for _ in 0..1000 {
            throttle.account(&user("good"), None).unwrap().succeeded();
        }
        let refused = (0..100).filter(|_| throttle.account(&user("bad"), None).is_err()).count();
        assert_eq!(refused, 80);
        assert!(throttle.account(&user("good"), None).is_ok());
    }

    #[test]
    fn a_guess_counts_before_it_is_known_to_be_wrong() {
        let throttle = Throttle::new();
        let side_by_side: Vec<_> = (0..100).map(|_| throttle.account(&user("x"), None)).collect();
        assert_eq!(side_by_side.iter().filter(|attempt| attempt.is_ok()).count(), 20);
    }

    #[test]
    fn one_address_cannot_try_every_account_and_one_ipv6_network_is_one_address() {
        let throttle = Throttle::new();
        let refused = (0..400_u16)
            .filter(|n| {
                let from = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, *n]);
                throttle.account(&user(&format!("user{n}")), Some(from)).is_err()
            })
            .count();
        assert!(refused > 80, "{refused}");
    }

    #[test]
    fn behind_a_proxy_on_this_machine_one_who_guesses_does_not_shut_out_the_others() {
        let throttle = Throttle::new();
        let from = Some(IpAddr::from([127, 0, 0, 1]));
        assert!((0..2000).all(|n| throttle.account(&user(&format!("user{n}")), from).is_ok()));
        assert!((0..2000).all(|_| throttle.admin(from).is_ok()));
    }

    #[test]
    fn guesses_at_the_admin_token_are_counted_by_address() {
        let throttle = Throttle::new();
        let refused = (0..200).filter(|_| throttle.admin(Some(IpAddr::from([192, 0, 2, 1]))).is_err()).count();
        assert!((95..=100).contains(&refused), "{refused}");
        assert!(throttle.admin(Some(IpAddr::from([192, 0, 2, 2]))).is_ok());
    }

    #[test]
    fn the_refusal_tells_how_long_to_wait() {
        let throttle = Throttle::new();
        let refused = (0..30).find_map(|_| throttle.account(&user("x"), None).err());
        assert!(matches!(refused, Some(Error::TooManyAttempts(1..=30))), "{refused:?}");
    }
}
