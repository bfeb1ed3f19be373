use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::domain::{EventFilter, FilterChange};
use crate::error::Error;
use crate::events::StreamId;
use crate::transports::http::extract::{ByUser, Json};
use crate::transports::http::reply::{self, Reply};

/// The body of `/subscription`: a stream, and the filter that it is to have from now on.
#[derive(Deserialize)]
pub struct Body {
    stream: String,
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

/// `POST /subscription`: another filter for an open stream.
pub async fn change(app: App, ByUser(principal, Json(body)): ByUser<Json<Body>>) -> Reply {
    if body.event.is_some() {
        return Err(Error::ParameterMeant { given: "event", meant: "events" });
    }
    let filter = EventFilter::of_lists(body.events.as_deref(), body.except.as_deref())?;
    let stream = StreamId::parse(&body.stream).ok_or(Error::StreamUnknown)?;
    let change = app.events.change_filter(&principal, stream, FilterChange::Replace(filter))?.await?;
    reply::json(&Changed { change })
}
