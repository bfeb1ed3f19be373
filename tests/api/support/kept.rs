//! Events as they are read by `/events` and `/history`.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Answer, Event};

/// The answer to an insert or a removal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    pub id: String,
    pub timestamp: u64,
}

/// An event as it is read: these fields and no other.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub event: String,
    /// As it stands in the answer.
    #[serde(deserialize_with = "as_it_stands")]
    pub data: String,
    pub id: String,
    pub timestamp: u64,
    pub username: String,
    /// There only if it is true.
    #[serde(default)]
    pub removed: bool,
    /// There only if it is true.
    #[serde(default)]
    pub transient: bool,
}

fn as_it_stands<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = <Box<RawValue> as Deserialize<'de>>::deserialize(deserializer)?;
    Ok(raw.get().to_owned())
}

/// A page of `/history`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    pub events: Vec<Kept>,
    /// Always there, if only as null.
    #[serde(deserialize_with = "Option::deserialize")]
    pub next: Option<String>,
}

impl Page {
    pub fn ids(&self) -> Vec<String> {
        self.events.iter().map(|event| event.id.clone()).collect()
    }
}

/// An event that has a name, wherever it was read.
pub trait Named {
    fn name(&self) -> &str;
}

impl Named for Kept {
    fn name(&self) -> &str {
        &self.event
    }
}

impl Named for Event {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The names of events, in their order.
pub fn names<T: Named>(events: &[T]) -> Vec<&str> {
    events.iter().map(Named::name).collect()
}

/// One insert as JSON.
pub fn one(event: &str, data: impl Into<Value>) -> Value {
    let data: Value = data.into();
    json!({ "event": event, "data": data })
}

/// The same of a transient event.
pub fn transient(event: &str, data: impl Into<Value>) -> Value {
    let data: Value = data.into();
    json!({ "event": event, "data": data, "transient": true })
}

/// The `current` of a refusal for a precondition.
#[track_caller]
pub fn current(answer: &Answer) -> Option<Kept> {
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
pub fn bad_request(answer: Answer) {
    let code = answer.code();
    answer.refused(400, &code);
}
