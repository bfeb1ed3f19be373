use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::domain::{EventFilter, FilterChange, Timestamp};
use crate::error::Error;
use crate::events::StreamId;
use crate::transports::http::extract::{ByUser, Json};
use crate::transports::http::reply::{self, Reply};

/// The body of `/subscription`: a stream, and the filter that it is to have from now on, or that it is to go on.
#[derive(Deserialize)]
pub struct Body {
    stream: String,
    renew: Option<bool>,
    events: Option<String>,
    except: Option<String>,
    /// `events` is often mistaken for it.
    event: Option<IgnoredAny>,
}

/// The answer: the number of the change, which the stream's next `$synced` has.
#[derive(Serialize)]
struct Changed {
    change: u32,
}

/// The answer to a renewal.
#[derive(Serialize)]
struct Renewed {
    /// When the stream ends, in milliseconds since 1970.
    expires_at: Option<u64>,
}

/// `POST /subscription`: another filter for an open stream, or a newer token.
pub async fn change(app: App, ByUser(principal, Json(body)): ByUser<Json<Body>>) -> Reply {
    if body.event.is_some() {
        return Err(Error::ParameterMeant { given: "event", meant: "events" });
    }
    let stream = StreamId::parse(&body.stream).ok_or(Error::StreamUnknown);
    if body.renew.unwrap_or_default() {
        if body.events.is_some() || body.except.is_some() {
            return Err(Error::BodyInvalid("it takes either renew, or events and except".to_owned()));
        }
        let expires_at = app.events.renew(&principal, stream?)?;
        return reply::json(&Renewed { expires_at: expires_at.map(Timestamp::as_millis) });
    }
    let filter = EventFilter::of_lists(body.events.as_deref(), body.except.as_deref())?;
    let stream = stream?;
    let change = app.events.change_filter(&principal, stream, FilterChange::Replace(filter))?.await?;
    reply::json(&Changed { change })
}
