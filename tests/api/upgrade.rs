//! Guards databases of earlier formats, as they were left by Brokers that were killed: `upgrade/format-1.tgz` by that of 16.0.0, and
//! `upgrade/format-2.tgz` by one between that and the next, with its events still in the journal.

use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{Client, TestServer, User, command, password_of};

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

/// Starts on a database that was left, with the part of its ids that says which it is.
async fn start(format: u32, database: u64) -> (TestServer, impl Fn(usize) -> String) {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let archive = format!("{}/tests/api/upgrade/format-{format}.tgz", env!("CARGO_MANIFEST_DIR"));
    let unpacked = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(directory.path()).status().unwrap();
    assert!(unpacked.success());
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

#[tokio::test]
async fn a_database_of_format_1_is_as_it_was_left_and_goes_on() {
    is_as_it_was_left_and_goes_on(1, 463_585).await;
}

#[tokio::test]
async fn a_database_of_format_2_with_a_journal_is_as_it_was_left_and_goes_on() {
    is_as_it_was_left_and_goes_on(2, 273_047).await;
}
