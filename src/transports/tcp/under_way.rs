//! What connections have begun and not finished, and how much of that may be one network's.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::accept::Connections;
use crate::domain::Network;

/// Connections that came from one network and are in progress, at most: more than a proxy needs when all its clients reconnect, since
/// what they have to do first takes a few milliseconds.
const SHARE: usize = 1024;
/// And at most this fraction of all connections.
const SHARE_OF_ALL: usize = 4;

/// What connections have begun and clients must finish soon, by network: a cheap clone, shared by all workers.
///
/// Closes this fault: with a global limit on those, clients that connect and stay silent keep everybody else out. Here the only global
/// limit is that on connections. If a network exceeds its share, its oldest one ends, so newcomers always get in, even from that
/// network: an honest client is done long before it is the oldest.
#[derive(Clone)]
pub struct UnderWay {
    share: usize,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// By number, so the oldest comes first. Dropping the sender ends it.
    by_network: HashMap<Network, BTreeMap<u64, oneshot::Sender<()>>>,
}

/// One of them, until this is dropped.
pub struct Place {
    under_way: UnderWay,
    network: Network,
    number: u64,
    /// Resolves when it must end.
    displaced: oneshot::Receiver<()>,
}

impl Place {
    /// Resolves when it must end.
    pub async fn displaced(mut self) {
        let _ = (&mut self.displaced).await;
    }
}

impl UnderWay {
    /// With a share that follows from the limit on connections.
    pub fn of(connections: &Connections) -> Self {
        Self::at_most((connections.most() / SHARE_OF_ALL).clamp(1, SHARE))
    }

    fn at_most(share: usize) -> Self {
        Self { share, table: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers one; this may end another.
    pub fn begin(&self, network: Network) -> Place {
        let (keep, displaced) = oneshot::channel();
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        let of_network = table.by_network.entry(network).or_default();
        of_network.insert(number, keep);
        if of_network.len() > self.share {
            of_network.pop_first();
        }
        drop(table);
        Place { under_way: self.clone(), network, number, displaced }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.under_way.lock();
        if let Some(of_network) = table.by_network.get_mut(&self.network) {
            of_network.remove(&self.number);
            if of_network.is_empty() {
                table.by_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_displaced(place: &mut Place) -> bool {
        place.displaced.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn of_more_than_its_share_a_network_loses_the_oldest_and_another_network_none() {
        let under_way = UnderWay::at_most(3);
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|address| Network::of(address.parse().unwrap()));
        let mut other = under_way.begin(there);
        let mut places: Vec<_> = (0..5).map(|_| under_way.begin(here)).collect();
        let displaced: Vec<_> = places.iter_mut().map(is_displaced).collect();
        assert_eq!(displaced, [true, true, false, false, false]);
        // One that is done makes room.
        drop(places.remove(4));
        let mut next = under_way.begin(here);
        assert!(!is_displaced(&mut places[2]) && !is_displaced(&mut next) && !is_displaced(&mut other));
        drop(under_way.begin(here));
        assert!(is_displaced(&mut places[2]) && !is_displaced(&mut places[3]));
    }

    #[test]
    fn what_has_ended_in_any_way_leaves_nothing_behind() {
        let under_way = UnderWay::at_most(2);
        let places: Vec<_> =
            (0..100u8).map(|last| under_way.begin(Network::of([192, 0, 2, last / 10].into()))).collect();
        assert_eq!(under_way.lock().by_network.len(), 10);
        drop(places);
        assert!(under_way.lock().by_network.is_empty());
    }
}
