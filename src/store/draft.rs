//! An event that is to be written.

use std::sync::Arc;

use crate::domain::{Event, EventKind, EventName, Payload, Position, Published, TenantName, Timestamp, Username};

/// An event that is to be written: all of it but its position and its moment.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The tenant, whose users will see it.
    pub tenant: TenantName,
    /// The user that inserts it.
    pub username: Username,
    /// Its name.
    pub name: EventName,
    /// Its data; `null` for a removal.
    pub data: Payload,
    /// What it does to its name.
    pub kind: EventKind,
    /// When it expires, if it does. A removal does not.
    pub expires_at: Option<Timestamp>,
    /// Whether it removes a name since its value has expired.
    pub by_expiry: bool,
    /// What it has beside its data if it came over MQTT.
    pub published: Option<Arc<Published>>,
}

impl Draft {
    /// An event that becomes the latest of its name.
    pub fn value(tenant: TenantName, username: Username, name: EventName, data: Payload) -> Self {
        let (kind, expires_at, by_expiry, published) = (EventKind::Value, None, false, None);
        Self { tenant, username, name, data, kind, expires_at, by_expiry, published }
    }

    /// A transient event. If it expires, it leaves the history then, and no event says so.
    pub fn transient(tenant: TenantName, username: Username, name: EventName, data: Payload) -> Self {
        Self { kind: EventKind::Transient, ..Self::value(tenant, username, name, data) }
    }

    /// The removal of a name that has a value. It is an event like others, with data `null`.
    pub fn removal(tenant: TenantName, username: Username, name: EventName) -> Self {
        Self { kind: EventKind::Removal, ..Self::value(tenant, username, name, Payload::null()) }
    }

    /// The event, as it is committed.
    pub(super) fn at(self, position: Position, timestamp: Timestamp) -> Event {
        let Self { tenant, username, name, data, kind, expires_at, by_expiry, published } = self;
        Event { position, tenant, name, username, timestamp, data, kind, expires_at, by_expiry, published }
    }
}
