use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::oneshot;

use crate::domain::{Password, PasswordHash};
use crate::error::Error;

/// How many hashes may wait: some seconds' work. More are refused, so that a flood of sign-ins cannot pile up.
const QUEUE: usize = 128;

/// Argon2id on threads of its own: as many as there are cores, each with 19 MiB while it works, and a bounded queue.
#[derive(Clone)]
pub struct PasswordPool {
    queue: std::sync::mpsc::SyncSender<Job>,
    /// Verified against where there is no user, so that both answers take the same time.
    dummy: Arc<PasswordHash>,
}

type Job = Box<dyn FnOnce() + Send>;

/// What verifying a password found.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is the one.
    pub matches: bool,
    /// Its hash by today's parameters, where the kept one is weaker.
    pub rehashed: Option<PasswordHash>,
}

impl PasswordPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the operating system gives none.
    pub fn start() -> std::io::Result<Self> {
        let (queue, jobs) = std::sync::mpsc::sync_channel::<Job>(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..thread::available_parallelism().map_or(2, usize::from) {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().name(format!("argon2-{number}")).spawn(move || {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    // The last handle is gone: so is this thread.
                    let Ok(job) = job else { return };
                    job();
                }
            })?;
        }
        let dummy = hash(&crate::random::bytes::<16>()).map_err(std::io::Error::other)?;
        Ok(Self { queue, dummy: Arc::new(dummy) })
    }

    /// Hashes a password with a fresh salt.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where too many wait.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Error> {
        self.run(move || hash(password.expose())).await?.map_err(Error::Internal)
    }

    /// Verifies a password against a hash, or against none in the same time.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where too many wait.
    pub async fn verify(&self, password: Password, kept: Option<PasswordHash>) -> Result<Verdict, Error> {
        let dummy = Arc::clone(&self.dummy);
        self.run(move || verify(password.expose(), kept.as_ref(), &dummy)).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let (reply, result) = oneshot::channel();
        let job = Box::new(move || {
            // Who asked has gone: so has the reason to work.
            if !reply.is_closed() {
                let _ = reply.send(work());
            }
        });
        self.queue.try_send(job).map_err(|_| Error::Overloaded)?;
        result.await.map_err(|_| Error::Internal("a hashing thread ended".to_owned()))
    }
}

/// OWASP's first choice: 19 MiB, two passes, one lane.
fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

fn hash(password: &[u8]) -> Result<PasswordHash, String> {
    let hash: phc::PasswordHash = hasher().hash_password(password).map_err(|error| error.to_string())?;
    Ok(PasswordHash::new(hash.to_string()))
}

fn verify(password: &[u8], kept: Option<&PasswordHash>, dummy: &PasswordHash) -> Verdict {
    let parsed = phc::PasswordHash::new(kept.unwrap_or(dummy).expose());
    let matches = parsed.as_ref().is_ok_and(|hash| hasher().verify_password(password, hash).is_ok());
    let weaker = parsed.is_ok_and(|hash| is_weaker(&hash));
    // A random dummy is never matched; the second condition does not rely on it.
    let matches = matches && kept.is_some();
    Verdict { matches, rehashed: if matches && weaker { self::hash(password).ok() } else { None } }
}

fn is_weaker(hash: &phc::PasswordHash) -> bool {
    let today = Params::DEFAULT;
    hash.algorithm.as_str() != Algorithm::Argon2id.as_str()
        || hash.version != Some(Version::V0x13.into())
        || Params::try_from(hash).is_ok_and(|kept| kept.m_cost() < today.m_cost() || kept.t_cost() < today.t_cost())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let kept = hash(b"correct horse").unwrap();
        assert!(kept.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let dummy = hash(b"dummy").unwrap();
        assert_eq!(verify(b"correct horse", Some(&kept), &dummy), Verdict { matches: true, rehashed: None });
        assert!(!verify(b"wrong", Some(&kept), &dummy).matches);
        assert!(!verify(b"dummy", None, &dummy).matches, "nobody is not somebody");
    }

    #[test]
    fn a_weaker_hash_is_made_anew_once_the_password_is_known() {
        let weak = Argon2::new(Algorithm::Argon2i, Version::V0x13, Params::new(4096, 3, 1, None).unwrap());
        let hash: phc::PasswordHash = weak.hash_password(b"pw").unwrap();
        let verdict = verify(b"pw", Some(&PasswordHash::new(hash.to_string())), &PasswordHash::new(String::new()));
        assert!(verdict.matches);
        assert!(verdict.rehashed.unwrap().expose().starts_with("$argon2id$"));
    }
}
