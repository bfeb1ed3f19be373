mod kept;
mod scheme;

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use argon2::PasswordHasher;
use argon2::password_hash::phc;

use super::policy::{Accepted, PasswordPolicy};
use crate::central::Attempt;
use crate::domain::{ClientAddress, Network, Password, PasswordHash, Username};
use crate::error::Error;
use crate::fair::{Patience, Pool, Task};
use crate::metrics::Metrics;

pub use kept::Kept;
use kept::ours;
pub use scheme::Work;
use scheme::WorkOfChecks;

/// How many hashes may wait: the work of a few seconds. More are refused, so that a flood of sign-ins cannot pile up.
const QUEUE: usize = 128;

/// Runs Argon2id and other slow work on passwords on its own threads: one per core, each with 19 MiB while it hashes, or as much as the
/// costliest imported hash takes, at most 128 MiB. The bounded queue is shared fairly by network and, within each network, by account.
#[derive(Clone)]
pub struct PasswordPool {
    pool: Pool<Network, Lane>,
    /// How much work each check does, so that all take the same time.
    work: Arc<WorkOfChecks>,
    metrics: Metrics,
}

/// The share of the hashing threads that some work belongs to.
#[derive(Clone, Debug)]
pub struct Share {
    site: Network,
    lane: Lane,
}

/// The share within one network. Guesses at an account from one network do not wait behind those from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lane {
    network: Network,
    /// The account of the attempt; `None` for an admin's work.
    account: Option<Username>,
}

impl Share {
    /// The share of an attempt from an address at an account.
    pub fn of_account(from: ClientAddress, username: &Username) -> Self {
        Self::of(from, Some(username.clone()))
    }

    /// The share of an admin's work.
    pub fn of_admin(from: ClientAddress) -> Self {
        Self::of(from, None)
    }

    fn of(from: ClientAddress, account: Option<Username>) -> Self {
        Self { site: from.site(), lane: Lane { network: from.network(), account } }
    }
}

/// The result of verifying a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the password is correct.
    pub matches: bool,
    /// Whether it should be hashed again, with today's parameters and in the form NFC.
    pub is_outdated: bool,
}

impl PasswordPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the operating system gives none.
    pub fn start(metrics: Metrics) -> std::io::Result<Self> {
        let threads = thread::available_parallelism().map_or(2, usize::from);
        let pool = Pool::start("argon2", threads, QUEUE)?;
        let work = WorkOfChecks::default();
        work.set(Work::default());
        Ok(Self { pool, work: Arc::new(work), metrics })
    }

    /// Has each check do as much work as the costliest imported hashes take.
    pub fn set_work(&self, work: Work) {
        self.work.set(work);
    }

    /// How many passwords wait.
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Checks a new password against the policy. `known` holds words that an attacker would try for this user.
    ///
    /// # Errors
    /// Those of [`PasswordPolicy::check`]; [`Error::Overloaded`] if too many wait.
    pub async fn judge(
        &self,
        share: Share,
        policy: PasswordPolicy,
        password: Password,
        known: Vec<String>,
    ) -> Result<Accepted, Error> {
        self.run(share, move || policy.check(password, &known)).await?
    }

    /// Hashes a new password with a fresh salt.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many wait.
    pub async fn hash(&self, share: Share, password: Accepted) -> Result<PasswordHash, Error> {
        self.hash_again(share, password.into_password()).await
    }

    /// Hashes a password that was just found correct, whether or not it would be allowed as a new one.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many wait.
    pub async fn hash_again(&self, share: Share, password: Password) -> Result<PasswordHash, Error> {
        let metrics = self.metrics.clone();
        self.run(share, move || timed(&metrics, || hash(password.expose()))).await?.map_err(Error::Internal)
    }

    /// Checks a guess at a password against a hash, or against none in the same time. `judge` decides the result on the
    /// same thread. So the attempt is settled even if the client has disconnected.
    ///
    /// # Errors
    /// Those of `judge`; [`Error::Overloaded`] if too many wait.
    pub async fn check<T: Send + 'static>(
        &self,
        share: Share,
        password: Password,
        kept: Option<PasswordHash>,
        attempt: Attempt,
        judge: impl FnOnce(Verdict) -> Result<T, Error> + Send + 'static,
    ) -> Result<(T, Attempt), Error> {
        let (work, metrics) = (Arc::clone(&self.work), self.metrics.clone());
        let verified = move || timed(&metrics, || verify(&password, kept.as_ref(), &work));
        self.run(share, move || attempt.settle(judge(verified()))).await?
    }

    fn run<T: Send + 'static>(&self, share: Share, work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        self.pool.submit(share.site, share.lane, Patience::Refusable, work)
    }
}

/// Counts how long some hashing takes.
fn timed<T>(metrics: &Metrics, hashing: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let hashed = hashing();
    metrics.password_hash.observe_duration(began.elapsed());
    hashed
}

fn hash(password: &[u8]) -> Result<PasswordHash, String> {
    let hash: phc::PasswordHash = ours().hash_password(password).map_err(|error| error.to_string())?;
    Ok(PasswordHash::new(hash.to_string()))
}

fn verify(password: &Password, kept: Option<&PasswordHash>, work: &WorkOfChecks) -> Verdict {
    // Of a hash that cannot be read, as of none, every password is wrong, after the same time.
    let kept = kept.and_then(|kept| Kept::parse(kept.expose()).ok());
    let is_of =
        |text: &[u8]| work.around(kept.as_ref().map(Kept::cost), || kept.as_ref().is_some_and(|kept| kept.is_of(text)));
    // If there are two forms, both are always verified. Otherwise a correct password would take half as long as a wrong
    // one.
    let is_as_typed = password.expose_typed().is_some_and(is_of);
    let matches = is_of(password.expose()) | is_as_typed;
    Verdict { matches, is_outdated: matches && (is_as_typed || kept.is_some_and(|kept| kept.is_outdated())) }
}

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, Argon2, Params, Version};
    use tokio::sync::oneshot;

    use super::*;
    use crate::central::{Central, GuessAt};

    fn password(text: &str) -> Password {
        Password::parse(text.to_owned()).unwrap()
    }

    fn check(text: &str, kept: Option<&PasswordHash>) -> Verdict {
        verify(&password(text), kept, &WorkOfChecks::default())
    }

    const RIGHT: Verdict = Verdict { matches: true, is_outdated: false };
    const OUTDATED: Verdict = Verdict { matches: true, is_outdated: true };
    const WRONG: Verdict = Verdict { matches: false, is_outdated: false };

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let kept = hash(b"correct horse").unwrap();
        assert!(kept.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(check("correct horse", Some(&kept)), RIGHT);
        assert_eq!(check("wrong", Some(&kept)), WRONG);
        assert_eq!(check("correct horse", None), WRONG, "nobody is not somebody");
        assert_eq!(check("x", Some(&PasswordHash::new(String::new()))), WRONG, "who has no password");
    }

    #[test]
    fn a_weaker_hash_is_outdated_once_the_password_is_known() {
        let weak = Argon2::new(Algorithm::Argon2i, Version::V0x13, Params::new(4096, 3, 1, None).unwrap());
        let kept: phc::PasswordHash = weak.hash_password(b"pw").unwrap();
        let kept = PasswordHash::new(kept.to_string());
        assert_eq!(check("pw", Some(&kept)), OUTDATED);
        assert_eq!(check("qw", Some(&kept)), WRONG);
    }

    #[test]
    fn a_hash_of_a_password_as_typed_matches_the_same_typing_and_is_outdated() {
        let (composed, decomposed) = ("jos\u{e9}", "jose\u{301}");
        let old = hash(decomposed.as_bytes()).unwrap();
        assert_eq!(check(decomposed, Some(&old)), OUTDATED);
        assert_eq!(check(composed, Some(&old)), WRONG, "as ever");
        let new = hash(password(decomposed).expose()).unwrap();
        assert_eq!(check(decomposed, Some(&new)), RIGHT);
        assert_eq!(check(composed, Some(&new)), RIGHT);
    }

    #[tokio::test]
    async fn a_guess_is_settled_when_it_is_checked_and_no_sooner() {
        let (pool, central) = (PasswordPool::start(Metrics::default()).unwrap(), Central::alone());
        let (zoe, from) = (Username::parse("zoe").unwrap(), ClientAddress::of([127, 0, 0, 1].into()));
        let kept = hash(b"right").unwrap();
        // Begins to check a guess, and gives up as soon as the job is in the queue.
        let give_up = async |text: &str| {
            let attempt = central.attempt(GuessAt::Account(&zoe), from).await.unwrap();
            let (checked, is_checked) = oneshot::channel();
            let judge = move |verdict: Verdict| {
                let _ = checked.send(());
                if verdict.matches { Ok(()) } else { Err(Error::Unauthorized) }
            };
            let mut check =
                Box::pin(pool.check(Share::of_account(from, &zoe), password(text), Some(kept.clone()), attempt, judge));
            tokio::select! {
                biased;
                _ = &mut check => {}
                () = std::future::ready(()) => {}
            }
            (check, is_checked)
        };
        for _ in 0..30 {
            let (check, is_checked) = give_up("right").await;
            is_checked.await.unwrap();
            drop(check);
        }
        for _ in 0..20 {
            let (check, is_checked) = give_up("wrong").await;
            is_checked.await.unwrap();
            drop(check);
        }
        assert!(matches!(central.attempt(GuessAt::Account(&zoe), from).await, Err(Error::TooManyAttempts(_))));
    }
}
