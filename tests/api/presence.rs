//! Who is there, and what lasts only as long as the stream that it was inserted by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Answer, Body, Event, Kept, Receipt, Stream, TestServer, User, until, within};

/// The header that names a stream.
const STREAM: &str = "broker-stream";
/// What the names of frames about somebody begin with.
const PRESENCE: &str = "$presence/";
/// How long a stream's id stays good after its end, in milliseconds.
pub const GRACE: u64 = 5000;
/// How much later than that something may go: what the contract allows, and a second for a busy machine.
pub const LATE: u64 = 2500;

/// Somebody who is there.
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
async fn insert_by(user: &User, stream: &str, body: impl Body) -> Answer {
    user.insert_with(&[(STREAM, stream)], body).await
}

/// Inserts names that last as long as a stream.
pub async fn bind(user: &User, stream: &str, names: &[&str]) {
    for name in names {
        insert_by(user, stream, bound(name)).await.ok();
    }
}

/// An insert that lasts as long as a stream.
fn bound(event: &str) -> Value {
    json!({ "event": event, "data": "bound", "while_connected": true })
}

/// An insert that lasts.
fn free(event: &str) -> Value {
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
        (newest.data == "null").then_some(newest)
    })
    .await
}

/// Awaits that whatever is to go with streams that have ended has gone.
pub async fn past_the_grace(user: &User) {
    user.insert_raw(json!({ "event": "clock", "data": 1, "expires_in": 7 })).await.ok();
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

/// Who is there.
async fn presence(user: &User) -> Vec<Person> {
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

/// That nothing is told of anybody up to now, by an insert that marks it. The names of the events that come before it.
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

/// The names of what comes to somebody who resumes, up to now.
async fn resumed(user: &User, last_event_id: &str) -> Vec<String> {
    let mut stream = user.stream_of("/sse", Some(last_event_id)).await;
    let mut names = quiet(&mut stream, user).await;
    names.retain(|name| name != "mark");
    names
}

/// What is told of all of them.
pub fn online(people: &[Person]) -> BTreeMap<String, Value> {
    people.iter().map(Person::online).collect()
}

/// What is told of somebody who goes.
pub fn gone(username: &str) -> (String, Value) {
    (username.to_owned(), json!({ "online": false }))
}

#[tokio::test]
async fn every_stream_has_an_id_of_its_own() {
    let server = TestServer::start().await;
    let users = [server.user("alice", "acme").await, server.user("bob", "acme").await];
    let (mut streams, mut ids) = (Vec::new(), BTreeSet::new());
    for user in &users {
        for path in ["/sse", "/sse?events=news", "/sse?presence=true"] {
            let (stream, id) = user.open(path, None).await;
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(id.len() == 16 && id.bytes().all(is_digit), "{id:?}");
            ids.insert(id);
            streams.push(stream);
        }
    }
    assert_eq!(ids.len(), streams.len());
}

#[tokio::test]
async fn who_comes_back_takes_over_the_stream_that_is_named_or_else_the_one_that_ended_last() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (mut streams, mut ids) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (stream, id) = alice.open("/sse", None).await;
        streams.push(Some(stream));
        ids.push(id);
    }
    // The one that was opened last is not the one that ends last.
    for (ended, number) in [2, 0, 3, 1].into_iter().enumerate() {
        drop(streams[number].take());
        there(&alice, &[("alice", 3 - ended)]).await;
    }
    let by_header = alice.open("/sse", Some(&ids[2])).await;
    let by_query = alice.open(&format!("/sse?stream={}", ids[0]), None).await;
    let last = alice.open("/sse", None).await;
    let last_but_one = alice.open("/sse?events=news", None).await;
    let taken = [&by_header.1, &by_query.1, &last.1, &last_but_one.1];
    assert_eq!(taken, [&ids[2], &ids[0], &ids[1], &ids[3]]);
    // There is none left that has ended.
    let (_new, new) = alice.open("/sse", None).await;
    assert!(!ids.contains(&new), "{new} is open");
    there(&alice, &[("alice", 5)]).await;
    // And it is the stream that it is called by.
    for id in ids.iter().chain([&new]) {
        insert_by(&alice, id, bound("seat")).await.ok();
    }
}

#[tokio::test]
async fn nobody_takes_over_what_is_open_or_another_users() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let others = [server.user("bob", "acme").await, server.user("mallory", "other").await];
    let (stream, ended) = alice.open("/sse", None).await;
    drop(stream);
    there(&alice, &[("alice", 0)]).await;
    let by_query = format!("/sse?stream={ended}");
    let mut streams = Vec::new();
    for other in &others {
        for (path, named) in [("/sse", Some(ended.as_str())), (by_query.as_str(), None)] {
            let (stream, id) = other.open(path, named).await;
            assert_ne!(id, ended);
            streams.push(stream);
        }
    }
    let (_stream, id) = alice.open("/sse", None).await;
    assert_eq!(id, ended, "it was still hers to take over");
    let (_another, id) = alice.open("/sse", Some(&ended)).await;
    assert_ne!(id, ended);
}

#[tokio::test]
async fn who_names_a_stream_that_is_none_gets_a_new_one_and_not_that_of_another_page() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (page, ended) = alice.open("/sse", None).await;
    let (_other_page, is_open) = alice.open("/sse", None).await;
    drop(page);
    there(&alice, &[("alice", 1)]).await;
    let never = "0123456789abcdef";
    let mut streams = Vec::new();
    for named in [never, is_open.as_str(), "", "x", &ended[1..], &format!("{ended}0")] {
        let by_query = format!("/sse?stream={named}");
        for (path, named) in [("/sse", Some(named)), (by_query.as_str(), None)] {
            let (stream, id) = alice.open(path, named).await;
            assert!(![&ended, &is_open].contains(&&id), "{path} {named:?}");
            streams.push(stream);
        }
    }
    // The header is what counts where both are there.
    streams.push(alice.open(&format!("/sse?stream={ended}"), Some(never)).await.0);
    let (_stream, id) = alice.open("/sse", None).await;
    assert_eq!(id, ended, "it was still there for who names none");
}

#[tokio::test]
async fn who_names_no_stream_of_their_own_is_404_and_inserts_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mallory = server.user("mallory", "other").await;
    let (_own, own) = alice.open("/sse", None).await;
    let (_of_bob, of_bob) = bob.open("/sse", None).await;
    let (_of_mallory, of_mallory) = mallory.open("/sse", None).await;
    let array = json!([free("before"), bound("seat"), free("after")]);
    for body in [&bound("seat"), &array] {
        alice.insert_raw(body).await.refused(404, "stream_unknown");
        let longer = format!("{own}0");
        let malformed = ["", "x", "0", &own[1..], &longer, "zzzzzzzzzzzzzzzz", "-000000000000001"];
        for bad in malformed.into_iter().chain(["0123456789abcdef", &of_bob, &of_mallory]) {
            insert_by(&alice, bad, body).await.refused(404, "stream_unknown");
        }
    }
    for bad in [json!("true"), json!(1), json!([true])] {
        let mut body = bound("seat");
        body["while_connected"] = bad;
        let answer = insert_by(&alice, &own, body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(left(&alice, "*").await, [""; 0]);
    // Where nothing is to last as long as a stream, none need be named.
    alice.insert_raw(json!({ "event": "free", "data": 1, "while_connected": false })).await.ok();
    insert_by(&alice, &of_bob, free("free")).await.ok();
    insert_by(&alice, &own, &array).await.ok();
    assert_eq!(left(&alice, "*").await, ["after", "before", "free", "seat"]);
}

#[tokio::test]
async fn what_is_inserted_by_a_stream_goes_when_that_has_been_gone_for_5_seconds() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let mut reading = bob.stream_of("/sse?events=seat/*", None).await;
    let (_staying, staying_id) = alice.open("/sse", None).await;
    let (leaving, leaving_id) = alice.open("/sse", None).await;
    bind(&alice, &leaving_id, &["seat/leaving"]).await;
    bind(&alice, &staying_id, &["seat/staying"]).await;
    alice.insert("seat/free", json!(1)).await;
    let closed = time(&alice).await;
    drop(leaving);
    there(&alice, &[("alice", 1), ("bob", 1)]).await;
    // It can still be named, for as long as it may be taken over.
    bind(&alice, &leaving_id, &["seat/late"]).await;
    reading.take(4).await;
    let mut came = reading.take(2).await;
    came.sort_by(|one, other| one.name.cmp(&other.name));
    for (name, came) in ["seat/late", "seat/leaving"].into_iter().zip(came) {
        let removal = removal(&bob, name).await;
        after_the_grace(closed, removal.timestamp);
        // As if she had removed it.
        assert_eq!((removal.event.as_str(), removal.username.as_str()), (name, "alice"));
        assert_eq!(came, Event { name: removal.event, id: removal.id, data: "null".to_owned() });
        assert_eq!(bob.history(&format!("event={name}")).await.events.len(), 2);
    }
    assert_eq!(left(&bob, "seat/*").await, ["seat/free", "seat/staying"]);
    // There is no such stream any more.
    insert_by(&alice, &leaving_id, bound("seat/x")).await.refused(404, "stream_unknown");
    let (_new, new_id) = alice.open("/sse", Some(&leaving_id)).await;
    assert_ne!(new_id, leaving_id);
    bind(&alice, &staying_id, &["seat/staying"]).await;
}

#[tokio::test]
async fn what_was_inserted_by_a_stream_that_is_taken_over_stays() {
    let server = TestServer::start().await;
    let (mut users, mut streams, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["alice", "bob", "carol", "dave"] {
        let user = server.user(name, "acme").await;
        let (stream, id) = user.open("/sse", None).await;
        bind(&user, &id, &[&format!("seat/{name}")]).await;
        users.push(user);
        streams.push(stream);
        ids.push(id);
    }
    let [alice, bob, carol, dave] = &users[..] else { unreachable!() };
    let closed = time(dave).await;
    drop(streams);
    there(dave, &[("alice", 0), ("bob", 0), ("carol", 0), ("dave", 0)]).await;
    let back = [
        alice.open("/sse", Some(&ids[0])).await,
        bob.open(&format!("/sse?stream={}", ids[1]), None).await,
        carol.open("/sse?events=news", None).await,
    ];
    for ((_, id), before) in back.iter().zip(&ids) {
        assert_eq!(id, before);
    }
    // Who stays away shows that the time has come.
    after_the_grace(closed, removal(dave, "seat/dave").await.timestamp);
    past_the_grace(dave).await;
    assert_eq!(left(dave, "seat/*").await, ["seat/alice", "seat/bob", "seat/carol"]);
    there(dave, &[("alice", 1), ("bob", 1), ("carol", 1)]).await;
    bind(alice, &ids[0], &["seat/again"]).await;
}

/// Ends the server while streams are open, and starts it anew.
async fn the_grace_begins_with_the_start(kill: bool) {
    // So short a journal that it is moved into the database on the way.
    let mut server = TestServer::start_with(&["--journal_bytes=65536"]).await;
    let (mut users, mut streams, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for name in ["alice", "bob", "carol", "dave"] {
        let user = server.user(name, "acme").await;
        let (stream, id) = user.open("/sse?events=none", None).await;
        bind(&user, &id, &[&format!("seat/{name}")]).await;
        users.push(user);
        streams.push(stream);
        ids.push(id);
    }
    bind(&users[0], &ids[0], &["seat/taken"]).await;
    for _ in 0..20 {
        users[0].insert("filler", json!("x".repeat(10_000))).await;
    }
    bind(&users[0], &ids[0], &["seat/late"]).await;
    users[1].insert("seat/taken", json!(1)).await;

    let mut from = machine_time();
    if kill {
        server.kill();
        from = machine_time();
    } else {
        server.signal("TERM");
        assert!(server.ended().await.success());
    }
    server = server.restart().await;
    let started = machine_time();
    // The tokens are as good as before.
    let users: Vec<_> = users.iter().map(|user| server.client().with_authorization(&user.authorization)).collect();
    let [alice, bob, carol, dave] = &users[..] else { unreachable!() };
    let back = [
        bob.open("/sse", Some(&ids[1])).await,
        carol.open(&format!("/sse?stream={}", ids[2]), None).await,
        dave.open("/sse", None).await,
    ];
    for ((_, id), before) in back.iter().zip(&ids[1..]) {
        assert_eq!(id, before);
    }
    let all = ["seat/alice", "seat/bob", "seat/carol", "seat/dave", "seat/late", "seat/taken"];
    assert_eq!(left(bob, "seat/*").await, all);
    // Alice does not come back.
    for name in ["seat/alice", "seat/late"] {
        let removal = removal(bob, name).await;
        let due = from + GRACE..=started + GRACE + LATE;
        assert!(due.contains(&removal.timestamp), "{removal:?} {due:?}");
        assert_eq!(removal.username, "alice");
    }
    insert_by(alice, &ids[0], bound("seat/x")).await.refused(404, "stream_unknown");
    // Whatever goes, goes together.
    assert_eq!(left(bob, "seat/*").await, ["seat/bob", "seat/carol", "seat/dave", "seat/taken"]);
    bind(dave, &ids[3], &["seat/again"]).await;
}

#[tokio::test]
async fn after_a_kill_the_grace_begins_with_the_start() {
    the_grace_begins_with_the_start(true).await;
}

#[tokio::test]
async fn after_a_stop_who_comes_back_in_time_keeps_what_they_inserted() {
    the_grace_begins_with_the_start(false).await;
}

#[tokio::test]
async fn what_was_inserted_later_under_the_name_stays() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let (leaving, leaving_id) = alice.open("/sse", None).await;
    let (_staying, staying_id) = alice.open("/sse", None).await;
    let (_of_bob, of_bob) = bob.open("/sse", None).await;
    alice.insert("x/bound_later", json!(1)).await;
    let all = [
        "x/first",
        "x/bound_later",
        "x/free",
        "x/of_bob",
        "x/of_bobs_stream",
        "x/of_other_stream",
        "x/removed",
        "x/back",
        "x/late",
        "x/last",
    ];
    bind(&alice, &leaving_id, &all).await;
    alice.insert("x/free", json!(1)).await;
    bob.insert("x/of_bob", json!(1)).await;
    bind(&bob, &of_bob, &["x/of_bobs_stream"]).await;
    bind(&alice, &staying_id, &["x/of_other_stream"]).await;
    alice.remove("x/removed").await;
    bob.remove("x/back").await;
    bob.insert("x/back", json!(1)).await;
    let closed = time(&alice).await;
    drop(leaving);
    there(&alice, &[("alice", 1), ("bob", 1)]).await;
    // Within the grace as well.
    alice.insert("x/late", json!(1)).await;
    // Whatever goes, goes together: the first, the last, and one that lasted before.
    for name in ["x/first", "x/last", "x/bound_later"] {
        after_the_grace(closed, removal(&bob, name).await.timestamp);
    }
    let stayed = ["x/back", "x/free", "x/late", "x/of_bob", "x/of_bobs_stream", "x/of_other_stream"];
    assert_eq!(left(&bob, "x/*").await, stayed);
    assert_eq!(bob.history("event=x/removed").await.events.len(), 2, "it was removed once");
}

#[tokio::test]
async fn each_element_of_an_array_lasts_for_itself() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (leaving, id) = alice.open("/sse", None).await;
    let array = json!([
        bound("x/1"),
        free("x/2"),
        bound("x/3"),
        free("x/bound_last"),
        bound("x/bound_last"),
        bound("x/free_last"),
        free("x/free_last"),
    ]);
    let given: Vec<Receipt> = insert_by(&alice, &id, array).await.read();
    assert!(given.len() == 7 && given.is_sorted_by(|one, other| one.id < other.id), "{given:?}");
    let closed = time(&alice).await;
    drop(leaving);
    for (name, count) in [("x/1", 2), ("x/3", 2), ("x/bound_last", 3)] {
        after_the_grace(closed, removal(&alice, name).await.timestamp);
        assert_eq!(alice.history(&format!("event={name}")).await.events.len(), count, "{name}");
    }
    assert_eq!(left(&alice, "x/*").await, ["x/2", "x/free_last"]);
}

#[tokio::test]
async fn what_expires_and_is_bound_goes_with_whichever_comes_first() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let (leaving, leaving_id) = alice.open("/sse", None).await;
    let (_staying, staying_id) = alice.open("/sse", None).await;
    let mut given = BTreeMap::new();
    for (name, stream, seconds) in [
        ("x/open", &staying_id, 1),
        ("x/lasting", &staying_id, 1000),
        ("x/expires_first", &leaving_id, 2),
        ("x/leaves_first", &leaving_id, 1000),
    ] {
        let mut body = bound(name);
        body["expires_in"] = json!(seconds);
        given.insert(name, insert_by(&alice, stream, body).await.read::<Receipt>().timestamp);
    }
    let closed = time(&alice).await;
    drop(leaving);
    for (name, due) in [("x/open", 1000..=3500), ("x/expires_first", 2000..=4500)] {
        let lived = removal(&alice, name).await.timestamp - given[name];
        assert!(due.contains(&lived), "{name} lived for {lived} ms");
    }
    after_the_grace(closed, removal(&alice, "x/leaves_first").await.timestamp);
    assert_eq!(left(&alice, "x/*").await, ["x/lasting"]);
    for name in ["x/open", "x/expires_first", "x/leaves_first"] {
        assert_eq!(alice.history(&format!("event={name}")).await.events.len(), 2, "{name} was removed once");
    }
}

#[tokio::test]
async fn presence_tells_who_has_a_stream_open_or_had_one_5_seconds_ago() {
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
    drop(second);
    is_since(&there(&alice, &[("alice", 1), ("bob", 0)]).await);
    // Who is back within the grace was never away.
    let third = bob.open("/sse", None).await;
    is_since(&there(&alice, &[("alice", 1), ("bob", 1)]).await);
    let closed = time(&alice).await;
    drop(third);
    is_since(&there(&alice, &[("alice", 1), ("bob", 0)]).await);
    there(&alice, &[("alice", 1)]).await;
    let left = time(&alice).await;
    after_the_grace(closed, left);
    // And who is back after it has come anew.
    let _fourth = bob.open("/sse", None).await;
    let people = there(&alice, &[("alice", 1), ("bob", 1)]).await;
    assert!(people[0].since == of_alice && people[1].since >= left, "{people:?}");
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

#[tokio::test]
async fn a_watcher_is_told_first_of_everybody_who_is_there() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "acme").await;
    let erin = server.user("erin", "acme").await;
    let zoe = server.user("Zo\u{eb}+1 x", "acme").await;
    let mallory = server.user("mallory", "other").await;
    let events = [alice.insert("a", json!(1)).await, alice.insert("b", json!(2)).await];
    let _of_others = [bob.stream().await, bob.stream().await, mallory.stream().await];
    let of_zoe = zoe.stream().await;
    there(&alice, &[("Zo\u{eb}+1 x", 1), ("bob", 2)]).await;
    drop(of_zoe);
    there(&alice, &[("Zo\u{eb}+1 x", 0), ("bob", 2)]).await;

    let mut watching = carol.stream_of("/sse?presence=true", None).await;
    let (said, came) = beginning(&mut watching, 3, 2).await;
    // She as well, and who is away for a moment.
    let people = there(&alice, &[("Zo\u{eb}+1 x", 0), ("bob", 2), ("carol", 1)]).await;
    assert_eq!(said, online(&people));
    assert_eq!([&came[0].id, &came[1].id], [&events[0], &events[1]]);

    let mut also_watching = erin.stream_of("/sse?presence=true&snapshot=false", None).await;
    let (said, _) = beginning(&mut also_watching, 4, 0).await;
    let people = there(&alice, &[("Zo\u{eb}+1 x", 0), ("bob", 2), ("carol", 1), ("erin", 1)]).await;
    assert_eq!(said, online(&people));
    assert_eq!(told(&mut watching).await, people[3].online());
    // Nobody twice.
    for watching in [&mut watching, &mut also_watching] {
        quiet(watching, &alice).await;
    }
}

#[tokio::test]
async fn watchers_are_told_who_comes_and_who_goes_and_nobody_else_is() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "acme").await;
    let mallory = server.user("mallory", "other").await;
    // They do not want to know.
    let mut not_watching = [alice.stream().await, alice.stream_of("/sse?presence=false", None).await];
    let filters = ["", "", "", "", "&events=mark", "&except=news"];
    let mut watching = Vec::new();
    for filter in filters {
        let mut stream = alice.stream_of(&format!("/sse?presence=true{filter}"), None).await;
        let (said, _) = beginning(&mut stream, 1, 0).await;
        assert_eq!(said["alice"]["online"], true);
        watching.push(stream);
    }
    let mut of_mallory = mallory.stream_of("/sse?presence=true", None).await;
    beginning(&mut of_mallory, 1, 0).await;

    let here = filters.len() + not_watching.len();
    let first = bob.stream().await;
    let people = there(&alice, &[("alice", here), ("bob", 1)]).await;
    for stream in &mut watching {
        assert_eq!(told(stream).await, people[1].online());
    }
    // Only the first stream is a coming, and only the last one's end can be a going.
    let second = bob.stream().await;
    there(&alice, &[("alice", here), ("bob", 2)]).await;
    drop(first);
    there(&alice, &[("alice", here), ("bob", 1)]).await;
    for stream in &mut watching {
        quiet(stream, &alice).await;
    }

    let of_carol = carol.stream().await;
    let people = there(&alice, &[("alice", here), ("bob", 1), ("carol", 1)]).await;
    for stream in &mut watching {
        assert_eq!(told(stream).await, people[2].online());
    }
    // She reconnects, of which nothing is to be told; he does not.
    drop(of_carol);
    there(&alice, &[("alice", here), ("bob", 1), ("carol", 0)]).await;
    let _of_carol = carol.stream().await;
    there(&alice, &[("alice", here), ("bob", 1), ("carol", 1)]).await;
    let closed = time(&alice).await;
    drop(second);
    for stream in &mut watching {
        assert_eq!(told(stream).await, gone("bob"));
        after_the_grace(closed, time(&alice).await);
    }
    // Nor were they told of her, whose time would have come before his.
    let _back = bob.stream().await;
    let people = there(&alice, &[("alice", here), ("bob", 1), ("carol", 1)]).await;
    for stream in &mut watching {
        assert_eq!(told(stream).await, people[1].online());
    }

    alice.insert("news", json!(1)).await;
    for (stream, filter) in watching.iter_mut().zip(filters) {
        let names = quiet(stream, &alice).await;
        match filter {
            "" => assert!(names.iter().any(|name| name == "news"), "{names:?}"),
            "&events=mark" => assert!(names.iter().all(|name| name == "mark"), "{names:?}"),
            _ => assert!(names.iter().all(|name| name != "news"), "{names:?}"),
        }
    }
    for stream in &mut not_watching {
        quiet(stream, &alice).await;
    }
    quiet(&mut of_mallory, &mallory).await;
}

#[tokio::test]
async fn who_resumes_after_what_was_told_misses_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "acme").await;
    let first = alice.insert("a", json!(1)).await;
    alice.insert("b", json!(1)).await;
    let mut watching = bob.stream_of("/sse?presence=true", None).await;
    let mut frames = watching.take(3).await;
    let _of_carol = carol.stream().await;
    let coming = watching.next().await;
    assert_eq!(coming.name, "$presence/carol");
    alice.insert("c", json!(1)).await;
    frames.extend([coming.clone(), watching.next().await]);

    // Who resumes is told of everybody as well.
    let mut again = bob.stream_of("/sse?presence=true", Some(&first)).await;
    let (said, came) = beginning(&mut again, 2, 2).await;
    assert!(said.keys().eq(["bob", "carol"]), "{said:?}");
    assert!(came.iter().map(|event| event.name.as_str()).eq(["b", "c"]), "{came:?}");

    let had = |until: usize, name: &str| frames[..until].iter().any(|frame| frame.name == name);
    for (number, frame) in frames.iter().enumerate().filter(|(_, frame)| frame.name.starts_with(PRESENCE)) {
        assert!(frame.id.len() == 22 && frame.id.bytes().all(|byte| byte.is_ascii_digit()), "{frame:?}");
        let came = resumed(&alice, &frame.id).await;
        for name in ["a", "b", "c"] {
            assert!(had(number, name) || came.iter().any(|came| came == name), "{name} is missed: {frames:?} {came:?}");
        }
    }
    assert_eq!(resumed(&alice, &coming.id).await, ["c"], "and nothing comes again");
}

#[tokio::test]
async fn who_is_revoked_or_moved_to_another_tenant_goes() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "acme").await;
    let mallory = server.user("mallory", "other").await;
    let (mut of_bob, bobs_id) = bob.open("/sse?events=none", None).await;
    let (_of_carol, carols_id) = carol.open("/sse?events=none", None).await;
    bind(&bob, &bobs_id, &["seat/bob"]).await;
    bind(&carol, &carols_id, &["seat/carol"]).await;
    there(&alice, &[("bob", 1), ("carol", 1)]).await;
    let mut watching = alice.stream_of("/sse?presence=true&events=mark", None).await;
    beginning(&mut watching, 3, 0).await;
    let mut of_mallory = mallory.stream_of("/sse?presence=true", None).await;
    beginning(&mut of_mallory, 1, 0).await;

    let began = time(&alice).await;
    alice.client.admin("/revoke_user", json!({ "username": "bob" })).await.ok();
    alice.client.admin("/update_user", json!({ "username": "carol", "tenant_name": "other" })).await.ok();
    assert_eq!(of_bob.rest().await, []);
    // Hers goes on there.
    let people = there(&mallory, &[("carol", 1), ("mallory", 1)]).await;
    assert_eq!(told(&mut of_mallory).await, people[0].online());
    bind(&carol, &carols_id, &["seat/carol"]).await;
    let (_another, new_id) = carol.open("/sse?events=none", Some(&carols_id)).await;
    assert_ne!(new_id, carols_id, "it is open");

    let mut said = [told(&mut watching).await, told(&mut watching).await];
    said.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(said, [gone("bob"), gone("carol")]);
    there(&alice, &[("alice", 1)]).await;
    for name in ["bob", "carol"] {
        let removal = removal(&alice, &format!("seat/{name}")).await;
        assert!(removal.timestamp <= began + GRACE + LATE, "{removal:?}, began at {began}");
        assert_eq!(removal.username, name);
    }
    // But not what lasts as long as her stream where she is now.
    assert_eq!(left(&mallory, "seat/*").await, ["seat/carol"]);
    quiet(&mut watching, &alice).await;
    quiet(&mut of_mallory, &mallory).await;
}

/// A watcher whose receive buffer is small, and that reads nothing for now.
async fn stalled_watcher(server: &TestServer, user: &User) -> BufReader<TcpStream> {
    let address: SocketAddr = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = within("a connection", socket.connect(address)).await.unwrap();
    let authorization = &user.authorization;
    let head = format!("GET /sse?presence=true HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    BufReader::new(socket)
}

async fn next_line(socket: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    let read = within("a line", socket.read_line(&mut line)).await.unwrap();
    assert!(read > 0, "the stream goes on");
    line.trim_end().to_owned()
}

/// The next frame. Every chunk is whole frames, so what stands between them is of no interest.
async fn next_frame(socket: &mut BufReader<TcpStream>) -> Event {
    loop {
        let first = next_line(socket).await;
        if first.starts_with("event:") {
            let (second, third) = (next_line(socket).await, next_line(socket).await);
            return Event::parse(&[first, second, third].join("\n"));
        }
    }
}

#[tokio::test]
async fn a_watcher_that_did_not_read_for_a_while_knows_then_who_is_there() {
    let server = TestServer::start().await;
    let alice = server.user("alice", "acme").await;
    let bob = server.user("bob", "acme").await;
    let carol = server.user("carol", "acme").await;
    let dave = server.user("dave", "acme").await;
    let erin = server.user("erin", "acme").await;
    let frank = server.user("frank", "acme").await;
    let (of_carol, _of_dave) =
        (carol.stream_of("/sse?events=none", None).await, dave.stream_of("/sse?events=none", None).await);
    there(&bob, &[("carol", 1), ("dave", 1)]).await;
    let mut watching = stalled_watcher(&server, &alice).await;
    there(&bob, &[("alice", 1), ("carol", 1), ("dave", 1)]).await;
    // More than the sockets' buffers take.
    for _ in 0..120 {
        bob.insert("big", json!("x".repeat(100_000))).await;
    }
    drop(of_carol);
    let of_frank = frank.stream_of("/sse?events=none", None).await;
    there(&bob, &[("alice", 1), ("carol", 0), ("dave", 1), ("frank", 1)]).await;
    drop(of_frank);
    let _of_erin = erin.stream_of("/sse?events=none", None).await;
    let people = there(&bob, &[("alice", 1), ("dave", 1), ("erin", 1)]).await;
    let people: BTreeMap<_, _> = people.into_iter().map(|person| (person.username, person.since)).collect();
    bob.insert("mark", json!(null)).await;

    let (mut known, mut marked) = (BTreeMap::new(), false);
    within("the watcher to know", async {
        while !(marked && known == people) {
            let frame = next_frame(&mut watching).await;
            marked |= frame.name == "mark";
            let Some(username) = frame.name.strip_prefix(PRESENCE) else { continue };
            let data = frame.json();
            if data["online"] == true {
                known.insert(username.to_owned(), data["since"].as_u64().unwrap());
            } else {
                known.remove(username);
            }
        }
    })
    .await;
    // And is told again at once.
    let _of_bob = bob.stream_of("/sse?events=none", None).await;
    within("the watcher to be told", async { while next_frame(&mut watching).await.name != "$presence/bob" {} }).await;
}
