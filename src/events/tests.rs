//! Guards the event core: subscriptions, permits, presence and hand-overs, without sockets.

mod bounds;
mod changes;
mod delivery;
mod format;
mod guests;
mod handover;
mod model;
mod permits;
mod published;
mod topic_filters;
mod transient;
mod users;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::task::LocalSet;

use self::format::Lines;
use super::*;
use crate::clock::Clock;
use crate::domain::{
    Authorize, EventFilter, EventId, EventName, FilterChange, Payload, Position, Scope, TenantName, Timestamp,
    TopicFilter, User, Username, View,
};
use crate::store::{Committer, Draft, Durable, Excess, Store};

/// A connection that takes so many bytes and then no more, until it is given room.
#[derive(Default)]
struct Line {
    room: Cell<usize>,
    /// Whether the last thing that was written was not taken whole: the rest of it is on its way.
    cut: Cell<bool>,
    taken: RefCell<Vec<u8>>,
    /// Why nothing more comes, once that was said.
    finished: Cell<Option<End>>,
    /// What its client was told to resume from then.
    told: Cell<Option<EventId>>,
    /// Up to where everything has passed its stream, as that has said last.
    passed: Cell<Position>,
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

    /// Whether it is a transient event.
    fn is_transient(&self) -> bool {
        self.data.starts_with(TRANSIENT)
    }
}

impl Line {
    fn give_room(&self, bytes: usize) {
        self.room.set(self.room.get().saturating_add(bytes));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn is_finished(&self) -> bool {
        self.finished.get().is_some()
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
        assert!(self.0.finished.get().is_none(), "it was written to after its end");
        let taken = bytes.len().min(self.0.room.get());
        self.0.room.set(self.0.room.get() - taken);
        self.0.cut.set(taken < bytes.len());
        self.0.taken.borrow_mut().extend_from_slice(&bytes[..taken]);
        if taken == bytes.len() { Written::All } else { Written::Part(taken) }
    }

    fn passed(&self, position: Position) {
        self.0.passed.set(position);
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

    fn finish(&self, ending: Ending) {
        self.0.finished.set(Some(ending.why));
        self.0.told.set(ending.told);
    }
}

/// The data of transient events begins with this.
const TRANSIENT: &str = "\"~";

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

    /// With these events in it, as by [`Self::insert`].
    fn holding(names: &[&str]) -> Self {
        let mut house = Self::new();
        house.insert(names, &[]);
        house
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
        committed.tidings_mut().ended = ended.iter().map(|name| Username::parse(name).unwrap()).collect();
        self.hub.publish(committed);
    }

    /// Writes events to disk of which no stream is told yet. A name with a minus before it is removed, and one with a tilde has a
    /// transient event.
    fn commit(&mut self, names: &[&str]) -> Durable {
        let mut transaction = self.committer.begin(Timestamp::from_millis(1)).unwrap();
        for name in names {
            let (tenant, user) = (TenantName::parse("t").unwrap(), Username::parse("u").unwrap());
            if let Some(name) = name.strip_prefix('-') {
                transaction.insert_event(Draft::removal(tenant, user, EventName::parse(name).unwrap())).unwrap();
                continue;
            }
            if let Some(name) = name.strip_prefix('~') {
                let (name, data) = (EventName::parse(name).unwrap(), Payload::from_stored("\"~\""));
                transaction.insert_event(Draft::transient(tenant, user, name, data)).unwrap();
                continue;
            }
            let data = Payload::from_valid_json(&format!("\"{}\"", "x".repeat(300))).unwrap();
            transaction.insert_event(Draft::value(tenant, user, EventName::parse(name).unwrap(), data)).unwrap();
        }
        transaction.commit().unwrap()
    }

    /// Publishes on a thread that stands for the writer, and can be held.
    fn publish(&self, committed: Durable) -> JoinHandle<()> {
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
        self.hub.publish(transaction.commit().unwrap());
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

    /// Opens such a stream on the first worker, and awaits that it is in sync.
    async fn open_in_sync(&self, filter: &str) -> Rc<Line> {
        let line = self.open_marked(0, filter, usize::MAX);
        settle(|| is_synced(&line)).await;
        line
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
        let user_streams = self.hub.registry().user_streams(&username);
        let tenant = TenantName::parse("t").unwrap();
        let mut request = SubscribeRequest {
            changes: user_streams.changes(),
            presence_guard: user_streams.arrive(&tenant, GoesOnFor::Last, Timestamp::from_millis(1)),
            tenant,
            view: View { filter: EventFilter::parse(filter).unwrap(), rights, own },
            start: Start::snapshot(None),
            options: StreamOptions::default(),
            filter_changes: 0,
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

/// Gives a user other scopes, and publishes that commit.
fn rescope(house: &mut House, username: &str, scopes: &[&str]) {
    let mut user = user(username, scopes);
    let mut transaction = house.committer.begin(Timestamp::from_millis(1)).unwrap();
    user.scopes_since = transaction.head();
    transaction.put_user(&user);
    transaction.change_rights_of(&user.username);
    let durable = transaction.commit().unwrap();
    house.hub.publish(durable);
}

fn view(username: &str, scopes: &[&str]) -> View {
    let scopes: Vec<_> = scopes.iter().map(|scope| Scope::parse(scope).unwrap()).collect();
    let (rights, own) = Authorize::Scopes.to_see(&Username::parse(username).unwrap(), &scopes);
    View { filter: EventFilter::ALL, rights, own }
}

/// Another filter in the place of the one that a stream has.
fn replace(filter: &str) -> FilterChange {
    FilterChange::Replace(EventFilter::parse(filter).unwrap())
}

/// A filter of topic filters.
fn topics(filters: &[&str]) -> EventFilter {
    EventFilter::topics(filters.iter().map(|filter| TopicFilter::parse(filter).unwrap())).unwrap()
}

/// Whether a stream was told that it was in sync.
fn is_synced(line: &Line) -> bool {
    line.names().iter().any(|name| name == "$synced")
}

/// How long anything may take before a test gives up. No test depends on it being short.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets the tasks of this thread and the threads that read work until this is so.
async fn settle(mut done: impl FnMut() -> bool) {
    assert!(comes_to(&mut done).await, "it did not come to that");
}

/// The same; whether it came to that in time.
async fn comes_to(mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        tokio::task::yield_now().await;
        if done() {
            return true;
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    false
}

/// Lets every task of this thread that is not held come to rest.
async fn rest() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}
