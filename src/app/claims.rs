//! Things that one connection holds at a time, such as a session: another connection that claims one is given it once its holder has
//! let go.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

/// What is held, by key: a cheap clone, shared by all threads.
pub struct Claims<K: Eq + Hash>(Arc<Mutex<HashMap<K, Entry<K>>>>);

struct Entry<K: Eq + Hash> {
    wanted: Arc<Wanted>,
    /// In the order in which they came. Whatever becomes of the receiver, what is held is let go in the end.
    waiting: VecDeque<oneshot::Sender<Held<K>>>,
}

/// Whether somebody else waits.
#[derive(Default)]
struct Wanted {
    is: AtomicBool,
    holder: AtomicWaker,
}

impl Wanted {
    fn now(&self) {
        self.is.store(true, Ordering::Release);
        self.holder.wake();
    }
}

/// Something that is held, until this is dropped.
pub struct Held<K: Eq + Hash> {
    claims: Claims<K>,
    /// `None` once it is let go.
    key: Option<K>,
    wanted: Arc<Wanted>,
}

impl<K: Eq + Hash> Clone for Claims<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash> Default for Claims<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Claims<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Claims<K> {
    /// Waits until nobody else holds something, and holds it. Of several that wait each has it in turn, so that the last one keeps it.
    pub async fn claim(&self, key: K) -> Held<K> {
        let (given, gives) = oneshot::channel();
        {
            let mut entries = self.lock();
            match entries.get_mut(&key) {
                None => {
                    let wanted = Arc::<Wanted>::default();
                    entries.insert(key.clone(), Entry { wanted: Arc::clone(&wanted), waiting: VecDeque::new() });
                    return Held { claims: self.clone(), key: Some(key), wanted };
                }
                Some(entry) => {
                    entry.waiting.push_back(given);
                    entry.wanted.now();
                }
            }
        }
        // Whoever lets go gives to the first that waits, so that nobody waits in vain.
        gives.await.unwrap_or(Held { claims: self.clone(), key: None, wanted: Arc::default() })
    }
}

impl<K: Eq + Hash> Held<K> {
    /// What is held.
    pub fn key(&self) -> Option<&K> {
        self.key.as_ref()
    }

    /// Becomes ready when somebody else waits. Wakes as a future does.
    pub fn poll_wanted(&self, context: &mut Context<'_>) -> Poll<()> {
        self.wanted.holder.register(context.waker());
        if self.wanted.is.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<K: Eq + Hash> Drop for Held<K> {
    fn drop(&mut self) {
        let Some(mut key) = self.key.take() else { return };
        let mut entries = self.claims.lock();
        let Some(entry) = entries.get_mut(&key) else { return };
        while let Some(next) = entry.waiting.pop_front() {
            let wanted = Arc::<Wanted>::default();
            if !entry.waiting.is_empty() {
                wanted.now();
            }
            entry.wanted = Arc::clone(&wanted);
            match next.send(Self { claims: self.claims.clone(), key: Some(key), wanted }) {
                Ok(()) => return,
                // It waits no longer. What comes back must not be dropped with its key, since the lock is held here.
                Err(mut back) => match back.key.take() {
                    Some(back) => key = back,
                    None => return,
                },
            }
        }
        entries.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    type Of = Claims<&'static str>;

    fn is_wanted(held: &Held<&'static str>) -> bool {
        held.poll_wanted(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Waits until so many wait.
    async fn until_waiting(claims: &Of, number: usize) {
        while claims.lock()["a"].waiting.len() < number {
            tokio::task::yield_now().await;
        }
    }

    fn claim(claims: &Of) -> tokio::task::JoinHandle<Held<&'static str>> {
        let claims = claims.clone();
        tokio::spawn(async move { claims.claim("a").await })
    }

    #[tokio::test]
    async fn each_has_it_in_turn_and_the_last_keeps_it() {
        let claims = Of::default();
        let (first, other) = (claims.claim("a").await, claims.claim("b").await);
        assert!(!is_wanted(&first));
        let second = claim(&claims);
        tokio::time::timeout(Duration::from_secs(60), poll_fn(|context| first.poll_wanted(context))).await.unwrap();
        let third = claim(&claims);
        until_waiting(&claims, 2).await;
        drop(first);
        let second = second.await.unwrap();
        assert!(is_wanted(&second), "the third waits");
        drop(second);
        let third = third.await.unwrap();
        assert!(!is_wanted(&third) && !is_wanted(&other));
        drop((third, other));
        assert!(claims.lock().is_empty());
    }

    #[tokio::test]
    async fn one_that_waits_no_longer_is_passed_over_and_one_that_was_given_it_unseen_lets_go() {
        let claims = Of::default();
        let first = claims.claim("a").await;
        assert!(tokio::time::timeout(Duration::from_millis(1), claims.claim("a")).await.is_err());
        let mut third = Box::pin(claims.claim("a"));
        assert!(third.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let fourth = claim(&claims);
        until_waiting(&claims, 3).await;
        drop(first);
        // It was given to the third, which never looked.
        drop(third);
        drop(fourth.await.unwrap());
        assert!(claims.lock().is_empty());
    }
}
