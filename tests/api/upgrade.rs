//! Guards databases of earlier formats, as they were left by Brokers that were killed: `upgrade/format-1.tgz` by that of 16.0.0, and
//! the others by ones between that and the next. `upgrade/format-2.tgz` has its events in the journal, and those after it have
//! some there and some after a checkpoint.

mod under_load;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Receipt, TestServer, User, command, names, password_of, transient, until};

/// What was inserted, but for the one of the other tenant: by whom, under which name, and what.
const INSERTED: [(&str, &str, &str); 6] = [
    ("alice", "news", "1"),
    ("bob", "chat/1", r#"{"z":1.0,"a":[12345678901234567890]}"#),
    ("alice", "news", "2"),
    ("alice", "@bob/x", r#""for bob""#),
    ("bob", "chat/2", r#""é""#),
    ("alice", "news", "3"),
];
/// The places of these in the order of all events.
const POSITIONS: [u64; 6] = [1, 2, 4, 5, 6, 7];

/// Unpacks a database that was left.
fn unpack(format: u32) -> Arc<tempfile::TempDir> {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let archive = format!("{}/tests/api/upgrade/format-{format}.tgz", env!("CARGO_MANIFEST_DIR"));
    let unpacked = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(directory.path()).status().unwrap();
    assert!(unpacked.success());
    directory
}

/// Starts on a database that was left, with the part of its ids that says which it is.
async fn start(format: u32, database: u64) -> (TestServer, impl Fn(usize) -> String) {
    let directory = unpack(format);
    // What was inserted then is old by now, and there is room for one more name in the tenant.
    let flags = ["--retain_for=3000000000", "--max_names=5"].map(str::to_owned);
    let server = TestServer::try_start(directory, move |directory| command(&flags, directory)).await.unwrap();
    (server, move |at| format!("{:016}{database:06}", POSITIONS[at]))
}

/// The fields of events, as JSON, that this is about: name, id, data and who inserted it.
fn fields(events: &Value) -> Vec<[Value; 4]> {
    let fields = |event: &Value| ["event", "id", "data", "username"].map(|field| event[field].clone());
    events.as_array().unwrap().iter().map(fields).collect()
}

async fn user(client: &Client, username: &str) -> Value {
    client.admin("/get_user", json!({ "username": username })).await.ok().json()
}

async fn history(user: &User, order: &str) -> Vec<Value> {
    let page = user.get(&format!("/history?event=news&order={order}")).await.ok().json();
    assert_eq!(page["next"], Value::Null);
    fields(&page["events"]).into_iter().map(|[_, _, data, _]| data).collect()
}

async fn is_as_it_was_left_and_goes_on(format: u32, database: u64) {
    let (server, id) = start(format, database).await;
    let client = server.client();

    let of_alice = user(&client, "alice").await;
    assert_eq!((&of_alice["tenant_name"], &of_alice["email"]), (&json!("acme"), &json!("alice@example.com")));
    assert_eq!(
        (&of_alice["scopes"], of_alice["data"].to_string()),
        (&json!(["news:get"]), r#"{"a":2,"z":1.0}"#.into())
    );
    assert_eq!(user(&client, "bob").await["two_factor"], json!(false));
    client.login("mallory", &password_of("mallory")).await.refused(401, "unauthorized");
    let (alice, bob) = (client.sign_in("alice").await, client.sign_in("bob").await);

    let event = |at: usize| {
        let (username, name, data) = INSERTED[at];
        [json!(name), json!(id(at)), serde_json::from_str(data).unwrap(), json!(username)]
    };
    let mut latest = fields(&bob.get("/events").await.ok().json());
    latest.sort_by_key(|[_, id, ..]| id.to_string());
    assert_eq!(latest, [1, 3, 4, 5].map(event));
    // The inbox is bob's alone now.
    assert_eq!(fields(&alice.get("/events").await.ok().json()).len(), 3);
    let mut stream = bob.stream_of("/sse", Some(&id(0))).await;
    for at in 1..INSERTED.len() {
        let came = stream.next().await;
        assert_eq!([json!(came.name), json!(came.id), came.json()], event(at)[..3]);
    }
    let mut objects = bob.stream_of("/sse?envelope=true", Some(&id(0))).await;
    for at in 1..INSERTED.len() {
        let (object, expected) = (objects.next().await.envelope(), event(at));
        let data = serde_json::from_str(&object.data).unwrap();
        assert_eq!([json!(object.event), json!(object.id), data, json!(object.username)], expected);
        let history = bob.history(&format!("event={}&order=oldest", object.event)).await.events;
        let same = history.iter().find(|event| event.id == object.id).unwrap();
        assert_eq!((same.timestamp, same.removed), (object.timestamp, false));
    }
    assert_eq!(history(&alice, "oldest").await, [1, 2, 3].map(Value::from));
    assert_eq!(history(&alice, "newest").await, [json!(3)], "an earlier event does not know the one before it");

    let newest = alice.insert("news", json!(4)).await;
    assert!(newest > id(5), "{newest}");
    assert_eq!(stream.next().await.id, newest);
    assert_eq!(history(&alice, "oldest").await, [1, 2, 3, 4].map(Value::from));
    assert_eq!(history(&alice, "newest").await, [4, 3].map(Value::from));
    // The names were not counted before: these are news, two of chat, and one in an inbox.
    bob.insert("chat/3", json!(1)).await;
    bob.try_insert("chat/4", json!(1)).await.refused(409, "too_many_names");
    bob.remove("chat/1").await.ok();
    bob.insert("chat/4", json!(1)).await;

    let expected = bob.get("/events").await.ok().json();
    let server = server.end_and_restart(format == 2).await;
    let bob = server.client().sign_in("bob").await;
    assert_eq!(bob.get("/events").await.ok().json(), expected);
    assert_eq!(history(&bob, "newest").await, [4, 3].map(Value::from));
}

/// The data of a name's history, the newest first.
async fn data(user: &User, name: &str) -> Vec<String> {
    let page = user.history(&format!("event={name}&limit=1000")).await;
    let mut oldest_first = user.history(&format!("event={name}&limit=1000&order=oldest")).await.events;
    oldest_first.reverse();
    assert_eq!(page.events, oldest_first);
    page.events.into_iter().map(|event| event.data).collect()
}

#[tokio::test]
async fn a_database_of_format_3_is_as_it_was_left_and_goes_on_also_if_it_is_killed_as_it_is_opened() {
    let directory = unpack(3);
    let flags = ["--retain_for=3000000000", "--max_event_bytes=1048576", "--max_names=6"].map(str::to_owned);
    for attempt in 0..6 {
        let mut child = command(&flags, directory.path()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(1 + attempt * 7)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let server = TestServer::try_start(directory, move |directory| command(&flags, directory)).await.unwrap();
    let client = server.client();
    let (alice, bob) = (client.sign_in("alice").await, client.sign_in("bob").await);
    client.login("mallory", &password_of("mallory")).await.refused(401, "unauthorized");
    let id = |position: u64| format!("{position:016}523064");
    // What expires, and what was bound to a stream, goes.
    let is_gone = async || (bob.latest("/events?events=offer,cursor/*").await.is_empty()).then_some(());
    until("what was to go", is_gone).await;
    let latest = alice.latest("/events").await;
    assert_eq!(names(&latest), ["old", "flood", "large", "doc", "@alice/x"]);
    assert_eq!(latest.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), [1, 23, 24, 27, 29].map(id));
    assert_eq!(latest[2].data.len(), 150_002);
    assert_eq!(data(&bob, "doc").await, ["\"third\"", "\"second\"", "\"draft\""]);
    assert_eq!(data(&bob, "offer").await, ["null", "\"soon over\""]);
    let flood: Vec<_> = (11..=20).rev().map(|number| number.to_string()).collect();
    assert_eq!((data(&bob, "flood").await, data(&bob, "old").await), (flood, vec!["\"kept\"".to_owned()]));
    // From below the floor, what changed; from above it, everything.
    let positions = async |after: u64| {
        let came = bob.coming("/sse?except=offer,cursor/*", Some(&id(after))).await;
        came.into_iter().map(|event| event.id[..16].parse().unwrap()).collect::<Vec<u64>>()
    };
    assert_eq!(positions(3).await, [23, 24, 27, 28]);
    assert_eq!(positions(20).await, [21, 22, 23, 24, 25, 26, 27, 28]);

    // Names have transient events beside what was left, on either side of the floor.
    let given = json!([transient("old", 1), transient("doc", 2), transient("gone", 3)]);
    let given: Vec<Receipt> = bob.insert_raw(given).await.read();
    let (mark, server) = (alice.latest("/events?events=mark").await.remove(0), server.end_and_restart(true).await);
    let (alice, bob) = (server.client().sign_in("alice").await, server.client().sign_in("bob").await);
    let mut expected = latest;
    expected.push(mark);
    assert_eq!(alice.latest("/events").await, expected);
    assert_eq!(data(&bob, "old").await, ["1", "\"kept\""]);
    assert_eq!(data(&bob, "doc").await, ["2", "\"third\"", "\"second\"", "\"draft\""]);
    assert_eq!(data(&bob, "gone").await, ["3", "null"]);
    let came = bob.coming("/sse", Some(&given[0].id)).await;
    assert_eq!(
        came.into_iter().map(|event| event.id).collect::<Vec<_>>(),
        [&given[1].id, &given[2].id].map(Clone::clone)
    );
    // Six names are there by now.
    bob.try_insert("seventh", json!(1)).await.refused(409, "too_many_names");
    bob.insert("old", json!("new")).await;
    assert_eq!(data(&bob, "old").await, ["\"new\"", "1"]);
}

#[tokio::test]
async fn a_database_of_format_4_is_as_it_was_left_and_goes_on() {
    let flags = ["--retain_for=3000000000", "--max_event_bytes=1048576"].map(str::to_owned);
    let server = TestServer::try_start(unpack(4), move |directory| command(&flags, directory)).await.unwrap();
    let (alice, bob) = (server.client().sign_in("alice").await, server.client().sign_in("bob").await);
    // A value and a transient event expire.
    let is_gone = async || {
        let left = [data(&bob, "lobby").await.len(), bob.latest("/events?events=offer").await.len()];
        (left == [0, 0]).then_some(())
    };
    until("what was to go", is_gone).await;
    assert_eq!(data(&bob, "offer").await, ["null", "\"soon over\""]);
    let latest = bob.latest("/events").await;
    assert_eq!(names(&latest), ["large", "doc"]);
    assert_eq!([&latest[0].id, &latest[1].id], ["0000000000000004449836", "0000000000000009290162"]);
    let large = [format!("\"{}\"", "y".repeat(120_000)), format!("\"{}\"", "x".repeat(150_000))];
    assert_eq!(data(&bob, "large").await, large);
    let doc = ["\"third\"", "\"second\"", r#"{"b":1.0,"a":[12345678901234567890]}"#];
    assert_eq!(
        (data(&bob, "doc").await, data(&bob, "gone").await),
        (doc.map(str::to_owned).to_vec(), vec!["null".to_owned(), "1".to_owned()])
    );

    // The next rows are of the new format: a value tells when it expires.
    let value = json!({ "event": "doc", "data": "fourth", "expires_in": 3600 });
    let transient = json!({ "event": "doc", "data": "fifth", "expires_in": 3600, "transient": true });
    alice.insert_raw(json!([value, transient])).await.ok();
    let server = server.end_and_restart(true).await;
    let bob = server.client().sign_in("bob").await;
    let doc: Vec<_> = ["\"fifth\"", "\"fourth\""].into_iter().chain(doc).map(str::to_owned).collect();
    assert_eq!(data(&bob, "doc").await, doc);
    assert_eq!(data(&bob, "large").await, large);
}

#[tokio::test]
async fn a_database_of_format_1_is_as_it_was_left_and_goes_on() {
    is_as_it_was_left_and_goes_on(1, 463_585).await;
}

#[tokio::test]
async fn a_database_of_format_2_with_a_journal_is_as_it_was_left_and_goes_on() {
    is_as_it_was_left_and_goes_on(2, 273_047).await;
}
