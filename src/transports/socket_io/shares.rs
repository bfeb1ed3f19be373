//! How much memory sessions take together, and which of them ends when there is no more.
//!
//! Closes two faults. A session of long polling is opened by one request, and stays when its client has gone, so a client could open any
//! number of them. And a client that can fill a shared limit keeps everybody else out, while a limit of each client only tells how many
//! clients that takes: here it is the largest session of the largest client that ends, of the site with the most.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::lock::lock;
use super::sid::Sid;
use crate::transports::ranked::Ranked;

/// Maximum of bytes that all sessions take: what they have to say, packets that are incomplete, and what is worked on.
const MAX_BYTES: usize = 256 << 20;
/// What a session without a connection takes: one of long polling. There are at most 65,536 of them.
const SESSION_BYTES: usize = 4 << 10;
/// What a session holds without being counted: a ping and a few answers. Beyond that, it is counted in steps of this.
const UNCOUNTED: usize = 1 << 10;

/// The memory that all sessions share.
pub struct Shares<K> {
    most: usize,
    site: fn(&K) -> K,
    /// The number of the next share.
    next: AtomicU64,
    table: Mutex<Table<K>>,
    /// Told when sessions have to end.
    displaced: Notify,
}

struct Table<K> {
    held: usize,
    sites: Ranked<K>,
    clients: HashMap<K, Ranked<K>>,
    /// Those that count.
    sessions: BTreeMap<Rank<K>, Sid>,
    /// Those that have to end: they count no more.
    displaced: Vec<Sid>,
}

/// The client, the bytes and the number of a session: of each client the largest comes last, and of those the oldest.
type Rank<K> = (K, usize, Reverse<u64>);

impl<K: Clone + Ord + Hash> Shares<K> {
    /// With the limit of a server, and the site of each client.
    pub fn new(site: fn(&K) -> K) -> Self {
        Self::of(MAX_BYTES, site)
    }

    /// With this limit, in bytes.
    pub fn of(most: usize, site: fn(&K) -> K) -> Self {
        let (clients, sessions) = (HashMap::new(), BTreeMap::new());
        let table = Table { held: 0, sites: Ranked::default(), clients, sessions, displaced: Vec::new() };
        Self { most, site, next: AtomicU64::new(0), table: Mutex::new(table), displaced: Notify::new() }
    }

    /// Waits until sessions have to end.
    pub async fn displaced(&self) {
        self.displaced.notified().await;
    }

    /// Changes the table, and tells if sessions have to end.
    fn change<R>(&self, change: impl FnOnce(&mut Table<K>) -> R) -> R {
        let mut table = lock(&self.table);
        let changed = change(&mut table);
        let has_displaced = !table.displaced.is_empty();
        drop(table);
        if has_displaced {
            self.displaced.notify_one();
        }
        changed
    }

    /// The sessions that have to end because others need their memory.
    pub fn take_displaced(&self) -> Vec<Sid> {
        std::mem::take(&mut lock(&self.table).displaced)
    }
}

impl<K: Clone + Ord + Hash> Table<K> {
    fn count(&mut self, site: &K, client: &K, change: impl Fn(usize) -> usize) {
        self.held = change(self.held);
        self.sites.change(site, &change);
        let clients = self.clients.entry(site.clone()).or_default();
        clients.change(client, &change);
        if clients.is_empty() {
            self.clients.remove(site);
        }
    }

    /// Removes one if it is there.
    fn remove(&mut self, site: &K, rank: &Rank<K>) -> Option<Sid> {
        let sid = self.sessions.remove(rank)?;
        self.count(site, &rank.0, |had| had - rank.1);
        Some(sid)
    }

    fn add(&mut self, site: &K, rank: Rank<K>, sid: Sid) {
        self.count(site, &rank.0, |had| had + rank.1);
        self.sessions.insert(rank, sid);
    }

    fn first_to_go(&self) -> Option<(K, Rank<K>)> {
        let site = self.sites.largest()?;
        let client = self.clients.get(site)?.largest()?;
        let largest = (client.clone(), usize::MAX, Reverse(0));
        let (rank, _) = self.sessions.range(..=largest).next_back()?;
        Some((site.clone(), rank.clone()))
    }

    /// Makes the largest go until there is room.
    fn make_room(&mut self, most: usize) {
        while self.held > most {
            let Some((site, rank)) = self.first_to_go() else { break };
            let Some(sid) = self.remove(&site, &rank) else { break };
            self.displaced.push(sid);
        }
    }
}

/// What one session takes. Dropping it gives all of it back.
pub struct Share<K: Clone + Ord + Hash> {
    shares: Arc<Shares<K>>,
    client: K,
    sid: Sid,
    number: u64,
    /// What it takes whatever it holds.
    least: usize,
    /// As it is counted.
    held: usize,
}

impl<K: Clone + Ord + Hash> Share<K> {
    /// The share of a session that has a connection, whose number is limited elsewhere.
    pub fn connected(shares: &Arc<Shares<K>>, client: K, sid: Sid) -> Self {
        let number = shares.next.fetch_add(1, Relaxed);
        Self { shares: Arc::clone(shares), client, sid, number, least: 0, held: 0 }
    }

    /// The share of a session without a connection; `None` if there is no room but what this client has, or others who have less. Its own
    /// sessions do not end for it: a client that opens them without end keeps those that it has.
    pub fn polling(shares: &Arc<Shares<K>>, client: K, sid: Sid) -> Option<Self> {
        let mut share = Self::connected(shares, client, sid);
        (share.least, share.held) = (SESSION_BYTES, SESSION_BYTES);
        let has_room = shares.change(|table| {
            table.add(&share.site(), share.rank(), sid);
            let is_own = |(_, rank): (K, Rank<K>)| rank.0 == share.client;
            let may = table.held <= shares.most || !table.first_to_go().is_some_and(is_own);
            if may {
                table.make_room(shares.most);
            }
            may
        });
        has_room.then_some(share)
    }

    fn site(&self) -> K {
        (self.shares.site)(&self.client)
    }

    fn rank(&self) -> Rank<K> {
        (self.client.clone(), self.held, Reverse(self.number))
    }

    /// The session has a connection now.
    pub fn connect(&mut self) {
        self.least = 0;
    }

    /// Says that the session holds so many bytes now. Returns whether it may go on: others that hold less may need them. This may make
    /// others end.
    pub fn hold(&mut self, bytes: usize) -> bool {
        let counted = if bytes > UNCOUNTED { bytes.next_multiple_of(UNCOUNTED) } else { 0 };
        if self.held == self.least + counted {
            return true;
        }
        let (site, before) = (self.site(), self.rank());
        self.held = self.least + counted;
        let now = self.rank();
        self.shares.change(|table| {
            // If it was counted and is no more, it has to end.
            let may = before.1 == 0 || table.remove(&site, &before).is_some();
            if !may || now.1 == 0 {
                return now.1 == 0;
            }
            table.add(&site, now.clone(), self.sid);
            table.make_room(self.shares.most);
            table.sessions.contains_key(&now)
        })
    }
}

impl<K: Clone + Ord + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        self.least = 0;
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 40 * SESSION_BYTES;

    /// Clients by number, a hundred to a site.
    fn shares() -> Arc<Shares<u32>> {
        Arc::new(Shares::of(MOST, |client| client / 100 * 100))
    }

    fn sid(number: u8) -> Sid {
        Sid::new([number; Sid::BYTES])
    }

    fn open(shares: &Arc<Shares<u32>>, client: u32, number: u8) -> Option<Share<u32>> {
        Share::polling(shares, client, sid(number))
    }

    #[test]
    fn a_client_that_has_all_the_room_opens_no_more_and_gives_way_to_others_the_oldest_first() {
        let shares = shares();
        let of_one: Vec<_> = (0..40).map(|number| open(&shares, 1, number).unwrap()).collect();
        assert!(open(&shares, 1, 40).is_none() && shares.take_displaced().is_empty());
        let other = open(&shares, 200, 41).unwrap();
        assert!(shares.take_displaced() == [sid(0)]);
        // One with a connection takes nothing by being there.
        let _connected = Share::connected(&shares, 1, sid(42));
        assert!(open(&shares, 1, 43).is_none());
        drop(other);
        let again = open(&shares, 1, 44);
        assert!(again.is_some() && shares.take_displaced().is_empty());
        drop((of_one, again, _connected));
        let table = lock(&shares.table);
        assert_eq!((table.held, table.sessions.len(), table.clients.len()), (0, 0, 0));
        assert!(table.sites.is_empty());
    }

    #[test]
    fn however_many_clients_of_a_site_fill_the_room_others_get_in_and_keep_what_they_have() {
        let shares = shares();
        let mut crowd: Vec<_> = (0..40).map(|client| open(&shares, client, client as u8).unwrap()).collect();
        let mut others: Vec<_> =
            (50..60).map(|number| open(&shares, 100 + u32::from(number), number).unwrap()).collect();
        assert!(others.iter_mut().all(|share| share.hold(4 * UNCOUNTED)));
        let gone = shares.take_displaced();
        assert_eq!(gone.len(), 20);
        assert!(gone.iter().all(|gone| (0..40).any(|number| *gone == sid(number))));
        // The crowd goes on.
        let more = crowd.iter_mut().filter_map(|share| share.hold(10 * UNCOUNTED).then_some(())).count();
        assert!(more < 20, "{more}");
        assert!(shares.take_displaced().iter().all(|gone| !(50..60).any(|number| *gone == sid(number))));
        assert!(others.iter_mut().all(|share| share.hold(3 * UNCOUNTED)));
        assert!(lock(&shares.table).held <= MOST);
    }

    #[test]
    fn of_a_client_the_largest_session_ends_and_is_told_when_it_takes_more() {
        let shares = shares();
        let mut sessions: Vec<_> = (0..4).map(|number| Share::connected(&shares, 1, sid(number))).collect();
        assert!(sessions[0].hold(10 << 10) && sessions[1].hold(100 << 10) && sessions[2].hold(50 << 10));
        assert!(sessions[3].hold(1 << 10) && shares.take_displaced().is_empty());
        assert!(sessions[3].hold(2 << 10));
        assert!(shares.take_displaced() == [sid(1)]);
        assert!(!sessions[1].hold(101 << 10) && sessions[1].hold(0));
        assert!(!sessions[2].hold(MOST + 1) && shares.take_displaced() == [sid(2)]);
        assert!(sessions[2].hold(0) && sessions[3].hold(MOST - (10 << 10)));
        assert!(shares.take_displaced().is_empty());
    }

    #[test]
    fn a_session_that_upgrades_gives_back_what_one_without_a_connection_takes() {
        let shares = shares();
        let mut one = open(&shares, 1, 1).unwrap();
        one.connect();
        assert!(one.hold(UNCOUNTED));
        assert_eq!(lock(&shares.table).held, 0);
    }
}
