use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The answer to an insert or a removal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    pub id: String,
    pub timestamp: u64,
}

/// An event as it is read: these five fields and no other.
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
