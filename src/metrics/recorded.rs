//! What is counted as it happens.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cells::{Counted, Counter, Gauge, Histogram, Labelled, Moment};
use crate::error::Error;

/// Bounds of how long a request takes, and of how long an event takes to its streams, in microseconds.
const ANSWERS: &[u64] =
    &[500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];
/// Of a sync of the disk.
const SYNCS: &[u64] =
    &[100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];
/// Of a checkpoint.
const CHECKPOINTS: &[u64] = &[
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];
/// Of the hashing of a password.
const HASHES: &[u64] = &[5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000];
/// Of how many changes a commit has.
const CHANGES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// The protocols and listeners of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP without TLS, and what goes over it, such as WebSocket.
    Http,
    /// HTTPS, and what goes over it.
    Https,
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
}

impl Protocol {
    const LABELS: &[&str] = &["http", "https", "mqtt", "mqtts"];
}

/// What the server counts: a cheap clone. There is one for each open database, and so one for each server; whoever has the
/// [`Store`](crate::store::Store) has it.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Recorded>);

impl Deref for Metrics {
    type Target = Recorded;

    fn deref(&self) -> &Recorded {
        &self.0
    }
}

/// The cells themselves.
#[derive(Debug)]
pub struct Recorded {
    /// How many events became durable: values, removals and transient ones.
    pub inserts: Counter,
    /// How many changes each commit has.
    pub commit_changes: Histogram,
    /// How long the disk took to write and sync each commit.
    pub journal_sync: Histogram,
    /// How many bytes the journal has that no checkpoint has begun to move.
    pub journal_waiting_bytes: Gauge,
    /// How many bytes it has that a checkpoint moves.
    pub journal_moving_bytes: Gauge,
    /// At how many bytes a checkpoint begins: the flag `journal_bytes`.
    pub journal_limit_bytes: Gauge,
    /// How long each checkpoint took that was finished.
    pub checkpoint: Histogram,
    /// When the last one was finished.
    pub checkpoint_succeeded: Moment,
    /// How long each hash of a password took.
    pub password_hash: Histogram,
    /// When the last backup was finished.
    pub backup_succeeded: Moment,
    /// How many connections there may be.
    pub connections_limit: Gauge,
    connections: Labelled<Gauge>,
    /// By the code of the error.
    refusals: HashMap<&'static str, Counter>,
    /// By the kind of attempt, and what came of it. Both are from fixed lists.
    sign_ins: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
    endpoints: Mutex<Vec<Arc<EndpointMetrics>>>,
}

impl Default for Recorded {
    fn default() -> Self {
        Self {
            inserts: Counter::default(),
            commit_changes: Histogram::of_numbers(CHANGES),
            journal_sync: Histogram::of_durations(SYNCS),
            journal_waiting_bytes: Gauge::default(),
            journal_moving_bytes: Gauge::default(),
            journal_limit_bytes: Gauge::default(),
            checkpoint: Histogram::of_durations(CHECKPOINTS),
            checkpoint_succeeded: Moment::default(),
            password_hash: Histogram::of_durations(HASHES),
            backup_succeeded: Moment::default(),
            connections_limit: Gauge::default(),
            connections: Labelled::of(Protocol::LABELS),
            refusals: Error::TABLE.iter().map(|(_, code)| (*code, Counter::default())).collect(),
            sign_ins: Mutex::default(),
            workers: Mutex::default(),
            endpoints: Mutex::default(),
        }
    }
}

impl Recorded {
    /// Counts a request, command or message that was refused with the code of an [`Error`].
    pub fn refused(&self, code: &str) {
        if let Some(count) = self.refusals.get(code) {
            count.increment();
        }
    }

    /// How many were refused with each code, in the order of the codes.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        self.refusals.iter().map(|(code, count)| (*code, count.get())).collect()
    }

    /// Counts an attempt to sign in. Both texts must be from a fixed list.
    pub fn signed_in(&self, method: &'static str, outcome: &'static str) {
        *lock(&self.sign_ins).entry((method, outcome)).or_default() += 1;
    }

    /// How many attempts there were, by method and outcome.
    pub fn sign_ins(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        lock(&self.sign_ins).clone()
    }

    /// What counts the open connections of a protocol; `None` does not happen.
    pub fn connections_of(&self, protocol: Protocol) -> Option<&Gauge> {
        self.connections.at(protocol as usize)
    }

    /// How many connections are open, by protocol.
    pub fn connections(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.connections.iter().map(|(protocol, count)| (protocol, count.get()))
    }

    /// The cells of another worker. `reasons` are the reasons for which a stream ends, each at its place.
    pub fn add_worker(&self, reasons: &'static [&'static str]) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::new(reasons));
        lock(&self.workers).push(Arc::clone(&worker));
        worker
    }

    /// The cells of an endpoint on another worker. The name is the pattern of the route.
    pub fn add_endpoint(&self, name: &str) -> Arc<EndpointMetrics> {
        let endpoint = Arc::new(EndpointMetrics::new(name));
        lock(&self.endpoints).push(Arc::clone(&endpoint));
        endpoint
    }

    /// How many streams are open, by transport.
    pub fn streams(&self) -> BTreeMap<&'static str, u64> {
        // A stream never leaves its worker, so that no part of the sum is below zero.
        self.of_workers(|worker| lock(&worker.streams).clone().into_iter().collect())
    }

    /// How many streams have ended, by reason.
    pub fn streams_ended(&self) -> BTreeMap<&'static str, u64> {
        self.of_workers(|worker| worker.ended.iter().map(|(reason, count)| (reason, count.get())).collect())
    }

    /// How many streams are not live: they read what they have missed, or their clients read too slowly.
    pub fn streams_catching_up(&self) -> u64 {
        lock(&self.workers).iter().map(|worker| worker.catching_up.get()).sum()
    }

    /// How many events were given to streams.
    pub fn deliveries(&self) -> u64 {
        lock(&self.workers).iter().map(|worker| worker.deliveries.get()).sum()
    }

    /// How long events took from their commit until every live stream of a worker had them; `None` without workers.
    pub fn delivery_lag(&self) -> Option<Counted> {
        sum(lock(&self.workers).iter().map(|worker| worker.delivery_lag.counted()))
    }

    /// How often each endpoint gave each status, and how long its answers took. Endpoints that nobody has called are left out.
    pub fn endpoints(&self) -> BTreeMap<String, (BTreeMap<u16, u64>, Counted)> {
        let mut all: BTreeMap<String, (BTreeMap<u16, u64>, Counted)> = BTreeMap::new();
        for endpoint in lock(&self.endpoints).iter() {
            let took = endpoint.took.counted();
            let codes = endpoint.codes.iter().map(|(status, count)| (*status, count.get()));
            let codes: Vec<_> = codes.filter(|(_, count)| *count > 0).collect();
            if codes.is_empty() {
                continue;
            }
            let (of_all, took_all) = all.entry(endpoint.name.clone()).or_insert_with(|| {
                let buckets = took.buckets.iter().map(|(bound, _)| (*bound, 0)).collect();
                (BTreeMap::new(), Counted { sum: 0.0, count: 0, buckets })
            });
            codes.into_iter().for_each(|(status, count)| *of_all.entry(status).or_default() += count);
            took_all.add(&took);
        }
        all
    }

    fn of_workers(&self, of: impl Fn(&WorkerMetrics) -> Vec<(&'static str, u64)>) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for worker in lock(&self.workers).iter() {
            of(worker).into_iter().for_each(|(label, count)| *all.entry(label).or_default() += count);
        }
        all
    }
}

/// The cells of the streams of one worker, which only that thread changes.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// How many events were given to its streams.
    pub deliveries: Counter,
    /// How long events took from their commit until its live streams had them.
    pub delivery_lag: Histogram,
    /// How many of its streams are not live.
    pub catching_up: Gauge,
    /// By transport. A stream begins and ends seldom.
    streams: Mutex<BTreeMap<&'static str, u64>>,
    ended: Labelled<Counter>,
}

impl WorkerMetrics {
    fn new(reasons: &'static [&'static str]) -> Self {
        Self {
            deliveries: Counter::default(),
            delivery_lag: Histogram::of_durations(ANSWERS),
            catching_up: Gauge::default(),
            streams: Mutex::default(),
            ended: Labelled::of(reasons),
        }
    }

    /// A stream begins, which is not live yet.
    pub fn begins(&self, transport: &'static str) {
        self.catching_up.increment();
        *lock(&self.streams).entry(transport).or_default() += 1;
    }

    /// A stream ends that is not live any more, for the reason at a place of the list.
    pub fn ends(&self, transport: &'static str, reason: usize) {
        self.catching_up.decrement();
        if let Some(streams) = lock(&self.streams).get_mut(transport) {
            *streams = streams.saturating_sub(1);
        }
        if let Some(ended) = self.ended.at(reason) {
            ended.increment();
        }
    }
}

/// The cells of one endpoint on one worker, which only that thread changes.
#[derive(Debug)]
#[repr(align(128))]
pub struct EndpointMetrics {
    name: String,
    /// The statuses that the server gives, in order. In the end 0, for any other.
    codes: Vec<(u16, Counter)>,
    took: Histogram,
}

impl EndpointMetrics {
    fn new(name: &str) -> Self {
        let mut statuses: Vec<u16> = Error::TABLE.iter().map(|(status, _)| *status).chain([101, 200]).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let codes = statuses.into_iter().chain([0]).map(|status| (status, Counter::default())).collect();
        Self { name: name.to_owned(), codes, took: Histogram::of_durations(ANSWERS) }
    }

    /// Counts an answer, and how long it took.
    pub fn answered(&self, status: u16, took: Duration) {
        self.count(status);
        self.took.observe_duration(took);
    }

    /// Counts an answer alone: how long it took says nothing.
    pub fn count(&self, status: u16) {
        let found = self.codes.iter().find(|(of, _)| *of == status).or_else(|| self.codes.last());
        if let Some((_, count)) = found {
            count.increment();
        }
    }
}

fn sum(all: impl Iterator<Item = Counted>) -> Option<Counted> {
    all.reduce(|mut all, more| {
        all.add(&more);
        all
    })
}

fn lock<T>(cells: &Mutex<T>) -> MutexGuard<'_, T> {
    cells.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_of_all_workers_are_added_up() {
        let metrics = Metrics::default();
        let [one, two] = [0; 2].map(|_| metrics.add_worker(&["gone", "expired"]));
        for worker in [&one, &two, &two] {
            worker.begins("mqtt");
            worker.deliveries.add(5);
            worker.delivery_lag.observe_duration(Duration::from_millis(3));
        }
        two.ends("mqtt", 1);
        assert_eq!((metrics.streams(), metrics.streams_catching_up()), (BTreeMap::from([("mqtt", 2)]), 2));
        assert_eq!(metrics.streams_ended(), BTreeMap::from([("gone", 0), ("expired", 1)]));
        assert_eq!((metrics.deliveries(), metrics.delivery_lag().map(|lag| lag.count)), (15, Some(3)));
    }

    #[test]
    fn an_endpoint_is_there_once_it_was_called_and_any_other_status_is_one_label() {
        let metrics = Metrics::default();
        let [here, there, _never] = ["/a", "/a", "/b"].map(|name| metrics.add_endpoint(name));
        here.answered(200, Duration::ZERO);
        there.answered(200, Duration::ZERO);
        there.answered(299, Duration::ZERO);
        let all = metrics.endpoints();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["/a"]);
        assert_eq!((&all["/a"].0, all["/a"].1.count), (&BTreeMap::from([(0, 1), (200, 2)]), 3));
    }

    #[test]
    fn each_code_of_an_error_has_a_count_from_the_start() {
        let metrics = Metrics::default();
        metrics.refused(Error::StorageFull.code());
        let refusals = metrics.refusals();
        assert_eq!((refusals["storage_full"], refusals["overloaded"]), (1, 0));
        assert!(Error::TABLE.iter().all(|(_, code)| refusals.contains_key(code)));
    }
}
