use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{EventName, Payload, Position, Published, TenantName, Timestamp, Username};

/// The largest size of an event that a server can allow, name and data together, in bytes of UTF-8 without white space
/// between tokens.
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// The largest size that is allowed by default.
pub const DEFAULT_EVENT_BYTES: usize = 100 << 10;

/// The longest time until an event expires, in seconds: a year.
pub const MAX_EXPIRES_IN: u64 = 365 * 24 * 60 * 60;

/// A committed event: it is on disk and has its position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its position in the order of all events.
    pub position: Position,
    /// The tenant, whose users see it.
    pub tenant: TenantName,
    /// Its name.
    pub name: EventName,
    /// The user that inserted it.
    pub username: Username,
    /// When it was committed.
    pub timestamp: Timestamp,
    /// Its data; `null` for a removal.
    pub data: Payload,
    /// What it does to its name.
    pub kind: EventKind,
    /// When it expires, if it does. A transient event then leaves the history; a value is removed by an event of its own.
    pub expires_at: Option<Timestamp>,
    /// Whether it is a removal since the value had expired, rather than by somebody.
    pub by_expiry: bool,
    /// What it has beside its data if it was published over MQTT.
    pub published: Option<Arc<Published>>,
}

/// What an event does to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// It is the latest event of the name from now on.
    Value,
    /// It removes the name.
    Removal,
    /// Neither. It is delivered and retained like the others, but is never the latest event of the name.
    Transient,
}

impl Event {
    /// How many bytes its data has, with what was published beside it.
    pub fn content_bytes(&self) -> usize {
        self.data.as_str().len() + self.published.as_ref().map_or(0, |published| published.bytes())
    }
}

#[cfg(test)]
impl Event {
    /// An event for tests, which change the fields that matter to them.
    pub fn example(position: u64, name: &str, data: &str) -> Self {
        Self {
            position: Position::new(position),
            tenant: TenantName::parse("acme").unwrap(),
            name: EventName::parse(name).unwrap(),
            username: Username::parse("zoe").unwrap(),
            timestamp: Timestamp::from_millis(1_795_327_184_269),
            data: Payload::from_stored(data),
            kind: EventKind::Value,
            expires_at: None,
            by_expiry: false,
            published: None,
        }
    }
}

/// Limits of what inserts leave in the database.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    /// Names per tenant.
    pub names: u64,
    /// Events per user that are bound to streams.
    pub bound: u64,
    /// Remembered idempotency keys per user.
    pub keys: u64,
}
