//! How a client signs in, and which stream it wants.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::body::refuse_event;
use super::signed_in::SignedIn;
use crate::app::{LastSeen, Services, StreamQuery};
use crate::central::TicketUse;
use crate::domain::EventFilter;
use crate::error::Error;
use crate::events::{GoesOnFor, StreamId, StreamOptions, SubscribeRequest};

/// Who a client is, and the stream that is wanted, as in the query of `/sse`.
#[derive(Deserialize)]
pub struct SignIn<'a> {
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ticket: Option<Cow<'a, str>>,
    #[serde(borrow)]
    events: Option<Cow<'a, str>>,
    #[serde(borrow)]
    except: Option<Cow<'a, str>>,
    /// `events` is often mistaken for it.
    event: Option<IgnoredAny>,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
    snapshot: Option<bool>,
    transient: Option<bool>,
    marks: Option<bool>,
    presence: Option<bool>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
}

/// A client that has signed in, and the stream that is to be opened for it.
pub struct Opening {
    /// Who it is.
    pub signed_in: SignedIn,
    /// The stream.
    pub request: SubscribeRequest,
}

impl SignIn<'_> {
    /// Signs in, and prepares the stream.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`]; [`Error::ParameterMeant`]; [`Error::FilterInvalid`]; [`Error::Unauthorized`]; those of
    /// [`Events::subscribe`](crate::app::Events::subscribe).
    pub async fn open(&self, services: &Services) -> Result<Opening, Error> {
        self.open_by(services, |_| None).await
    }

    /// The same, for a stream that goes on after what `known` says that this user has seen, if it says so.
    ///
    /// # Errors
    /// As [`SignIn::open`].
    pub async fn open_by(
        &self,
        services: &Services,
        known: impl FnOnce(&str) -> Option<LastSeen>,
    ) -> Result<Opening, Error> {
        refuse_event(self.event)?;
        let (principal, ticket) = match (&self.token, &self.ticket) {
            (Some(token), None) => (services.identity.bearer(token)?, None),
            (None, Some(ticket)) => (services.identity.by_ticket(ticket, [], TicketUse::Look).await?.0, Some(ticket)),
            _ => return Err(Error::BodyInvalid("it takes either a token or a ticket".to_owned())),
        };
        let named = || LastSeen::parse(self.after.as_deref().unwrap_or_default());
        let last_seen = known(principal.username.as_str()).unwrap_or_else(named);
        let request = services.events.subscribe(&principal, self.query(last_seen)?)?;
        // This may refuse the stream as well, and comes last: a ticket is spent only by a stream that opens.
        if let Some(ticket) = ticket {
            services.identity.by_ticket(ticket, [], TicketUse::Open).await?;
        }
        let signed_in = SignedIn::new(principal, ticket.is_some(), request.presence_guard.id);
        Ok(Opening { signed_in, request })
    }

    fn query(&self, last_seen: LastSeen) -> Result<StreamQuery, Error> {
        Ok(StreamQuery {
            filter: self.filter()?,
            last_seen,
            goes_on: match self.stream.as_deref() {
                Some(stream) => StreamId::parse(stream).map_or(GoesOnFor::None, GoesOnFor::This),
                None => GoesOnFor::Last,
            },
            snapshot: self.snapshot.unwrap_or(true),
            options: StreamOptions {
                marks: self.marks.unwrap_or_default(),
                presence: self.presence.unwrap_or_default(),
                transient: self.transient.unwrap_or(true),
                ..StreamOptions::default()
            },
        })
    }

    /// The names that the stream is to give: all of them if nothing is said; none if `events` is empty, so that they can be added.
    fn filter(&self) -> Result<EventFilter, Error> {
        let events = self.events.as_deref();
        if events.is_some_and(|events| events.trim().is_empty()) {
            let nothing = EventFilter::names([]);
            return self.except.as_deref().map_or(Ok(nothing.clone()), |except| nothing.except(except));
        }
        EventFilter::of_lists(events, self.except.as_deref())
    }
}
