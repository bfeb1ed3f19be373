//! What is written and read without a stream: `/insert`, `/remove`, `/events`, `/history`.

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::extract::{ByUser, Json, OneOrMore};
use super::is_head;
use super::listing::Listing;
use super::reply::{self, Reply};
use super::sse;
use crate::app::{App, Sight, Terms};
use crate::domain::{EventFilter, EventId, EventName, Payload, PayloadError, Position};
use crate::error::Error;
use crate::events::{Condition, IdempotencyKey, Inserted, Lasts, MAX_EVENTS_AT_ONCE, NewEvent, StreamId};
use crate::identity::Principal;
use crate::store::{HistoryQuery, Store, StoredEvent};

/// How many events `/history` gives where nothing is said.
const HISTORY_LIMIT: usize = 100;
/// How many it gives at most.
const MAX_HISTORY_LIMIT: usize = 1000;

/// What an insert carries.
#[derive(Deserialize)]
pub struct InsertBody {
    event: String,
    /// Raw, so that not a digit or key of it changes.
    data: Box<RawValue>,
    expires_in: Option<u64>,
    while_connected: Option<bool>,
}

impl InsertBody {
    fn parse(self, max_bytes: usize) -> Result<NewEvent, Error> {
        let name = EventName::parse(&self.event)?;
        let data = Payload::from_valid_json(self.data.get()).map_err(|PayloadError::TooDeep| Error::DataTooDeep)?;
        let lasts = Lasts { expires_in: self.expires_in, while_connected: self.while_connected.unwrap_or(false) };
        NewEvent::new(name, data, lasts, max_bytes)
    }
}

/// What a removal carries.
#[derive(Deserialize)]
pub struct RemoveBody {
    event: String,
}

/// What an insert is answered.
#[derive(Serialize)]
struct InsertedView {
    id: String,
    timestamp: u64,
}

/// An event as it is returned everywhere.
#[derive(Serialize)]
pub struct EventView<'a> {
    event: &'a str,
    data: &'a RawValue,
    id: String,
    timestamp: u64,
    username: &'a str,
}

impl<'a> EventView<'a> {
    /// What the store gives, as it is returned.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn of(store: &Store, event: &StoredEvent<'a>) -> Result<Self, Error> {
        let damaged = || Error::Damaged(format!("the event at position {} is damaged", event.position.get()));
        Ok(Self {
            event: event.name,
            data: serde_json::from_str(event.data).map_err(|_| damaged())?,
            id: store.event_id(event.position).to_string(),
            timestamp: event.timestamp.as_millis(),
            username: std::str::from_utf8(event.username).map_err(|_| damaged())?,
        })
    }
}

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
    let stream = while_connected.then(|| sse::stream_id(request.headers()).ok_or(Error::StreamUnknown)).transpose()?;
    let max_bytes = app.limits.event_bytes;
    let events = values.into_iter().map(|body| body.parse(max_bytes)).collect::<Result<_, _>>()?;
    let inserted = insert_or_refuse(&app, principal, events, is_array, Terms { condition, key, stream }).await?;
    inserted.map_or_else(Ok, |inserted| answer(&app, inserted, is_array))
}

pub async fn remove(app: App, request: HttpRequest, ByUser(principal, Json(body)): ByUser<Json<RemoveBody>>) -> Reply {
    let (condition, key) = (condition(&app, request.headers())?, idempotency_key(request.headers())?);
    if condition == Condition::IsNew {
        // What is not there cannot be removed.
        return Err(Error::PreconditionInvalid);
    }
    let removal = NewEvent::removal(EventName::parse(&body.event)?)?;
    let inserted =
        insert_or_refuse(&app, principal, vec![removal], false, Terms { condition, key, stream: None }).await?;
    inserted.map_or_else(Ok, |inserted| answer(&app, inserted, false))
}

/// Inserts; where the condition does not hold the answer says what there is instead.
async fn insert_or_refuse(
    app: &App,
    principal: Principal,
    events: Vec<NewEvent>,
    is_array: bool,
    terms: Terms,
) -> Result<Result<Inserted, HttpResponse>, Error> {
    match app.insert(principal, events, is_array, terms).await {
        Err(ref error @ Error::PreconditionFailed(ref current)) => {
            let current = current.as_deref().map(|event| {
                let (name, data) = (event.name.as_str(), event.data.as_str());
                let (username, timestamp) = (event.username.as_str().as_bytes(), event.timestamp);
                let (position, is_removal) = (event.position, event.is_removal);
                StoredEvent { position, name, data, is_removal, timestamp, username }
            });
            let current = current.map(|event| EventView::of(&app.store, &event)).transpose()?;
            Ok(Err(reply::refusal_with_current(error, current.as_ref())))
        }
        other => other.map(Ok),
    }
}

fn answer(app: &App, inserted: Inserted, is_array: bool) -> Reply {
    let Inserted { first, count, timestamp, is_replayed } = inserted;
    let view = |number| InsertedView {
        id: app.store.event_id(Position::new(first.get() + number)).to_string(),
        timestamp: timestamp.as_millis(),
    };
    let mut response =
        if is_array { reply::json(&(0..count).map(view).collect::<Vec<_>>()) } else { reply::json(&view(0)) }?;
    if is_replayed {
        let name = header::HeaderName::from_static("idempotency-replayed");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Error> {
    headers.get("idempotency-key").map(|key| IdempotencyKey::parse(key.as_bytes())).transpose()
}

/// `if-match` with an id, bare or as an entity tag (RFC 9110, section 13.1.1), or `if-none-match: *`.
fn condition(app: &App, headers: &HeaderMap) -> Result<Condition, Error> {
    match (headers.get(header::IF_MATCH), headers.get(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Condition::None),
        (None, Some(star)) if star.as_bytes().trim_ascii() == b"*" => Ok(Condition::IsNew),
        (Some(id), None) => {
            let id = id.to_str().map_err(|_| Error::PreconditionInvalid)?.trim();
            let id = id.strip_prefix('"').and_then(|id| id.strip_suffix('"')).unwrap_or(id);
            let id = EventId::parse(id).ok_or(Error::PreconditionInvalid)?;
            Ok(Condition::IsAt(app.store.position_of(id)))
        }
        _ => Err(Error::PreconditionInvalid),
    }
}

/// Names a stream, and what it is to want from now on.
#[derive(Deserialize)]
pub struct SubscriptionBody {
    stream: String,
    events: Option<String>,
    except: Option<String>,
}

/// `POST /subscription`: another filter for an open stream.
pub async fn subscription(app: App, ByUser(principal, Json(body)): ByUser<Json<SubscriptionBody>>) -> Reply {
    let filter = sse::filter(body.events.as_deref(), body.except.as_deref())?;
    let stream = StreamId::parse(&body.stream).ok_or(Error::StreamUnknown)?;
    // The body took its time, and the user may have been shut out meanwhile, and have come back in by another sign-in.
    app.identity.recheck(&principal)?;
    app.hub.change_filter(&principal.username, stream, filter).await?;
    Ok(reply::empty())
}

/// `GET /presence`: who is there.
pub async fn presence(app: App, principal: Principal) -> Reply {
    reply::json(&app.hub.people(&principal.account.tenant))
}

#[derive(Deserialize)]
struct LatestParameters {
    events: Option<String>,
    except: Option<String>,
}

/// `GET /events`: the latest of each name.
pub async fn latest(app: App, principal: Principal, request: HttpRequest) -> Reply {
    let Query(LatestParameters { events, except }) =
        Query::from_query(request.query_string()).map_err(|_| Error::QueryInvalid)?;
    let filter = sse::filter(events.as_deref(), except.as_deref())?;
    if is_head(&request) {
        return Ok(reply::empty());
    }
    let reader = app.reader(principal, filter);
    let (sight, (first, rest)) = reader.read(Listing::begin).await?;
    Ok(match rest {
        None => reply::json_text(first),
        Some(rest) => reply::json_stream(first, rest.stream(reader, sight)),
    })
}

#[derive(Deserialize)]
struct HistoryParameters {
    event: String,
    after: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
    order: Option<Order>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Order {
    Newest,
    Oldest,
}

#[derive(Serialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// `GET /history`: what is kept of one name.
pub async fn history(app: App, principal: Principal, request: HttpRequest) -> Reply {
    let Query(HistoryParameters { event, after, before, limit, order }) =
        Query::from_query(request.query_string()).map_err(|_| Error::QueryInvalid)?;
    let limit = limit.unwrap_or(HISTORY_LIMIT);
    if !(1..=MAX_HISTORY_LIMIT).contains(&limit) {
        return Err(Error::QueryInvalid);
    }
    let name = EventName::parse(&event)?;
    let after = position(&app.store, after)?.unwrap_or(Position::START);
    let before = position(&app.store, before)?.unwrap_or(Position::END);
    let oldest_first = order == Some(Order::Oldest);
    if is_head(&request) {
        return Ok(reply::empty());
    }
    let page = move |store: &Store, Sight { tenant, view }: &Sight| {
        // What may not be seen is not told from what is not there.
        if !view.allows(name.as_str()) {
            return Ok(Page { events: Vec::new(), next: None });
        }
        let (tenant, name) = (tenant.clone(), name.clone());
        page(store, &HistoryQuery { tenant, name, after, before, limit, oldest_first })
    };
    let (_, page) = app.reader(principal, EventFilter::ALL).read(page).await?;
    reply::json(&page)
}

fn position(store: &Store, id: Option<String>) -> Result<Option<Position>, Error> {
    let Some(id) = id else { return Ok(None) };
    let id = EventId::parse(&id).ok_or(Error::QueryInvalid)?;
    store.position_of(id).ok_or(Error::IdUnknown).map(Some)
}

fn page(store: &Store, query: &HistoryQuery) -> Result<Page, Error> {
    let mut events = Vec::new();
    let next = store.history(query, |event| {
        let view = EventView::of(store, &event)?;
        events.push(serde_json::value::to_raw_value(&view).map_err(|error| Error::Internal(error.to_string()))?);
        Ok(())
    })?;
    Ok(Page { events, next: next.map(|position| store.event_id(position).to_string()) })
}
