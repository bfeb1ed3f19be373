//! The frames of a client.

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

/// A frame of a client: what it asks for, and the number by which the answer names it.
#[derive(Deserialize)]
pub struct Frame<'a> {
    #[serde(rename = "do", borrow)]
    verb: Option<Cow<'a, str>>,
    #[serde(rename = "ref")]
    reference: Option<u64>,
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

/// The body of `sign_in`: who it is, and the stream that is wanted, as in the query of `/sse`.
#[derive(Deserialize)]
pub struct SignIn<'a> {
    #[serde(borrow)]
    pub token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub ticket: Option<Cow<'a, str>>,
    #[serde(borrow)]
    events: Option<Cow<'a, str>>,
    #[serde(borrow)]
    except: Option<Cow<'a, str>>,
    /// `events` is often mistaken for it.
    event: Option<IgnoredAny>,
    #[serde(borrow)]
    pub after: Option<Cow<'a, str>>,
    pub snapshot: Option<bool>,
    pub transient: Option<bool>,
    pub marks: Option<bool>,
    pub presence: Option<bool>,
    #[serde(borrow)]
    pub stream: Option<Cow<'a, str>>,
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
fn refuse_event(event: Option<IgnoredAny>) -> Result<(), Error> {
    if event.is_some() { Err(Error::ParameterMeant { given: "event", meant: "events" }) } else { Ok(()) }
}

impl<'a> Frame<'a> {
    /// Reads a frame. If it is none, what could be read of its number is beside the error.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`]; [`Error::CommandUnknown`].
    pub fn parse(text: &'a str) -> Result<(Verb, u64, Self), (Option<u64>, Error)> {
        let frame: Self = parse(text).map_err(|error| (None, error))?;
        let reference = frame.reference;
        let missing = |field: &str| (reference, Error::BodyInvalid(format!("missing field `{field}`")));
        let reference = reference.ok_or_else(|| missing("ref"))?;
        let verb = frame.verb.as_deref().ok_or_else(|| missing("do"))?;
        let verb = Verb::parse(verb).ok_or((Some(reference), Error::CommandUnknown))?;
        Ok((verb, reference, Self { text, ..frame }))
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.text.len()
    }

    /// The body of `sign_in`.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`]; [`Error::ParameterMeant`].
    pub fn sign_in(&self) -> Result<SignIn<'a>, Error> {
        let body: SignIn<'a> = parse(self.text)?;
        refuse_event(body.event)?;
        Ok(body)
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

    /// What `insert` is to insert: the events in `events`, or else the one that the frame itself is.
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
    pub fn options(&self, inserts: &Inserts, stream: StreamId, to: &Events) -> Result<InsertOptions, Error> {
        let condition = inserts.condition(self.if_match.as_deref(), self.if_none_match.as_deref(), to)?;
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
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "sign_in" => Self::SignIn,
            "subscribe" => Self::Subscribe,
            "unsubscribe" => Self::Unsubscribe,
            "insert" => Self::Insert,
            "remove" => Self::Remove,
            "renew" => Self::Renew,
            "ping" => Self::Ping,
            _ => return None,
        })
    }
}

impl SignIn<'_> {
    /// The names that the stream is to give: all of them if nothing is said; none if `events` is empty, so that they can be added.
    ///
    /// # Errors
    /// [`Error::FilterInvalid`].
    pub fn filter(&self) -> Result<EventFilter, Error> {
        let events = self.events.as_deref();
        if events.is_some_and(|events| events.trim().is_empty()) {
            let nothing = EventFilter::names([]);
            return self.except.as_deref().map_or(Ok(nothing.clone()), |except| nothing.except(except));
        }
        EventFilter::of_lists(events, self.except.as_deref())
    }
}
