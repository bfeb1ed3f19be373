use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::Event;
use crate::error::Error;
use crate::store::{Store, StoredEvent};

/// An event as every transport shows it, in JSON.
#[derive(Serialize)]
pub struct EventView<'a> {
    event: &'a str,
    data: &'a RawValue,
    id: String,
    timestamp: u64,
    username: &'a str,
}

impl<'a> EventView<'a> {
    /// The view of an event that was read from the store.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its data is no JSON, or its username no text.
    pub(super) fn of_stored(store: &Store, event: &'a StoredEvent<'_>) -> Result<Self, Error> {
        let damaged = || Error::Damaged(format!("the event at position {} is damaged", event.position.get()));
        Ok(Self {
            event: event.name,
            data: serde_json::from_str(&event.data).map_err(|_| damaged())?,
            id: store.event_id(event.position).to_string(),
            timestamp: event.timestamp.as_millis(),
            username: std::str::from_utf8(event.username).map_err(|_| damaged())?,
        })
    }

    /// The view of an event that the writer gave.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its data is no JSON.
    pub(super) fn of(store: &Store, event: &'a Event) -> Result<Self, Error> {
        let damaged = |_| Error::Damaged(format!("the event at position {} is damaged", event.position.get()));
        Ok(Self {
            event: event.name.as_str(),
            data: serde_json::from_str(event.data.as_str()).map_err(damaged)?,
            id: store.event_id(event.position).to_string(),
            timestamp: event.timestamp.as_millis(),
            username: event.username.as_str(),
        })
    }
}
