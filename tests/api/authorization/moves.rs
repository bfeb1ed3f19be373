//! Guards streams that go on in another tenant when their user is moved there.

mod at_once;
mod flood;
mod presence;
mod scopes;
mod stalled;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sse::control_events::{assert_reset, marked, removal, until_few_are_kept, until_sync};
use crate::support::{
    Event, Stream, TestServer, User, change, insert_names, move_to, names, pairs, password_of, subscribe, text, update,
};

/// What alice is moved between.
pub const TENANTS: [&str; 2] = ["acme", "other"];

/// What a stream is opened by, which events come first, by their number, and of which names those that come then.
pub type Case = (&'static str, &'static [usize], fn(&str) -> bool);

/// A server, alice of the first tenant, and a clerk of each. Where scopes count they may see and insert everything.
pub async fn start(flags: &[&str]) -> (TestServer, User, [User; 2]) {
    let server = TestServer::start_with(flags).await;
    let client = server.client();
    let user = async |username: &str, tenant: &str| {
        client.create_user_with(username, tenant, json!({ "scopes": ["*:get", "*:post"] })).await.ok();
        client.sign_in(username).await
    };
    let alice = user("alice", TENANTS[0]).await;
    let clerks = [user("bob", TENANTS[0]).await, user("mallory", TENANTS[1]).await];
    (server, alice, clerks)
}

pub fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Has a clerk insert names in their tenant while alice is there, whose inbox may be among them, and takes her back.
pub async fn insert_with_her(server: &TestServer, clerk: &User, all: &[String], data: &str) -> Vec<(String, String)> {
    move_to(&server.client(), "alice", TENANTS[1]).await;
    let inserted = insert_names(clerk, all, data).await;
    move_to(&server.client(), "alice", TENANTS[0]).await;
    inserted
}

/// What can be inserted where alice is not.
pub fn without_inbox(all: &[String]) -> Vec<String> {
    all.iter().filter(|name| !name.starts_with('@')).cloned().collect()
}

/// The state of a client that keeps the latest event of each name and obeys control events.
#[derive(Default)]
pub struct Known(pub BTreeMap<String, (String, Value)>);

impl Known {
    pub fn take(&mut self, event: Event) {
        let data = event.json();
        match event.name.as_str() {
            "$left" => drop(self.0.remove(&text(&data["event"]))),
            "$reset" => self.0.clear(),
            "$synced" => {}
            _ if data.is_null() => drop(self.0.remove(&event.name)),
            _ => drop(self.0.insert(event.name, (event.id, data))),
        }
    }

    /// Takes what comes up to an event, and that too.
    pub async fn read_to(&mut self, stream: &mut Stream, id: &str) {
        loop {
            let event = stream.next().await;
            let is_last = event.id == id && !event.name.starts_with('$');
            self.take(event);
            if is_last {
                return;
            }
        }
    }

    /// That it is what there is for somebody, and nothing else.
    pub async fn check(&self, user: &User) {
        let events = user.get("/events").await.ok().json();
        let events = events.as_array().unwrap().iter();
        let expected: BTreeMap<_, _> =
            events.map(|event| (text(&event["event"]), (text(&event["id"]), event["data"].clone()))).collect();
        assert_eq!(self.0, expected);
    }
}

/// The names that were said to be lost before anything else, sorted, and what came then.
#[track_caller]
pub fn split_left(came: &[Event]) -> (Vec<String>, &[Event]) {
    let (left, rest) = came.split_at(came.iter().take_while(|event| event.name == "$left").count());
    let mut lost = Vec::new();
    for mark in left {
        // A client that gets no further than this and comes back is to be given everything.
        assert!(mark.id.len() == 22 && mark.id.starts_with("0000000000000000"), "{mark:?}");
        let data = mark.json();
        assert_eq!(data.as_object().unwrap().len(), 1, "{mark:?}");
        lost.push(text(&data["event"]));
    }
    assert!(rest.iter().all(|event| !event.name.starts_with('$')), "{rest:?}");
    lost.sort();
    (lost, rest)
}

#[tokio::test]
async fn a_stream_goes_on_with_the_latest_of_each_name_and_then_with_live_events() {
    let (server, alice, [bob, mallory]) = start(&[]).await;
    let there = ["b", "a", "c", "b", "gone", "@alice/x", "@mallory/x"];
    let there = insert_with_her(&server, &mallory, &owned(&there), "of other").await;
    removal(&mallory, "gone").await;
    bob.insert("a", json!("of acme")).await;
    let cases: [Case; 5] = [
        ("/sse", &[1, 2, 3, 5], |_| true),
        ("/sse?snapshot=false", &[1, 2, 3, 5], |_| true),
        ("/sse?events=b,x/*,mark", &[3], |name| name == "b"),
        ("/sse?except=b,c", &[1, 5], |name| name != "b"),
        ("/sse?events=nothing,mark", &[], |_| false),
    ];
    let mut streams = Vec::new();
    for (path, ..) in cases {
        let mut stream = alice.stream_of(path, None).await;
        stream.so_far(&bob).await;
        streams.push(stream);
    }
    let mut of_bob = bob.stream_of("/sse?snapshot=false", None).await;
    move_to(&server.client(), "alice", "other").await;
    for (stream, (path, first, _)) in streams.iter_mut().zip(cases) {
        let expected: Vec<_> = first.iter().map(|at| there[*at].clone()).collect();
        assert_eq!(pairs(&stream.so_far(&mallory).await), expected, "{path}");
    }
    let (mut live, mut hidden) = (Vec::new(), Vec::new());
    for number in 0..3 {
        for name in ["a", "b", "@alice/x", "new"] {
            if name != "@alice/x" {
                hidden.push((bob.insert(name, json!("hidden")).await, name.to_owned()));
            }
            live.push((mallory.insert(name, json!(number)).await, name.to_owned()));
        }
    }
    for (stream, (path, _, wants)) in streams.iter_mut().zip(cases) {
        let expected: Vec<_> = live.iter().filter(|(_, name)| wants(name)).cloned().collect();
        assert_eq!(pairs(&stream.so_far(&mallory).await), expected, "{path}");
    }
    // Nobody else's goes anywhere.
    hidden.retain(|(_, name)| !name.starts_with('@'));
    assert_eq!(pairs(&of_bob.so_far(&bob).await), hidden);
}

#[tokio::test]
async fn of_the_events_before_the_move_only_the_latest_of_each_name_is_given() {
    for is_listened_to in [false, true] {
        let (server, alice, [bob, mallory]) = start(&[]).await;
        let mut stream = alice.stream().await;
        bob.insert("a", json!(1)).await;
        assert_eq!(names(&stream.so_far(&bob).await), ["a"]);
        // Then what is new is in memory, or else on disk alone.
        let _listening = if is_listened_to { Some(mallory.stream().await) } else { None };
        let inserted = insert_names(&mallory, &owned(&["b", "a", "b", "gone", "c", "b"]), "x").await;
        removal(&mallory, "gone").await;
        move_to(&server.client(), "alice", "other").await;
        let expected = [1, 4, 5].map(|at: usize| inserted[at].clone());
        assert_eq!(pairs(&stream.so_far(&mallory).await), expected, "listened to: {is_listened_to}");
    }
}

#[tokio::test]
async fn with_control_events_the_old_names_leave_and_synced_follows_the_events_of_the_new_tenant() {
    let (server, alice, [bob, mallory]) = start(&[]).await;
    let there = owned(&["c", "a", "c", "unwanted", "@alice/y", "@mallory/x"]);
    let there = insert_with_her(&server, &mallory, &there, "x").await;
    insert_names(&bob, &owned(&["a", "b", "gone", "unwanted", "@alice/x", "@bob/x"]), "x").await;
    removal(&bob, "gone").await;
    let mut stream = marked(&alice, "&except=unwanted,mark", None).await;
    assert_eq!(names(&until_sync(&mut stream).await.0), ["a", "b", "@alice/x"]);
    let mut new = marked(&alice, "&except=unwanted,mark&snapshot=false", None).await;
    assert_eq!(until_sync(&mut new).await.0, []);
    move_to(&server.client(), "alice", "other").await;
    bob.insert("a", json!("hidden")).await;
    let mut begun = String::new();
    for stream in [&mut stream, &mut new] {
        let (came, _) = until_sync(stream).await;
        let (lost, latest) = split_left(&came);
        assert_eq!(lost, ["@alice/x", "a", "b", "gone"]);
        assert_eq!(pairs(latest), [1, 2, 4].map(|at: usize| there[at].clone()));
        begun = came[0].id.clone();
    }
    let live = Event::new("a", &mallory.insert("a", json!(1)).await, "1");
    for stream in [&mut stream, &mut new] {
        assert_eq!(stream.next().await, live);
    }
    // As a connection that breaks after the first mark, and an EventSource that reconnects with that.
    let mut again = marked(&alice, "&except=unwanted,mark", Some(&begun)).await;
    assert_reset(&again.next().await, "other_tenant");
    assert_eq!(names(&until_sync(&mut again).await.0), ["c", "@alice/y", "a"]);
    let came = alice.stream_of("/sse?except=unwanted", Some(&begun)).await.so_far(&mallory).await;
    assert_eq!(names(&came), ["c", "@alice/y", "a"]);
}

#[tokio::test]
async fn a_tenant_of_which_not_everything_is_kept_is_no_reset() {
    let (server, alice, [bob, mallory]) = start(&["--retain_events=20"]).await;
    bob.insert("a", json!(1)).await;
    let mut stream = marked(&alice, "", None).await;
    assert_eq!(names(&until_sync(&mut stream).await.0), ["a"]);
    let all: Vec<_> = (0..300).map(|number| format!("name{}", number % 4)).collect();
    let inserted = insert_names(&mallory, &all, "x").await;
    until_few_are_kept(&mallory, &all[..4], 25).await;
    move_to(&server.client(), "alice", "other").await;
    let (came, _) = until_sync(&mut stream).await;
    let (lost, latest) = split_left(&came);
    assert_eq!(lost, ["a"]);
    assert_eq!(pairs(latest), inserted[296..]);
    assert_eq!(stream.so_far(&mallory).await, []);
}

#[tokio::test]
async fn a_stream_keeps_its_id_and_its_filter_and_can_be_given_another() {
    let (server, alice, [bob, mallory]) = start(&[]).await;
    let client = server.client();
    for clerk in [&bob, &mallory] {
        insert_names(clerk, &owned(&["a", "b", "c"]), "x").await;
    }
    let mut stream = alice.stream_of("/sse?events=a,mark", None).await;
    let id = stream.id();
    assert_eq!(names(&stream.so_far(&bob).await), ["a"]);
    change(&alice, &id, json!({ "events": "b,mark" })).await;
    assert_eq!(names(&stream.so_far(&bob).await), ["b"]);
    move_to(&client, "alice", "other").await;
    assert_eq!(names(&stream.so_far(&mallory).await), ["b"]);
    let steps: [(Value, &[&str]); 3] =
        [(json!({ "events": "b,c,mark" }), &["c"]), (json!({ "events": "mark" }), &[]), (json!({}), &["a", "b", "c"])];
    for (filter, replayed) in steps {
        change(&alice, &id, filter.clone()).await;
        assert_eq!(names(&stream.so_far(&mallory).await), replayed, "{filter}");
    }
    // It is still nobody else's.
    subscribe(&mallory, &id, json!({})).await.refused(404, "stream_unknown");
    // The other filter may come when some of what the first one wanted has been given.
    move_to(&client, "alice", "acme").await;
    change(&alice, &id, json!({ "events": "c,mark" })).await;
    let came = stream.so_far(&bob).await;
    assert_eq!(came.iter().filter(|event| event.name == "c").count(), 1, "{came:?}");
    for clerk in [&bob, &mallory] {
        insert_names(clerk, &owned(&["a", "b", "c"]), "y").await;
    }
    assert_eq!(names(&stream.so_far(&bob).await), ["c"]);
}

#[tokio::test]
async fn a_user_moved_to_and_fro_knows_each_time_the_events_of_the_tenant_and_nothing_else() {
    let (server, alice, clerks) = start(&[]).await;
    let client = server.client();
    for (clerk, own) in clerks.iter().zip(["acme/1", "other/1"]) {
        insert_names(clerk, &owned(&["both", own, "gone"]), "x").await;
        removal(clerk, "gone").await;
    }
    let mut stream = marked(&alice, "", None).await;
    let (mut known, mut at) = (Known::default(), 0);
    for round in 0..40 {
        // So often before anything is read.
        for _ in 0..=round % 5 {
            at = 1 - at;
            move_to(&client, "alice", TENANTS[at]).await;
            clerks[at].insert("both", json!(round)).await;
            clerks[1 - at].insert("away", json!(round)).await;
        }
        if round % 3 == 0 {
            removal(&clerks[1 - at], "away").await;
        }
        let end = clerks[at].insert("end", json!(round)).await;
        known.read_to(&mut stream, &end).await;
        known.check(&alice).await;
    }
}

#[tokio::test]
async fn another_password_in_the_same_change_ends_the_stream() {
    let (_server, alice, [bob, mallory]) = start(&[]).await;
    let there = mallory.insert("news", json!(1)).await;
    let mut stream = alice.stream().await;
    assert_eq!(stream.so_far(&bob).await, []);
    update(&alice.client, "alice", json!({ "tenant_name": "other", "password": password_of("alice") })).await;
    assert_eq!(stream.rest().await, []);
    assert_eq!(stream.heartbeats, 0, "it ended long before the next heartbeat");
    assert_eq!(alice.client.sign_in("alice").await.stream().await.next().await.id, there);
}
