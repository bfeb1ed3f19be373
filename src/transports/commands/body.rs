//! What a client sends with a command.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::app::{Events, InsertOptions};
use crate::domain::EventFilter;
use crate::error::Error;
use crate::events::{IdempotencyKey, StreamId};
use crate::transports::inserts::Inserts;
use crate::transports::json::parse;

/// The fields of a command, in an object.
#[derive(Deserialize)]
pub struct Body<'a> {
    /// What is asked for, if the object says so itself.
    #[serde(rename = "do", borrow)]
    pub verb: Option<Cow<'a, str>>,
    /// The number by which the answer names it, if it has one.
    #[serde(rename = "ref")]
    pub reference: Option<u64>,
    #[serde(skip)]
    text: &'a str,
    // Those of inserts, which are most frames, so that they are read at once.
    #[serde(borrow)]
    events: Option<&'a RawValue>,
    #[serde(borrow)]
    idempotency_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    if_match: Option<Cow<'a, str>>,
    #[serde(borrow)]
    if_none_match: Option<Cow<'a, str>>,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    SignIn,
    Subscribe,
    Unsubscribe,
    Insert,
    Remove,
    Renew,
    Ping,
}

#[derive(Deserialize)]
struct Subscribe<'a> {
    #[serde(borrow)]
    events: Option<Cow<'a, str>>,
    /// `events` is often mistaken for it.
    event: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Remove<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    transient: Option<bool>,
}

#[derive(Deserialize)]
struct Renew<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}

/// Refuses `event` where names are meant.
pub(super) fn refuse_event(event: Option<IgnoredAny>) -> Result<(), Error> {
    if event.is_some() { Err(Error::ParameterMeant { given: "event", meant: "events" }) } else { Ok(()) }
}

impl<'a> Body<'a> {
    /// Reads the object.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`].
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let body: Self = parse(text)?;
        Ok(Self { text, ..body })
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.text.len()
    }

    /// The names and prefixes of `subscribe` and `unsubscribe`.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`]; [`Error::ParameterMeant`]; [`Error::FilterInvalid`].
    pub fn names(&self) -> Result<EventFilter, Error> {
        let Subscribe { events, event } = parse(self.text)?;
        refuse_event(event)?;
        let events = events.ok_or_else(|| Error::BodyInvalid("missing field `events`".to_owned()))?;
        EventFilter::parse(&events)
    }

    /// What `insert` is to insert: the events in `events`, or else the one that the object itself is.
    ///
    /// # Errors
    /// Those of [`Inserts::parse`].
    pub fn inserts(&self, to: &Events) -> Result<Inserts, Error> {
        match self.events.map(RawValue::get) {
            None => Inserts::parse(self.text, to),
            Some(events) if events.starts_with('[') => Inserts::parse(events, to),
            Some(_) => Err(Error::BodyInvalid("events is not an array".to_owned())),
        }
    }

    /// What `remove` is to remove.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`]; those of [`Inserts::removal`].
    pub fn removal(&self) -> Result<Inserts, Error> {
        let Remove { event, transient } = parse(self.text)?;
        Inserts::removal(&event, transient)
    }

    /// The condition and the key of an insert or a removal. Events that are to end with a stream end with this one.
    ///
    /// # Errors
    /// [`Error::PreconditionInvalid`]; [`Error::IdempotencyKeyInvalid`].
    pub fn options(&self, inserts: &Inserts, stream: StreamId) -> Result<InsertOptions, Error> {
        let condition = inserts.condition(self.if_match.as_deref(), self.if_none_match.as_deref())?;
        let key = self.idempotency_key.as_deref().map(|key| IdempotencyKey::parse(key.as_bytes())).transpose()?;
        Ok(InsertOptions { condition, key, stream: inserts.while_connected.then_some(stream) })
    }

    /// The token of `renew`.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`].
    pub fn token(&self) -> Result<Cow<'a, str>, Error> {
        let Renew { token } = parse(self.text)?;
        Ok(token)
    }
}

impl Verb {
    /// Reads the name of a command.
    ///
    /// # Errors
    /// [`Error::CommandUnknown`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "sign_in" => Self::SignIn,
            "subscribe" => Self::Subscribe,
            "unsubscribe" => Self::Unsubscribe,
            "insert" => Self::Insert,
            "remove" => Self::Remove,
            "renew" => Self::Renew,
            "ping" => Self::Ping,
            _ => return Err(Error::CommandUnknown),
        })
    }
}
