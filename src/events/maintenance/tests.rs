//! Guards maintenance: what expires, is bound to a stream or is kept no longer is removed, and damage stops none of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::*;
use crate::config::Live;
use crate::domain::{
    AuthContext, Authorize, EventName, Payload, Position, SignIn, TenantName, Timestamp, User, Username,
};
use crate::error::Error;
use crate::events::hub::{Held, Rules};
use crate::events::insert::{Condition, Insert};
use crate::events::maintenance::rounds::{EVERY, Round};
use crate::events::new_event::{Lifetime, NewEvent};
use crate::events::registry::{GoesOnFor, GoneStream};
use crate::events::stream_id::StreamId;
use crate::store::{Committer, Draft, NewAnswer, Search, Store};
use crate::writer::{self, Batch, Change, Here};

const STREAM: u64 = 7;

/// A database with rows that maintenance is to remove.
struct Filled {
    store: Store,
    committer: Committer,
}

impl Filled {
    fn new(path: &Path) -> Self {
        let (store, committer) = Store::open(path, 64 << 20).unwrap();
        Self { store, committer }
    }

    /// Inserts in 1970, for a moment and for as long as the stream is connected; and remembers that for a day.
    fn insert(&mut self, tenant: &str, names: &[&str]) {
        let (tenant, user) = (TenantName::parse(tenant).unwrap(), Username::parse("u").unwrap());
        let mut transaction = self.committer.begin(Timestamp::from_millis(1)).unwrap();
        for name in names {
            let name_parsed = EventName::parse(name).unwrap();
            let expires_at = name.starts_with('x').then_some(Timestamp::from_millis(2));
            let draft = Draft::value(tenant.clone(), user.clone(), name_parsed, Payload::null());
            let event = transaction.insert_event(Draft { expires_at, ..draft }).unwrap();
            if name.starts_with('w') {
                transaction.bind(&event, STREAM).unwrap();
            }
            let (username, idempotency_key, first, count) = (&user, *name, event.position, 1);
            let (tenant, fingerprint) = (&tenant, [0; 32]);
            let new = NewAnswer { username, tenant, idempotency_key, fingerprint, first, count };
            transaction.remember_answer(new, 100).unwrap();
        }
        drop(transaction.commit().unwrap().reveal());
    }

    fn searches() -> [Search; 3] {
        [Search::for_expired(), Search::for_bound(STREAM, None), Search::for_old_answers()]
    }
}

/// The keys that a search finds.
fn found(store: &Store, search: &Search) -> Vec<Vec<u8>> {
    store.find(search, Clock::from_local().now(), usize::MAX).unwrap().keys
}

/// The key of an event.
fn event(tenant: u8, position: u64) -> Vec<u8> {
    [&[b'e', 0, 1, tenant][..], &position.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_damaged_value_keeps_nothing_else_from_being_removed() {
    let directory = tempfile::tempdir().unwrap();
    let mut filled = Filled::new(directory.path());
    for tenant in ["a", "b", "c"] {
        filled.insert(tenant, &["x1", "x2", "x3", "w1", "w2", "w3", "old", "old", "old"]);
    }
    let Filled { store, committer } = filled;
    // The first row of each kind, the user who inserted them, the floor of the first tenant, and an event of the second tenant's that
    // was superseded.
    let damaged: Vec<_> = Filled::searches().iter().map(|search| found(&store, search)[0].clone()).collect();
    for row in &damaged {
        // An answer stands under the key that its moment is of.
        let row = if row[0] == b'j' { [b"i", &row[9..]].concat() } else { row.clone() };
        store.smuggle(row, b"?");
    }
    store.smuggle(b"f\0\x01a".to_vec(), b"?");
    store.smuggle(event(b'b', 16), b"?");
    store.smuggle(b"uu".to_vec(), b"?");

    let hub = Hub::new(store.clone(), Rules { authorize: Authorize::Open, streams_per_user: 1 });
    hub.recall_streams(|_| false).unwrap();
    hub.registry().forget(GoneStream { stream: StreamId::new(STREAM), only: None });
    let (publisher, clock) = (hub.clone(), Clock::from_local());
    let (writer, _failure) = Writer::start(committer, clock.clone(), writer::Rules::example(), move |committed| {
        publisher.publish(committed)
    })
    .unwrap();
    let retention = Retention { age: Duration::from_secs(3600), events: 1000 };
    let maintenance = tokio::spawn(keep_up(hub, writer.clone(), clock, retention));

    let is_done = || {
        // Nothing can be removed from the first tenant, whose floor is damaged.
        let left = |search: &Search| -> BTreeSet<Vec<u8>> { found(&store, search).into_iter().collect() };
        let [expired, bound, answers] = Filled::searches().map(|search| left(&search));
        let of_others = |rows: &BTreeSet<Vec<u8>>, tenant: &[u8]| {
            rows.iter().filter(|row| !row.windows(3).any(|part| part == tenant)).count()
        };
        let floors = ["b", "c"].map(|tenant| store.floor(&TenantName::parse(tenant).unwrap()).unwrap());
        of_others(&expired, b"\0\x01a") == 0
            && of_others(&bound, b"\0\x01a") == 0
            && answers.len() == 1
            && floors >= [Position::new(18), Position::new(27)]
    };
    let within = tokio::time::timeout(Duration::from_secs(30), async {
        while !is_done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    within.await.expect("what is not damaged has gone");
    writer.ping().await.unwrap();
    maintenance.abort();
    let told = store.damage_told();
    for row in damaged.iter().take(2).chain([&b"f\0\x01a".to_vec(), &event(b'b', 16)]) {
        let key = row.escape_ascii().to_string();
        assert!(told.iter().any(|why| why.contains(&key)), "{key} in {told:?}");
    }
}

/// Keeps the writer busy, from the moment at which it says so until it is let go.
struct Hold(mpsc::Sender<()>, mpsc::Receiver<()>);

impl Hold {
    /// The change, a receiver that says when it began, and a sender that lets it go when dropped.
    fn new() -> (Self, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (says, said) = mpsc::channel();
        let (go, wait) = mpsc::channel();
        (Self(says, wait), said, go)
    }
}

impl Change for Hold {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, _: &mut Batch<'_>) -> Result<(), Error> {
        let _ = self.0.send(());
        let _ = self.1.recv();
        Ok(())
    }
}

fn while_connected(user: &User, stream: StreamId) -> Insert {
    let lifetime = Lifetime { while_connected: true, ..Lifetime::default() };
    let event = NewEvent::new(EventName::parse("here").unwrap(), Payload::null(), lifetime, 1000).unwrap();
    Insert {
        username: user.username.clone(),
        auth_context: AuthContext::User(SignIn {
            generation: user.generation,
            by_password_alone: false,
            session: None,
        }),
        events: vec![event],
        is_array: false,
        condition: Condition::None,
        key: None,
        stream: Some(stream),
        packet: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_bound_as_its_stream_goes_for_good_goes_with_it_though_nobody_waits_for_the_answer() {
    let directory = tempfile::tempdir().unwrap();
    let Filled { store, mut committer } = Filled::new(directory.path());
    let user = User::example();
    let mut transaction = committer.begin(Timestamp::from_millis(1)).unwrap();
    transaction.put_user(&user);
    drop(transaction.commit().unwrap().reveal());
    let hub = Hub::new(store.clone(), Rules { authorize: Authorize::Open, streams_per_user: 1 });
    let (publisher, clock, registry) = (hub.clone(), Clock::from_local(), hub.registry().clone());
    let has_stream = Arc::new(move |user: &Username, stream| registry.has_stream(user, StreamId::new(stream)));
    let rules = Live::new(writer::Rules { has_stream, ..writer::Rules::permissive() });
    let publish = move |committed| publisher.publish(committed);
    let (writer, _failure) = Writer::start(committer, clock.clone(), rules, publish).unwrap();
    let retention = Retention { age: Duration::from_secs(3600), events: 1000 };
    let maintenance = tokio::spawn(keep_up(hub.clone(), writer.clone(), clock, retention));
    let arrival =
        hub.registry().user_streams(&user.username).arrive(&user.tenant, GoesOnFor::Last, Timestamp::from_millis(1));
    let stream = arrival.id;

    // It is decided, and not committed for as long as the one behind it is held.
    let ((before, begun, go_on), (behind, decided, commit)) = (Hold::new(), Hold::new());
    let holder = writer.clone();
    let before = tokio::spawn(async move { holder.submit(before).await });
    begun.recv().unwrap();
    {
        let mut insert = Box::pin(writer.submit(while_connected(&user, stream)));
        let mut behind = Box::pin(writer.submit(behind));
        assert!(futures_util::poll!(insert.as_mut()).is_pending() && futures_util::poll!(behind.as_mut()).is_pending());
    }
    drop(go_on);
    decided.recv().unwrap();
    drop(arrival);
    while hub.registry().has_stream(&user.username, stream) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Time enough to look, find nothing, and never look again.
    tokio::time::sleep(EVERY * 2).await;
    assert_eq!(store.head().get(), 0);
    drop(commit);
    before.await.unwrap().unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(10), async {
        while store.head().get() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    gone.await.expect("it was inserted and removed");
    assert!(found(&store, &Search::for_bound(stream.get(), None)).is_empty());

    // And from then on nothing is bound to it.
    let late = writer.submit(while_connected(&user, stream)).await;
    assert_eq!(late, Err(Error::StreamUnknown));
    maintenance.abort();
}

#[tokio::test]
async fn an_event_that_was_bound_anew_after_its_user_came_back_to_a_tenant_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut filled = Filled::new(directory.path());
    filled.insert("a", &["w1", "w2"]);
    let moved_at = filled.store.head();
    filled.insert("a", &["w2", "w3"]);
    let Filled { store, committer } = filled;
    let hub = Hub::new(store.clone(), Rules { authorize: Authorize::Open, streams_per_user: 1 });
    let (publisher, clock) = (hub.clone(), Clock::from_local());
    let (writer, _failure) = Writer::start(committer, clock.clone(), writer::Rules::example(), move |committed| {
        publisher.publish(committed)
    })
    .unwrap();
    let mut due = Due::new(hub.clone(), Desk { store: store.clone(), writer, clock });
    let only = Some((TenantName::parse("a").unwrap(), moved_at));
    hub.registry().forget(GoneStream { stream: StreamId::new(STREAM), only });
    while let Round::Goes = due.round().await.unwrap() {}
    let left = found(&store, &Search::for_bound(STREAM, None));
    let names: Vec<_> = left.iter().map(|key| key.rsplit(|byte| *byte == b'w').next().unwrap()).collect();
    assert_eq!((store.head().get(), names), (5, vec![&b"2"[..], b"3"]), "{left:?}");
    // Unless the stream itself goes.
    hub.registry().forget(GoneStream { stream: StreamId::new(STREAM), only: None });
    while let Round::Goes = due.round().await.unwrap() {}
    assert_eq!(found(&store, &Search::for_bound(STREAM, None)).len(), 0);
}

#[test]
fn a_start_takes_over_the_bound_events_of_streams_that_nobody_holds_and_leaves_others_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut filled = Filled::new(directory.path());
    let user = User { username: Username::parse("u").unwrap(), ..User::example() };
    let mut transaction = filled.committer.begin(Timestamp::from_millis(1)).unwrap();
    transaction.put_user(&user);
    drop(transaction.commit().unwrap().reveal());
    filled.insert(user.tenant.as_str(), &["w1"]);
    let stream = StreamId::new(STREAM);
    let recalled = |is_held: fn(Held) -> bool| {
        let hub = Hub::new(filled.store.clone(), Rules { authorize: Authorize::Open, streams_per_user: 1 });
        hub.recall_streams(is_held).unwrap();
        hub.registry().has_stream(&user.username, stream)
    };
    assert!(recalled(|_| false));
    assert!(!recalled(|held| held == Held::Stream(StreamId::new(STREAM))));
    assert!(recalled(|held| held != Held::Stream(StreamId::new(STREAM))));
}

#[tokio::test]
async fn each_round_looks_at_some_of_very_many_streams_that_go_all_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let Filled { store, committer } = Filled::new(directory.path());
    let hub = Hub::new(store.clone(), Rules { authorize: Authorize::Open, streams_per_user: 1 });
    let (publisher, clock) = (hub.clone(), Clock::from_local());
    let (writer, _failure) = Writer::start(committer, clock.clone(), writer::Rules::example(), move |committed| {
        publisher.publish(committed)
    })
    .unwrap();
    let mut due = Due::new(hub.clone(), Desk { store, writer, clock });
    for stream in 0..1000 {
        hub.registry().forget(GoneStream { stream: StreamId::new(stream), only: None });
    }
    let mut rounds = 1;
    while let Round::Goes = due.round().await.unwrap() {
        rounds += 1;
    }
    assert!((10..=20).contains(&rounds), "{rounds}");
}
