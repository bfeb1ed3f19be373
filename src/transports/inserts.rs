//! What clients send to insert and remove events, and what they are answered: the same on every transport of our own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{parse, parse_all};
use crate::app::Events;
use crate::domain::{EventId, EventName, MAX_EVENT_BYTES, Payload, PayloadError};
use crate::error::Error;
use crate::events::{Condition, Inserted, Lifetime, MAX_BYTES_AT_ONCE, MAX_EVENTS_AT_ONCE, NewEvent};

/// How many bytes of JSON may hold an array of inserts, or one largest event with as much white space again.
pub const MAX_INSERT_BYTES: usize = 2 << 20;
const _: () = assert!(MAX_INSERT_BYTES >= 2 * MAX_EVENT_BYTES);
// All that is accepted can be committed: the data is part of it.
const _: () = assert!(MAX_INSERT_BYTES <= MAX_BYTES_AT_ONCE);

/// What is to be inserted together.
pub struct Inserts {
    /// The events.
    pub events: Vec<NewEvent>,
    /// Whether they came in an array.
    pub is_array: bool,
    /// Whether one of them is to end with its user's stream.
    pub while_connected: bool,
    /// Whether it is the removal of a name.
    is_removal: bool,
}

/// One event that is to be inserted.
#[derive(Deserialize)]
struct InsertBody<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    /// Raw, so that no digit or key of it changes.
    #[serde(borrow)]
    data: &'a RawValue,
    expires_in: Option<u64>,
    while_connected: Option<bool>,
    transient: Option<bool>,
}

impl Inserts {
    /// Reads one insert, or an array of 1 to [`MAX_EVENTS_AT_ONCE`].
    ///
    /// # Errors
    /// [`Error::BodyInvalid`]; [`Error::DataTooDeep`]; those of [`EventName::parse`] and [`NewEvent::new`].
    pub fn parse(text: &str, events: &Events) -> Result<Self, Error> {
        let is_array = text.trim_ascii_start().starts_with('[');
        let bodies: Vec<InsertBody<'_>> = if is_array { parse_all(text)? } else { vec![parse(text)?] };
        if is_array && !(1..=MAX_EVENTS_AT_ONCE).contains(&bodies.len()) {
            return Err(Error::BodyInvalid(format!("an array must hold 1 to {MAX_EVENTS_AT_ONCE} inserts")));
        }
        let while_connected = bodies.iter().any(|body| body.while_connected == Some(true));
        let events = bodies.into_iter().map(|body| body.into_event(events)).collect::<Result<_, _>>()?;
        Ok(Self { events, is_array, while_connected, is_removal: false })
    }

    /// The removal of a name, for a client that says whether it is to be transient: no removal can be.
    ///
    /// # Errors
    /// [`Error::TransientInvalid`]; those of [`EventName::parse`] and [`NewEvent::removal`].
    pub fn removal(name: &str, transient: Option<bool>) -> Result<Self, Error> {
        if transient == Some(true) {
            return Err(Error::TransientInvalid);
        }
        let removal = NewEvent::removal(EventName::parse(name)?)?;
        Ok(Self { events: vec![removal], is_array: false, while_connected: false, is_removal: true })
    }

    /// Their condition: `if-match` with an id, bare or as an entity tag (RFC 9110, section 13.1.1), or `if-none-match: *`.
    ///
    /// # Errors
    /// [`Error::PreconditionInvalid`] for anything else and for both; for an array; and for a name that is to be removed and must not
    /// be there.
    pub fn condition(&self, if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Condition, Error> {
        let condition = condition(if_match, if_none_match)?;
        let fits = match condition {
            Condition::None => true,
            Condition::IsNew => !self.is_array && !self.is_removal,
            Condition::IsAt(_) => !self.is_array,
        };
        if fits { Ok(condition) } else { Err(Error::PreconditionInvalid) }
    }
}

impl InsertBody<'_> {
    fn into_event(self, events: &Events) -> Result<NewEvent, Error> {
        let name = EventName::parse(&self.event)?;
        let data = Payload::from_valid_json(self.data.get()).map_err(|PayloadError::TooDeep| Error::DataTooDeep)?;
        let lifetime = Lifetime {
            expires_in: self.expires_in,
            while_connected: self.while_connected.unwrap_or(false),
            transient: self.transient.unwrap_or(false),
        };
        events.new_event(name, data, lifetime)
    }
}

fn condition(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Condition, Error> {
    match (if_match, if_none_match.map(str::trim)) {
        (None, None) => Ok(Condition::None),
        (None, Some("*")) => Ok(Condition::IsNew),
        (Some(id), None) => {
            let id = id.trim();
            let id = id.strip_prefix('"').and_then(|id| id.strip_suffix('"')).unwrap_or(id);
            EventId::parse(id).map(Condition::IsAt).ok_or(Error::PreconditionInvalid)
        }
        _ => Err(Error::PreconditionInvalid),
    }
}

/// Where and when an event was inserted, as its client is told.
#[derive(Serialize)]
pub struct Receipt {
    #[serde(serialize_with = "as_text")]
    id: EventId,
    timestamp: u64,
}

fn as_text<S: Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// What the client of an insert is told: of one event, or of each in an array.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Receipts {
    /// Of one.
    One(Receipt),
    /// Of each, in order.
    Each(Vec<Receipt>),
}

impl Receipts {
    /// The receipts of events that came in an array or alone.
    pub fn of(inserted: &Inserted, is_array: bool, events: &Events) -> Self {
        let timestamp = inserted.timestamp.as_millis();
        let mut receipts = events.ids_of(inserted).map(|id| Receipt { id, timestamp });
        match receipts.next() {
            Some(first) if !is_array => Self::One(first),
            first => Self::Each(first.into_iter().chain(receipts).collect()),
        }
    }
}
