//! Guards the event core: subscriptions, permits, presence and hand-overs, without sockets.

mod bounds;
mod format;
mod handover;
mod model;
mod permits;
mod users;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::task::LocalSet;

use self::format::Lines;
use super::*;
use crate::clock::Clock;
use crate::domain::{
    Authorize, EventFilter, EventName, Payload, Position, Scope, TenantName, Timestamp, User, Username, View,
};
use crate::store::{Committer, Excess, Store};
use crate::writer::Committed;

/// A connection that takes so many bytes and then no more, until it is given room.
#[derive(Default)]
struct Line {
    room: Cell<usize>,
    taken: RefCell<Vec<u8>>,
    finished: Cell<bool>,
    /// Whether the client has gone.
    gone: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// What came on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Came {
    name: String,
    position: u64,
    data: String,
}

impl Came {
    /// Whether it says that the name was removed.
    fn is_removal(&self) -> bool {
        self.data == "null"
    }
}

impl Line {
    fn give_room(&self, bytes: usize) {
        self.room.set(self.room.get().saturating_add(bytes));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn go(&self) {
        self.gone.set(true);
        self.give_room(0);
    }

    /// What came whole, in order.
    fn came(&self) -> Vec<Came> {
        let (mut came, mut from) = (Vec::new(), 0);
        while let (Some(next), end) = self.next_from(from) {
            came.push(next);
            from = end;
        }
        came
    }

    /// The next event that came whole after so many bytes, and how many bytes there are up to its end.
    fn next_from(&self, from: usize) -> (Option<Came>, usize) {
        let taken = self.taken.borrow();
        let Some(length) = taken[from..].iter().position(|byte| *byte == b'\n') else { return (None, from) };
        let line = std::str::from_utf8(&taken[from..from + length]).unwrap();
        let Some((id, rest)) = line.trim_start_matches(Lines::HEARTBEAT).split_once(' ') else {
            panic!("no event: {line}")
        };
        let (name, data) = rest.split_once(' ').unwrap();
        let came = Came { name: name.to_owned(), position: id[..16].parse().unwrap(), data: data.to_owned() };
        (Some(came), from + length + 1)
    }

    /// The positions of what came whole, in order.
    fn positions(&self) -> Vec<u64> {
        self.came().iter().map(|came| came.position).collect()
    }

    /// The names of what came whole, in order.
    fn names(&self) -> Vec<String> {
        self.came().into_iter().map(|came| came.name).collect()
    }
}

struct LineSink(Rc<Line>, &'static dyn Format);

impl Sink for LineSink {
    fn format(&self) -> &'static dyn Format {
        self.1
    }

    fn write(&self, bytes: &Bytes) -> Written {
        assert!(!self.0.finished.get(), "it was written to after its end");
        let taken = bytes.len().min(self.0.room.get());
        self.0.room.set(self.0.room.get() - taken);
        self.0.taken.borrow_mut().extend_from_slice(&bytes[..taken]);
        if taken == bytes.len() { Written::All } else { Written::Part(taken) }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.0.room.get() > 0 {
            return Poll::Ready(());
        }
        self.0.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.0.gone.get() {
            return Poll::Ready(());
        }
        self.0.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }

    fn finish(&self) {
        self.0.finished.set(true);
    }
}

/// A hub with two workers, on one thread.
struct House {
    committer: Committer,
    hub: Hub,
    workers: [WorkerHandle; 2],
    _directory: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self::with(Authorize::Open)
    }

    fn with(authorize: Authorize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let hub = Hub::new(store, Rules { authorize, streams_per_user: usize::MAX });
        let workers = [(); 2].map(|()| WorkerHandle::start(hub.clone(), Clock::from_local()));
        Self { committer, hub, workers, _directory: directory }
    }

    fn insert(&mut self, names: &[&str], ended: &[&str]) {
        let mut committed = self.commit(names);
        committed.ended = ended.iter().map(|name| Username::parse(name).unwrap()).collect();
        self.hub.publish(committed);
    }

    /// Writes events to disk of which no stream is told yet. A name with a minus before it is removed.
    fn commit(&mut self, names: &[&str]) -> Committed {
        let mut transaction = self.committer.begin(Timestamp::from_millis(1)).unwrap();
        for name in names {
            let (tenant, user) = (TenantName::parse("t").unwrap(), Username::parse("u").unwrap());
            if let Some(name) = name.strip_prefix('-') {
                transaction.remove_event(tenant, user, EventName::parse(name).unwrap()).unwrap();
                continue;
            }
            let data = Payload::from_valid_json(&format!("\"{}\"", "x".repeat(300))).unwrap();
            transaction.insert_event(tenant, user, EventName::parse(name).unwrap(), data).unwrap();
        }
        let durable = transaction.commit().unwrap();
        Committed { durable, ended: BTreeSet::new(), changed: BTreeSet::new() }
    }

    /// Publishes on a thread that stands for the writer, and can be held.
    fn publish(&self, committed: Committed) -> JoinHandle<()> {
        let hub = self.hub.clone();
        std::thread::spawn(move || hub.publish(committed))
    }

    /// Raises the floor to the head: only the latest of each name is kept.
    fn shorten(&mut self) {
        while !self.shorten_by("t", usize::MAX) {}
    }

    /// Raises the floor of a tenant over some events. Returns whether it is at the head.
    fn shorten_by(&mut self, tenant: &str, surplus: usize) -> bool {
        let tenant = TenantName::parse(tenant).unwrap();
        let (before, now) = (Timestamp::from_millis(0), Timestamp::from_millis(2));
        let oldest = self.hub.store().oldest(&tenant, Excess { surplus, before, now, at_most: 64 }).unwrap();
        let is_all = oldest.is_all;
        let mut transaction = self.committer.begin(now).unwrap();
        transaction.shorten(oldest).unwrap();
        let durable = transaction.commit().unwrap();
        self.hub.publish(Committed { durable, ended: BTreeSet::new(), changed: BTreeSet::new() });
        is_all
    }

    fn open(&self, worker: usize, username: &str, filter: &str, after: u64, room: usize) -> Rc<Line> {
        let start = match after {
            0 => Start::snapshot(None),
            after => Start::after(Position::new(after), self.hub.store().head()),
        };
        self.open_with(worker, username, filter, room, |request| request.start = start)
    }

    /// Opens a stream with the latest event of every name, and with control events.
    fn open_marked(&self, worker: usize, filter: &str, room: usize) -> Rc<Line> {
        self.open_with(worker, "u", filter, room, |request| request.options.marks = true)
    }

    fn open_with(
        &self,
        worker: usize,
        username: &str,
        filter: &str,
        room: usize,
        change: impl FnOnce(&mut SubscribeRequest),
    ) -> Rc<Line> {
        let line = Rc::new(Line::default());
        line.room.set(room);
        let request = self.request(username, filter, change);
        let sink = LineSink(Rc::clone(&line), &Lines);
        tokio::task::spawn_local(self.workers[worker].open(request, sink, Bytes::new()));
        line
    }

    /// A request for a stream that begins with the latest event of every name in the tenant t, as `change` changes it.
    fn request(&self, username: &str, filter: &str, change: impl FnOnce(&mut SubscribeRequest)) -> SubscribeRequest {
        let username = Username::parse(username).unwrap();
        let (rights, own) = Authorize::Open.to_see(&username, &[]);
        let session = self.hub.registry().user_streams(&username);
        let tenant = TenantName::parse("t").unwrap();
        let mut request = SubscribeRequest {
            changes: session.changes(),
            presence_guard: session.arrive(&tenant, GoesOnFor::Last, Timestamp::from_millis(1)),
            tenant,
            view: View { filter: EventFilter::parse(filter).unwrap(), rights, own },
            start: Start::snapshot(None),
            options: StreamOptions::default(),
            expires_at: None,
        };
        change(&mut request);
        request
    }
}

fn tenant(name: &str) -> TenantName {
    TenantName::parse(name).unwrap()
}

/// A user of the tenant t.
fn user(username: &str, scopes: &[&str]) -> User {
    User {
        username: Username::parse(username).unwrap(),
        tenant: TenantName::parse("t").unwrap(),
        scopes: Some(scopes.iter().map(|scope| Scope::parse(scope).unwrap()).collect()),
        ..User::example()
    }
}

/// Lets the tasks of this thread and the threads that read work until this is so.
async fn settle(done: impl Fn() -> bool) {
    for _ in 0..2000 {
        tokio::task::yield_now().await;
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_micros(200)).await;
    }
    assert!(done(), "it did not come to that");
}

/// Lets every task of this thread that is not held come to rest.
async fn rest() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_client_that_comes_from_a_worker_that_was_ahead_gets_nothing_twice() {
    run(async {
        let mut house = House::new();
        house.insert(&["a"], &[]);
        let present = house.open(0, "bob", "*", 1, usize::MAX);
        // It saw the second event on another worker, and is live here before this one has heard of it.
        let ahead = house.open(0, "alice", "*", 2, usize::MAX);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        house.insert(&["b", "c"], &[]);
        settle(|| present.positions() == [2, 3] && ahead.positions() == [3]).await;
    });
}

#[test]
fn a_stream_that_loses_the_right_gets_nothing_of_the_same_commit_and_is_told_the_end() {
    run(async {
        let mut house = House::new();
        let (alice, bob) = (house.open(0, "alice", "*", 0, usize::MAX), house.open(1, "bob", "*", 0, usize::MAX));
        house.insert(&["a"], &[]);
        settle(|| alice.positions() == [1] && bob.positions() == [1]).await;
        house.insert(&["b"], &["alice"]);
        settle(|| bob.positions() == [1, 2] && alice.finished.get()).await;
        assert_eq!(alice.positions(), [1]);
        house.hub.close().await;
        assert!(bob.finished.get());
    });
}

#[test]
fn a_stream_that_loses_the_right_while_many_are_written_to_gets_nothing_of_that_commit_either() {
    run(async {
        let mut house = House::new();
        // The first is written to last.
        let alice = house.open(0, "alice", "*", 0, usize::MAX);
        let others: Vec<_> = (0..600).map(|_| house.open(0, "bob", "*", 0, usize::MAX)).collect();
        house.insert(&["a"], &[]);
        settle(|| others.iter().chain([&alice]).all(|line| line.positions() == [1])).await;
        house.insert(&["b"], &[]);
        while others.iter().all(|line| line.positions() == [1]) {
            tokio::task::yield_now().await;
        }
        assert_eq!(alice.positions(), [1], "the worker is in the middle of it");
        house.insert(&["c"], &["alice"]);
        settle(|| others.iter().all(|line| line.positions() == [1, 2, 3])).await;
        assert_eq!(alice.positions(), [1, 2]);
    });
}

#[test]
fn a_filter_gets_each_event_once_however_many_of_its_patterns_match() {
    run(async {
        let mut house = House::new();
        let lines = ["a", "a,a*,ab*", "ab*,b", "*"].map(|filter| house.open(0, "u", filter, 0, usize::MAX));
        for name in ["a", "ab", "abc", "b", "c"] {
            house.insert(&[name], &[]);
        }
        let expected = [vec![1], vec![1, 2, 3], vec![2, 3, 4], vec![1, 2, 3, 4, 5]];
        settle(|| lines.iter().zip(&expected).all(|(line, expected)| line.positions() == *expected)).await;
    });
}

#[test]
fn a_new_client_gets_the_latest_event_of_each_name_in_order_also_if_they_are_in_memory_already() {
    run(async {
        let mut house = House::new();
        house.insert(&["a", "b", "c", "a"], &[]);
        let first = house.open(0, "u", "*", 0, usize::MAX);
        settle(|| first.positions() == [2, 3, 4]).await;
        // What comes from here on is not read from the store.
        house.insert(&["b", "d"], &[]);
        settle(|| first.positions() == [2, 3, 4, 5, 6]).await;
        let (second, slow) = (house.open(1, "u", "*", 0, usize::MAX), house.open(1, "u", "*", 0, 100));
        settle(|| second.positions() == [3, 4, 5, 6]).await;
        house.insert(&["c"], &[]);
        slow.give_room(usize::MAX / 2);
        settle(|| slow.positions().last() == Some(&7) && second.positions().last() == Some(&7)).await;
        assert!([[3, 4, 5, 6, 7].as_slice(), &[4, 5, 6, 7]].contains(&slow.positions().as_slice()));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A client may read slowly, stop, and come back on another worker: it gets every event after the first, once and in order.
    #[test]
    fn every_subscriber_gets_every_event_once_in_order_however_it_reads(
        steps in prop::collection::vec((0..6_usize, 1..8_usize, 0..3000_usize), 1..60),
    ) {
        run(async {
            let mut house = House::new();
            house.insert(&["start"], &[]);
            let mut lines = [0, 1, 0].map(|worker| house.open(worker, "u", "*", 1, 2000));
            let mut seen: [Vec<u64>; 3] = Default::default();
            let mut head = 1;
            for (step, count, room) in steps {
                match step {
                    0..=2 => {
                        house.insert(&["a", "b", "c", "d", "e", "f", "g"][..count.min(7)], &[]);
                        head += count.min(7) as u64;
                    }
                    3 | 4 => lines[count % 3].give_room(room),
                    _ => {
                        // Comes back after what came whole, on the other worker.
                        let who = count % 3;
                        seen[who].extend(lines[who].positions());
                        let after = seen[who].last().copied().unwrap_or(1);
                        lines[who] = house.open(room % 2, "u", "*", after, room);
                    }
                }
                if room % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            lines.iter().for_each(|line| line.give_room(usize::MAX / 2));
            for (line, mut seen) in lines.iter().zip(seen) {
                settle(|| line.positions().last().or(seen.last()).is_none_or(|last| *last == head)).await;
                seen.extend(line.positions());
                assert!(seen.into_iter().eq(2..=head));
            }
        });
    }
}
