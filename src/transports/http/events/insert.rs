use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::{App, InsertOptions};
use crate::domain::{EventId, EventName, Payload, PayloadError};
use crate::error::Error;
use crate::events::{Condition, IdempotencyKey, Inserted, Lifetime, MAX_EVENTS_AT_ONCE, NewEvent};
use crate::identity::Principal;
use crate::transports::http::extract::{ByUser, Json, OneOrMore};
use crate::transports::http::reply::{self, Reply};
use crate::transports::http::sse::stream_id;

/// The body of `/insert`, or one of several in an array.
#[derive(Deserialize)]
pub struct InsertBody {
    event: String,
    /// Raw, so that no digit or key of it changes.
    data: Box<RawValue>,
    expires_in: Option<u64>,
    while_connected: Option<bool>,
}

impl InsertBody {
    fn parse(self, app: &App) -> Result<NewEvent, Error> {
        let name = EventName::parse(&self.event)?;
        let data = Payload::from_valid_json(self.data.get()).map_err(|PayloadError::TooDeep| Error::DataTooDeep)?;
        let lifetime = Lifetime { expires_in: self.expires_in, while_connected: self.while_connected.unwrap_or(false) };
        app.events.new_event(name, data, lifetime)
    }
}

/// The body of `/remove`.
#[derive(Deserialize)]
pub struct RemoveBody {
    event: String,
}

/// The answer to an insert.
#[derive(Serialize)]
struct InsertedView {
    id: String,
    timestamp: u64,
}

/// `POST /insert`: one event, or several in an array.
pub async fn insert(app: App, request: HttpRequest, ByUser(principal, bodies): ByUser<OneOrMore<InsertBody>>) -> Reply {
    let OneOrMore { values, is_array } = bodies;
    if is_array && !(1..=MAX_EVENTS_AT_ONCE).contains(&values.len()) {
        return Err(Error::BodyInvalid(format!("an array must hold 1 to {MAX_EVENTS_AT_ONCE} inserts")));
    }
    let (condition, key) = (condition(&app, request.headers())?, idempotency_key(request.headers())?);
    if is_array && condition != Condition::None {
        return Err(Error::PreconditionInvalid);
    }
    let while_connected = values.iter().any(|body| body.while_connected == Some(true));
    let stream = while_connected.then(|| stream_id(request.headers()).ok_or(Error::StreamUnknown)).transpose()?;
    let events = values.into_iter().map(|body| body.parse(&app)).collect::<Result<_, _>>()?;
    insert_or_refuse(&app, principal, events, is_array, InsertOptions { condition, key, stream }).await
}

/// `POST /remove`: a name, with the event under it.
pub async fn remove(app: App, request: HttpRequest, ByUser(principal, Json(body)): ByUser<Json<RemoveBody>>) -> Reply {
    let (condition, key) = (condition(&app, request.headers())?, idempotency_key(request.headers())?);
    if condition == Condition::IsNew {
        // A name that is not there cannot be removed.
        return Err(Error::PreconditionInvalid);
    }
    let removal = NewEvent::removal(EventName::parse(&body.event)?)?;
    insert_or_refuse(&app, principal, vec![removal], false, InsertOptions { condition, key, stream: None }).await
}

/// Inserts. If the precondition fails, the answer has the event that is there instead.
async fn insert_or_refuse(
    app: &App,
    principal: Principal,
    events: Vec<NewEvent>,
    is_array: bool,
    options: InsertOptions,
) -> Reply {
    match app.events.insert(principal, events, is_array, options).await {
        Err(ref error @ Error::PreconditionFailed(ref current)) => {
            let current = current.as_deref().map(|event| app.events.view(event)).transpose()?;
            Ok(reply::refusal_with_current(error, current.as_ref()))
        }
        inserted => answer(app, &inserted?, is_array),
    }
}

fn answer(app: &App, inserted: &Inserted, is_array: bool) -> Result<HttpResponse, Error> {
    let timestamp = inserted.timestamp.as_millis();
    let mut views = app.events.ids_of(inserted).map(|id| InsertedView { id: id.to_string(), timestamp });
    let mut response = if is_array { reply::json(&views.collect::<Vec<_>>()) } else { reply::json(&views.next()) }?;
    if inserted.is_replayed {
        let name = header::HeaderName::from_static("idempotency-replayed");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Error> {
    headers.get("idempotency-key").map(|key| IdempotencyKey::parse(key.as_bytes())).transpose()
}

/// Reads `if-match` with an id, bare or as an entity tag (RFC 9110, section 13.1.1), or `if-none-match: *`.
fn condition(app: &App, headers: &HeaderMap) -> Result<Condition, Error> {
    match (headers.get(header::IF_MATCH), headers.get(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::None),
        (None, Some(star)) if star.as_bytes().trim_ascii() == b"*" => Ok(Condition::IsNew),
        (Some(id), None) => {
            let id = id.to_str().map_err(|_| Error::PreconditionInvalid)?.trim();
            let id = id.strip_prefix('"').and_then(|id| id.strip_suffix('"')).unwrap_or(id);
            let id = EventId::parse(id).ok_or(Error::PreconditionInvalid)?;
            Ok(Condition::IsAt(app.events.position_of(id)))
        }
        _ => Err(Error::PreconditionInvalid),
    }
}
