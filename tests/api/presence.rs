//! Guards `/presence`: the users that have a stream open.

mod watchers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Answer, Body, Event, Kept, Receipt, Stream, TestServer, User, in_time, until};

/// The header that names a stream.
pub const STREAM: &str = "broker-stream";
/// What the names of frames about somebody begin with.
pub const PRESENCE: &str = "$presence/";
/// How long a stream's id stays good after its end, in milliseconds.
pub const GRACE: u64 = 5000;
/// How much later than that something may go: what the contract allows, and much more for a busy machine.
pub const LATE: u64 = 12_000;

/// A user that is present.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    pub username: String,
    pub since: u64,
    pub streams: usize,
}

impl Person {
    /// What a watcher is told of them.
    pub fn online(&self) -> (String, Value) {
        let data = json!({ "online": true, "since": self.since, "streams": self.streams });
        (self.username.clone(), data)
    }
}

/// Inserts, and names a stream.
pub async fn insert_by(user: &User, stream: &str, body: impl Body) -> Answer {
    user.insert_with(&[(STREAM, stream)], body).await
}

/// Inserts names that last as long as a stream.
pub async fn bind(user: &User, stream: &str, names: &[&str]) {
    for name in names {
        insert_by(user, stream, bound(name)).await.ok();
    }
}

/// An insert that lasts as long as a stream.
pub fn bound(event: &str) -> Value {
    json!({ "event": event, "data": "bound", "while_connected": true })
}

/// An insert that lasts.
pub fn free(event: &str) -> Value {
    json!({ "event": event, "data": "free" })
}

/// What there is of some names, by name.
pub async fn left(user: &User, filter: &str) -> Vec<String> {
    let events = user.latest(&format!("/events?events={filter}")).await;
    let mut names: Vec<_> = events.into_iter().map(|event| event.event).collect();
    names.sort();
    names
}

/// Awaits the removal of a name, and gives it.
pub async fn removal(user: &User, name: &str) -> Kept {
    until(&format!("the removal of {name}"), async || {
        let newest = user.history(&format!("event={name}")).await.events.into_iter().next()?;
        newest.removed.then_some(newest)
    })
    .await
}

/// Awaits that whatever is to go with streams that have ended has gone.
pub async fn past_the_grace(user: &User) {
    user.insert_raw(json!({ "event": "clock", "data": 1, "expires_in": 12 })).await.ok();
    removal(user, "clock").await;
}

/// The server's time.
pub async fn time(user: &User) -> u64 {
    user.insert_raw(free("time")).await.read::<Receipt>().timestamp
}

/// The machine's time.
pub fn machine_time() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// That something came about when the grace was over, of a stream that was closed at a time.
#[track_caller]
pub fn after_the_grace(closed: u64, at: u64) {
    let lasted = at.saturating_sub(closed);
    assert!((GRACE..=GRACE + LATE).contains(&lasted), "it took {lasted} ms");
}

/// The users that are present.
pub async fn presence(user: &User) -> Vec<Person> {
    user.get("/presence").await.read()
}

/// Awaits that exactly these are there, each with so many streams.
pub async fn there(user: &User, expected: &[(&str, usize)]) -> Vec<Person> {
    until(&format!("{expected:?} to be there"), async || {
        let people = presence(user).await;
        let seen = people.iter().map(|person| (person.username.as_str(), person.streams));
        let is_so = seen.eq(expected.iter().copied());
        is_so.then_some(people)
    })
    .await
}

/// Whether less than the grace has passed since a stream ended, or since a moment before.
pub fn is_in_time(since: Instant) -> bool {
    since.elapsed() < Duration::from_millis(GRACE)
}

/// Awaits the same as [`there`] for as long as the grace takes. One that has no stream any more is there for no longer.
pub async fn there_in_time(user: &User, expected: &[(&str, usize)]) -> Option<Vec<Person>> {
    tokio::time::timeout(Duration::from_millis(GRACE), there(user, expected)).await.ok()
}

/// What a new watcher is given first, in whichever order: so many people, each once, and so many events.
pub async fn beginning(stream: &mut Stream, people: usize, events: usize) -> (BTreeMap<String, Value>, Vec<Event>) {
    let frames = stream.take(people + events).await;
    let (told, came): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| frame.name.starts_with(PRESENCE));
    let told: BTreeMap<_, _> =
        told.iter().map(|frame| (frame.name[PRESENCE.len()..].to_owned(), frame.json())).collect();
    assert_eq!((told.len(), came.len()), (people, events), "{told:?} {came:?}");
    (told, came)
}

/// The next that a watcher is told of somebody.
pub async fn told(stream: &mut Stream) -> (String, Value) {
    loop {
        let event = stream.next().await;
        if let Some(username) = event.name.strip_prefix(PRESENCE) {
            return (username.to_owned(), event.json());
        }
    }
}

/// That nothing is told of anybody up to now, up to an insert that is a marker. The names of the events that come before it.
pub async fn quiet(stream: &mut Stream, user: &User) -> Vec<String> {
    let mark = user.insert("mark", json!(null)).await;
    let mut names = Vec::new();
    loop {
        let event = stream.next().await;
        assert!(!event.name.starts_with(PRESENCE), "{event:?}");
        if event.id == mark {
            return names;
        }
        names.push(event.name);
    }
}

/// The names of the events that a resuming client gets, up to now.
pub async fn resumed(user: &User, last_event_id: &str) -> Vec<String> {
    let mut stream = user.stream_of("/sse", Some(last_event_id)).await;
    let mut names = quiet(&mut stream, user).await;
    names.retain(|name| name != "mark");
    names
}

/// What is told of all of them.
pub fn online(people: &[Person]) -> BTreeMap<String, Value> {
    people.iter().map(Person::online).collect()
}

/// The control events about a user that leaves.
pub fn gone(username: &str) -> (String, Value) {
    (username.to_owned(), json!({ "online": false }))
}

#[tokio::test]
async fn presence_lists_the_users_that_have_a_stream_open_or_had_one_5_seconds_ago() {
    in_time("a client within the grace", async || {
        let server = TestServer::start().await;
        let alice = server.user("alice", "acme").await;
        let bob = server.user("bob", "acme").await;
        let mallory = server.user("mallory", "other").await;
        let answer = alice.get("/presence").await.ok();
        assert_eq!((answer.header("content-type"), answer.body.as_str()), (Some("application/json"), "[]"));
        let before = time(&alice).await;
        // By name, and not in the order in which they come.
        let first = bob.open("/sse", None).await;
        let second = bob.open("/sse?events=news", None).await;
        let _of_alice = alice.stream().await;
        let _of_mallory = mallory.stream().await;
        let people = there(&alice, &[("alice", 1), ("bob", 2)]).await;
        let (of_alice, of_bob) = (people[0].since, people[1].since);
        let after = time(&bob).await;
        assert!([before, of_bob, of_alice, after].is_sorted(), "{before} {people:?} {after}");
        // Another tenant's people are nobody's business.
        there(&mallory, &[("mallory", 1)]).await;
        assert_eq!(presence(&bob).await, people);
        let is_since = |people: &[Person]| assert_eq!([people[0].since, people[1].since], [of_alice, of_bob]);
        drop(first);
        is_since(&there(&alice, &[("alice", 1), ("bob", 1)]).await);
        let since = Instant::now();
        drop(second);
        let people = there_in_time(&alice, &[("alice", 1), ("bob", 0)]).await?;
        is_since(&people);
        // A user that is back within the grace was never away.
        let third = bob.open("/sse", None).await;
        if !is_in_time(since) {
            return None;
        }
        is_since(&there(&alice, &[("alice", 1), ("bob", 1)]).await);
        let closed = time(&alice).await;
        drop(third);
        let people = there_in_time(&alice, &[("alice", 1), ("bob", 0)]).await?;
        is_since(&people);
        there(&alice, &[("alice", 1)]).await;
        let left = time(&alice).await;
        after_the_grace(closed, left);
        // A user that is back after it has come anew.
        let _fourth = bob.open("/sse", None).await;
        let people = there(&alice, &[("alice", 1), ("bob", 1)]).await;
        assert!(people[0].since == of_alice && people[1].since >= left, "{people:?}");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn presence_without_credentials_is_401() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let _stream = alice.stream().await;
    server.client().get("/presence").await.refused(401, "unauthorized");
    server.client().with_authorization("Bearer x").get("/presence").await.refused(401, "unauthorized");
    alice.get("/sse?presence=perhaps").await.refused(400, "query_invalid");
}
