//! Things that one connection holds at a time, such as a session: another connection that claims one is given it once its holder has
//! let go.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

/// What is held, by key: a cheap clone, shared by all threads. `W` is what a claim says to the holder.
pub struct Claims<K: Eq + Hash, W>(Arc<Mutex<HashMap<K, Entry<K, W>>>>);

struct Entry<K: Eq + Hash, W> {
    wanted: Arc<Wanted>,
    /// In the order in which they came.
    waiting: VecDeque<Waiting<K, W>>,
}

struct Waiting<K: Eq + Hash, W> {
    says: W,
    /// Whatever becomes of the receiver, what is held is let go in the end.
    given: oneshot::Sender<Held<K, W>>,
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
pub struct Held<K: Eq + Hash, W> {
    claims: Claims<K, W>,
    /// `None` once it is let go.
    key: Option<K>,
    wanted: Arc<Wanted>,
}

impl<K: Eq + Hash, W> Clone for Claims<K, W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash, W> Default for Claims<K, W> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash, W> Claims<K, W> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Entry<K, W>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone, W> Claims<K, W> {
    /// Waits until nobody else holds something, and holds it. Of several that wait each has it in turn, so that the last one keeps it.
    pub async fn claim(&self, key: K, says: W) -> Held<K, W> {
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
                    entry.waiting.push_back(Waiting { says, given });
                    entry.wanted.now();
                }
            }
        }
        // Whoever lets go gives to the first that waits, so that nobody waits in vain.
        gives.await.unwrap_or(Held { claims: self.clone(), key: None, wanted: Arc::default() })
    }
}

impl<K: Eq + Hash, W> Held<K, W> {
    /// Becomes ready when somebody else waits. Wakes as a future does.
    pub fn poll_wanted(&self, context: &mut Context<'_>) -> Poll<()> {
        self.wanted.holder.register(context.waker());
        if self.wanted.is.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Looks at what the one says that waits for the longest.
    pub fn next_says<R>(&self, look: impl FnOnce(&W) -> R) -> Option<R> {
        let entries = self.claims.lock();
        let next = entries.get(self.key.as_ref()?)?.waiting.front()?;
        Some(look(&next.says))
    }
}

impl<K: Eq + Hash, W> Drop for Held<K, W> {
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
            match next.given.send(Self { claims: self.claims.clone(), key: Some(key), wanted }) {
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

    type Of = Claims<&'static str, u8>;

    fn is_wanted(held: &Held<&'static str, u8>) -> bool {
        held.poll_wanted(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Waits until so many wait.
    async fn until_waiting(claims: &Of, number: usize) {
        while claims.lock()["a"].waiting.len() < number {
            tokio::task::yield_now().await;
        }
    }

    fn claim(claims: &Of, says: u8) -> tokio::task::JoinHandle<Held<&'static str, u8>> {
        let claims = claims.clone();
        tokio::spawn(async move { claims.claim("a", says).await })
    }

    #[tokio::test]
    async fn each_has_it_in_turn_and_the_last_keeps_it() {
        let claims = Of::default();
        let (first, other) = (claims.claim("a", 1).await, claims.claim("b", 0).await);
        assert!(!is_wanted(&first));
        let second = claim(&claims, 2);
        tokio::time::timeout(Duration::from_secs(60), poll_fn(|context| first.poll_wanted(context))).await.unwrap();
        assert_eq!(first.next_says(|says| *says), Some(2));
        let third = claim(&claims, 3);
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
        let first = claims.claim("a", 1).await;
        assert!(tokio::time::timeout(Duration::from_millis(1), claims.claim("a", 2)).await.is_err());
        let mut third = Box::pin(claims.claim("a", 3));
        assert!(third.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let fourth = claim(&claims, 4);
        until_waiting(&claims, 3).await;
        drop(first);
        // It was given to the third, which never looked.
        drop(third);
        drop(fourth.await.unwrap());
        assert!(claims.lock().is_empty());
    }
}
