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

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Answer, Kept, TestServer, User};

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

/// One insert as JSON.
fn one(event: &str, data: impl Into<Value>) -> Value {
    let data: Value = data.into();
    json!({ "event": event, "data": data })
}
