//! How many sessions without a connection there may be, and how much memory sessions may hold: altogether, and of one client.
//!
//! Closes this fault: a session of long polling is opened by one request, and stays when its client has gone, so a client could open any
//! number of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::lock::lock;

/// Maximum number of sessions without a connection: those of long polling.
const MAX_SESSIONS: usize = 50_000;
/// Maximum of bytes that sessions hold for their clients, or of packets that are incomplete, beyond what is not counted.
const MAX_BYTES: usize = 256 << 20;
/// What a session holds without being counted: a ping and a few answers.
const UNCOUNTED: usize = 1 << 10;
/// One client has at most this part of each.
const CLIENT_PART: usize = 4;

/// What all sessions use.
pub struct Shares<K> {
    max_sessions: usize,
    max_bytes: usize,
    all: Usage,
    by_client: Mutex<HashMap<K, Client>>,
}

/// What one client uses.
#[derive(Default)]
struct Client {
    usage: Arc<Usage>,
    /// How many shares it has. The last one to go takes the entry with it.
    shares: usize,
}

#[derive(Default)]
struct Usage {
    sessions: AtomicUsize,
    bytes: AtomicUsize,
}

impl Usage {
    /// Adds to a count, unless it would then be larger than allowed.
    fn add(count: &AtomicUsize, more: usize, most: usize) -> bool {
        let is_allowed = count.fetch_add(more, Relaxed).saturating_add(more) <= most;
        if !is_allowed {
            count.fetch_sub(more, Relaxed);
        }
        is_allowed
    }
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// With the limits of a server.
    pub fn new() -> Self {
        Self::of(MAX_SESSIONS, MAX_BYTES)
    }

    /// With these limits.
    pub fn of(max_sessions: usize, max_bytes: usize) -> Self {
        Self { max_sessions, max_bytes, all: Usage::default(), by_client: Mutex::default() }
    }
}

/// What one session uses. Dropping it gives all of it back.
pub struct Share<K: Clone + Eq + Hash> {
    shares: Arc<Shares<K>>,
    client: K,
    usage: Arc<Usage>,
    /// Whether it counts as a session.
    is_counted: bool,
    held: usize,
}

impl<K: Clone + Eq + Hash> Share<K> {
    /// The share of a session that has a connection, whose number is limited elsewhere.
    pub fn connected(shares: &Arc<Shares<K>>, client: K) -> Self {
        let usage = {
            let mut by_client = lock(&shares.by_client);
            let entry = by_client.entry(client.clone()).or_default();
            entry.shares += 1;
            Arc::clone(&entry.usage)
        };
        Self { shares: Arc::clone(shares), client, usage, is_counted: false, held: 0 }
    }

    /// The share of a session without a connection; `None` if there are too many.
    pub fn polling(shares: &Arc<Shares<K>>, client: K) -> Option<Self> {
        let mut share = Self::connected(shares, client);
        if !Usage::add(&share.usage.sessions, 1, shares.max_sessions / CLIENT_PART) {
            return None;
        }
        if !Usage::add(&shares.all.sessions, 1, shares.max_sessions) {
            share.usage.sessions.fetch_sub(1, Relaxed);
            return None;
        }
        share.is_counted = true;
        Some(share)
    }

    /// The session has a connection now.
    pub fn connect(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.usage.sessions.fetch_sub(1, Relaxed);
            self.shares.all.sessions.fetch_sub(1, Relaxed);
        }
    }

    /// Says that the session holds so many bytes now. Returns whether it may.
    pub fn hold(&mut self, bytes: usize) -> bool {
        let bytes = bytes.saturating_sub(UNCOUNTED);
        let less = self.held.saturating_sub(bytes);
        if less > 0 {
            self.usage.bytes.fetch_sub(less, Relaxed);
            self.shares.all.bytes.fetch_sub(less, Relaxed);
        }
        let more = bytes.saturating_sub(self.held);
        if more > 0 {
            if !Usage::add(&self.usage.bytes, more, self.shares.max_bytes / CLIENT_PART) {
                return false;
            }
            if !Usage::add(&self.shares.all.bytes, more, self.shares.max_bytes) {
                self.usage.bytes.fetch_sub(more, Relaxed);
                return false;
            }
        }
        self.held = bytes;
        true
    }
}

impl<K: Clone + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        self.connect();
        self.hold(0);
        let mut by_client = lock(&self.shares.by_client);
        if let Entry::Occupied(mut client) = by_client.entry(self.client.clone()) {
            client.get_mut().shares -= 1;
            if client.get().shares == 0 {
                client.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_quarter_of_the_sessions_and_all_together_have_them_all() {
        let shares = Arc::new(Shares::of(8, 0));
        let open = |client| Share::polling(&shares, client);
        let mut of_one = [open(1), open(1)];
        assert!(of_one.iter().all(Option::is_some) && open(1).is_none());
        // One with a connection does not count.
        let _connected = Share::connected(&shares, 1);
        of_one[0].as_mut().unwrap().connect();
        let third = open(1);
        assert!(third.is_some() && open(1).is_none());
        drop(third);
        of_one[0] = open(1);
        let others: Vec<_> = (2..=4).flat_map(|client| [open(client), open(client)]).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(open(5).is_none(), "there are eight");
        assert_eq!(lock(&shares.by_client).len(), 4);
        drop((of_one, others, _connected));
        assert!(lock(&shares.by_client).is_empty());
        assert_eq!(shares.all.sessions.load(Relaxed), 0);
    }

    #[test]
    fn what_sessions_hold_is_counted_beyond_a_little_and_given_back() {
        let shares = Arc::new(Shares::of(8, 400));
        let [mut one, mut other] = [1, 1].map(|client| Share::polling(&shares, client).unwrap());
        assert!(one.hold(UNCOUNTED + 60) && other.hold(UNCOUNTED + 40));
        assert!(!one.hold(UNCOUNTED + 61), "a client has 100");
        assert!(one.hold(UNCOUNTED + 10) && other.hold(UNCOUNTED + 90) && !one.hold(UNCOUNTED + 11));
        let mut others: Vec<_> = (2..5).map(|client| Share::polling(&shares, client).unwrap()).collect();
        assert!(others.iter_mut().all(|share| share.hold(UNCOUNTED + 100)));
        let mut last = Share::polling(&shares, 5).unwrap();
        assert!(!last.hold(UNCOUNTED + 1), "all have 400");
        drop(one);
        assert!(last.hold(UNCOUNTED + 10));
        drop((other, others, last));
        assert_eq!(shares.all.bytes.load(Relaxed), 0);
    }
}
