//! An event that is to be inserted.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::domain::{DEFAULT_EVENT_BYTES, EventName, MAX_EVENT_BYTES, MAX_EXPIRES_IN, Payload, Published};
use crate::error::Error;

/// An event that is to be inserted under a name, or the removal of the name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "NewEventForm")]
pub struct NewEvent {
    pub(super) name: EventName,
    /// `None` removes the name.
    pub(super) data: Option<Payload>,
    /// In milliseconds.
    pub(super) expires_in: Option<u64>,
    /// Whether it is removed when its user's stream has gone.
    pub(super) while_connected: bool,
    /// Whether it is never the latest event of its name.
    pub(super) transient: bool,
    /// Whether it removes its name instead, if the name has a value.
    pub(super) clears: bool,
    /// What it has beside its data if it is published over MQTT.
    pub(super) published: Option<Arc<Published>>,
}

/// A [`NewEvent`] as another process sends it, of whom it is not taken for granted that it has checked it.
#[derive(Deserialize)]
struct NewEventForm {
    name: EventName,
    data: Option<Payload>,
    expires_in: Option<u64>,
    while_connected: bool,
    transient: bool,
    clears: bool,
    published: Option<Arc<Published>>,
}

impl TryFrom<NewEventForm> for NewEvent {
    type Error = Error;

    fn try_from(form: NewEventForm) -> Result<Self, Error> {
        let NewEventForm { name, data, expires_in, while_connected, transient, clears, published } = form;
        let event = Self { name, data, expires_in, while_connected, transient, clears, published };
        if event.name.is_reserved() {
            return Err(Error::EventNameReserved);
        }
        if event.data.is_some() && !event.name.is_trimmed() {
            return Err(Error::EventNameInvalid);
        }
        if event.expires_in.is_some_and(|millis| !(1000..=MAX_EXPIRES_IN * 1000).contains(&millis)) {
            return Err(Error::ExpiryInvalid);
        }
        if event.transient && (event.while_connected || event.data.is_none()) {
            return Err(Error::TransientInvalid);
        }
        if event.bytes() > MAX_EVENT_BYTES { Err(Error::EventTooLarge(MAX_EVENT_BYTES)) } else { Ok(event) }
    }
}

/// How long an event lasts, if nothing else is inserted under its name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lifetime {
    /// So many seconds; `None` is for ever.
    pub expires_in: Option<u64>,
    /// As long as its user's stream is connected.
    pub while_connected: bool,
    /// It is delivered and retained like others, but never is the latest event of its name. With `expires_in` it leaves
    /// the history and the resumption of streams after that time, and no removal tells so.
    pub transient: bool,
}

impl NewEvent {
    /// An event with data.
    ///
    /// # Errors
    /// [`Error::EventNameInvalid`] for a name that a client may take for another; [`Error::EventNameReserved`];
    /// [`Error::EventTooLarge`] if name and data together have more than `max_bytes`;
    /// [`Error::ExpiryInvalid`] for less than a second, or more than [`MAX_EXPIRES_IN`];
    /// [`Error::TransientInvalid`] for a transient event that is to end with a stream: nothing would be removed then.
    pub fn new(name: EventName, data: Payload, lifetime: Lifetime, max_bytes: usize) -> Result<Self, Error> {
        let Lifetime { expires_in, while_connected, transient } = lifetime;
        if !name.is_trimmed() {
            return Err(Error::EventNameInvalid);
        }
        if name.is_reserved() {
            return Err(Error::EventNameReserved);
        }
        if name.as_str().len() + data.as_str().len() > max_bytes {
            return Err(Error::EventTooLarge(max_bytes));
        }
        if expires_in.is_some_and(|seconds| !(1..=MAX_EXPIRES_IN).contains(&seconds)) {
            return Err(Error::ExpiryInvalid);
        }
        if transient && while_connected {
            return Err(Error::TransientInvalid);
        }
        let expires_in = expires_in.map(|seconds| seconds * 1000);
        let (data, clears, published) = (Some(data), false, None);
        Ok(Self { name, data, expires_in, while_connected, transient, clears, published })
    }

    /// An event that is published over MQTT, with data that [`PayloadForm::read`](crate::domain::PayloadForm::read) made of the
    /// payload. A retained message is an event that is not transient. With an empty payload it clears the name: it removes it if it has
    /// a value, and else is a transient event (MQTT 5.0, 3.3.1.3).
    ///
    /// # Errors
    /// As [`NewEvent::new`], but it is topic, payload and properties that may have `max_bytes`, or about [`DEFAULT_EVENT_BYTES`] in a
    /// message that clears: what its publisher knows, whatever the data that the payload becomes has. The event, as it is kept, may have
    /// [`MAX_EVENT_BYTES`].
    pub fn published(
        name: EventName,
        data: Payload,
        published: Published,
        lifetime: Lifetime,
        max_bytes: usize,
    ) -> Result<Self, Error> {
        let payload = published.form.payload_bytes(data.as_str()).len();
        let clears = !lifetime.transient && payload == 0;
        // A removal is always small enough for one row, so that its name need not know of any chunks.
        let max_bytes = if clears { max_bytes.min(DEFAULT_EVENT_BYTES - "null".len()) } else { max_bytes };
        let bytes = name.as_str().len() + payload + published.properties.bytes();
        let lifetime = Lifetime { transient: lifetime.transient || clears, ..lifetime };
        let event =
            Self { clears, published: Some(Arc::new(published)), ..Self::new(name, data, lifetime, MAX_EVENT_BYTES)? };
        let is_too_large = bytes > max_bytes || event.bytes() > MAX_EVENT_BYTES;
        if is_too_large { Err(Error::EventTooLarge(max_bytes)) } else { Ok(event) }
    }

    /// How many bytes its name and its data have, with what is kept beside the data.
    pub(super) fn bytes(&self) -> usize {
        let data = self.data.as_ref().map_or(0, |data| data.as_str().len());
        self.name.as_str().len() + data + self.published.as_ref().map_or(0, |published| published.bytes())
    }

    /// The removal of a name, which may be one that only earlier versions allowed.
    ///
    /// # Errors
    /// [`Error::EventNameReserved`].
    pub fn removal(name: EventName) -> Result<Self, Error> {
        if name.is_reserved() {
            return Err(Error::EventNameReserved);
        }
        let (expires_in, while_connected, transient, clears) = (None, false, false, false);
        Ok(Self { name, data: None, expires_in, while_connected, transient, clears, published: None })
    }
}
