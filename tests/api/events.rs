//! What becomes of events beyond one insert and one stream: arrays, retries, preconditions, removal, expiry, reading,
//! retention and limits.

mod batch;
mod blanks;
mod expiry;
mod idempotency;
mod large;
mod limits;
mod listing;
mod long_history;
mod maintenance;
mod preconditions;
mod reads;
mod removal;
mod reserved;
mod retention;
mod unread;

use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::{Answer, Event, TestServer, User, within};

/// What an insert or a removal is answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipt {
    id: String,
    timestamp: u64,
}

/// An event as it is read: these five fields and no other.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    event: String,
    /// As it stands in the answer.
    #[serde(deserialize_with = "as_it_stands")]
    data: String,
    id: String,
    timestamp: u64,
    username: String,
}

fn as_it_stands<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = <Box<RawValue> as Deserialize<'de>>::deserialize(deserializer)?;
    Ok(raw.get().to_owned())
}

/// A page of `/history`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    events: Vec<Kept>,
    /// Always there, if only as null.
    #[serde(deserialize_with = "Option::deserialize")]
    next: Option<String>,
}

impl Page {
    fn ids(&self) -> Vec<String> {
        self.events.iter().map(|event| event.id.clone()).collect()
    }
}

/// Sends a request with a user's authorization and more headers.
async fn send(user: &User, method: Method, path: &str, more: &[(&str, &str)], body: Option<String>) -> Answer {
    let mut headers = vec![("authorization", user.authorization.as_str())];
    headers.extend_from_slice(more);
    user.client.request(method, path, &headers, body.map(String::into_bytes)).await
}

async fn get(user: &User, path: &str) -> Answer {
    send(user, Method::GET, path, &[], None).await
}

/// Posts an insert, or an array of them, as it is.
async fn insert(user: &User, body: impl ToString) -> Answer {
    insert_with(user, &[], body).await
}

async fn insert_with(user: &User, headers: &[(&str, &str)], body: impl ToString) -> Answer {
    send(user, Method::POST, "/insert", headers, Some(body.to_string())).await
}

/// Posts to `/insert`; `None` where the server is gone before it has answered.
async fn insert_if_there(user: &User, headers: &[(&str, &str)], body: impl ToString) -> Option<Answer> {
    let url = format!("{}/insert", user.client.url);
    let mut request = user.client.http.post(url).header("authorization", &user.authorization);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body.to_string()).send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Some(Answer { status, headers, body: response.text().await.ok()? })
}

async fn remove(user: &User, event: &str) -> Answer {
    remove_with(user, &[], event).await
}

async fn remove_with(user: &User, headers: &[(&str, &str)], event: &str) -> Answer {
    send(user, Method::POST, "/remove", headers, Some(json!({ "event": event }).to_string())).await
}

/// Reads the body of a success.
#[track_caller]
fn read<T: DeserializeOwned>(answer: Answer) -> T {
    let answer = answer.ok();
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// What `/events` says, with the query that the path has.
async fn latest(user: &User, path: &str) -> Vec<Kept> {
    let mut events: Vec<Kept> = read(get(user, path).await);
    // They come by name.
    events.sort_by(|one, other| one.id.cmp(&other.id));
    events
}

/// A page of `/history`.
async fn history(user: &User, query: &str) -> Page {
    read(get(user, &format!("/history?{query}")).await)
}

/// The names of events, in their order.
fn names(events: &[Kept]) -> Vec<&str> {
    events.iter().map(|event| event.event.as_str()).collect()
}

/// The `current` of a refusal for a precondition.
#[track_caller]
fn current(answer: &Answer) -> Option<Kept> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Refusal {
        error: String,
        code: String,
        #[serde(deserialize_with = "Option::deserialize")]
        current: Option<Kept>,
    }
    assert_eq!((answer.status, answer.header("content-type")), (412, Some("application/json")), "{answer:?}");
    let refusal: Refusal = serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert!(refusal.code == "precondition_failed" && !refusal.error.is_empty(), "{answer:?}");
    refusal.current
}

/// That it is 400 in the form of all refusals, where the code may be any.
#[track_caller]
fn bad_request(answer: Answer) {
    let code = answer.code();
    answer.refused(400, &code);
}

/// What comes to somebody who opens a stream, up to now; the path must let the name `mark` through.
async fn coming(user: &User, path: &str, last_event_id: Option<&str>) -> Vec<Event> {
    let mut stream = user.stream_of(path, last_event_id).await;
    let mark = user.insert("mark", json!(null)).await;
    let mut events = Vec::new();
    loop {
        let event = stream.next().await;
        if event.id == mark {
            return events;
        }
        // An earlier one is of no interest.
        if event.name != "mark" {
            events.push(event);
        }
    }
}

/// Awaits what the server does by itself: asks until there is what is wanted.
async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    })
    .await
}

/// Kills the server as `kill -9` does and starts it anew: the server, and the same user there.
async fn after_kill(mut server: TestServer, user: &User) -> (TestServer, User) {
    server.kill();
    let server = server.restart().await;
    let user = again(&server, user);
    (server, user)
}

/// The same user at a server that was started anew: the token is as good as before.
fn again(server: &TestServer, user: &User) -> User {
    server.client().with_authorization(&user.authorization)
}

/// An id of the same place in another database.
fn foreign(id: &str) -> String {
    let (position, database) = id.split_at(16);
    format!("{position}{:06}", (database.parse::<u32>().unwrap() + 1) % 1_000_000)
}

/// An event for a subscriber.
fn frame(name: &str, id: &str, data: &str) -> Event {
    Event { name: name.to_owned(), id: id.to_owned(), data: data.to_owned() }
}

/// One insert as JSON.
fn one(event: &str, data: impl Into<Value>) -> Value {
    let data: Value = data.into();
    json!({ "event": event, "data": data })
}
