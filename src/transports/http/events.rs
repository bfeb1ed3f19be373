//! What is written and read without a stream: `/insert`, `/remove`, `/events`, `/history`.

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::extract::{ByUser, Json, OneOrMore};
use super::listing::{self, Form, Items, Rows, STEP_BYTES};
use super::reply::{self, Reply};
use super::request::is_head;
use super::sse;
use crate::app::{App, InsertOptions, ReadScope};
use crate::domain::{
    EventFilter, EventId, EventName, MAX_NAME_BYTES, Payload, PayloadError, Position, TenantName, Username,
};
use crate::error::Error;
use crate::events::{Condition, Hub, IdempotencyKey, Inserted, Lifetime, MAX_EVENTS_AT_ONCE, NewEvent, StreamId};
use crate::identity::Principal;
use crate::store::{History, HistoryQuery, LatestEvents, Page, Store, StoredEvent};

/// How many events `/history` gives where nothing is said.
const HISTORY_LIMIT: usize = 100;
/// How many events are on one page at most, there and of `/events`.
const MAX_LIMIT: usize = 1000;

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
        let lifetime = Lifetime { expires_in: self.expires_in, while_connected: self.while_connected.unwrap_or(false) };
        NewEvent::new(name, data, lifetime, max_bytes)
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
    pub fn of(store: &Store, event: &'a StoredEvent<'_>) -> Result<Self, Error> {
        let damaged = || Error::Damaged(format!("the event at position {} is damaged", event.position.get()));
        Ok(Self {
            event: event.name,
            data: serde_json::from_str(&event.data).map_err(|_| damaged())?,
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
    let inserted =
        insert_or_refuse(&app, principal, events, is_array, InsertOptions { condition, key, stream }).await?;
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
        insert_or_refuse(&app, principal, vec![removal], false, InsertOptions { condition, key, stream: None }).await?;
    inserted.map_or_else(Ok, |inserted| answer(&app, inserted, false))
}

/// Inserts; where the condition does not hold the answer says what there is instead.
async fn insert_or_refuse(
    app: &App,
    principal: Principal,
    events: Vec<NewEvent>,
    is_array: bool,
    terms: InsertOptions,
) -> Result<Result<Inserted, HttpResponse>, Error> {
    match app.insert(principal, events, is_array, terms).await {
        Err(ref error @ Error::PreconditionFailed(ref current)) => {
            let current = current.as_deref().map(|event| {
                let (name, data) = (event.name.as_str(), event.data.as_str().into());
                let (username, timestamp) = (event.username.as_str().as_bytes(), event.timestamp);
                let (position, is_removal) = (event.position, event.is_removal);
                StoredEvent { position, name, data, is_removal, timestamp, username }
            });
            let current = current.as_ref().map(|event| EventView::of(&app.store, event)).transpose()?;
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
    /// What `events` is often taken for.
    event: Option<IgnoredAny>,
}

/// `POST /subscription`: another filter for an open stream.
pub async fn subscription(app: App, ByUser(principal, Json(body)): ByUser<Json<SubscriptionBody>>) -> Reply {
    if body.event.is_some() {
        return Err(Error::ParameterMeant { given: "event", meant: "events" });
    }
    let filter = sse::filter(body.events.as_deref(), body.except.as_deref())?;
    let stream = StreamId::parse(&body.stream).ok_or(Error::StreamUnknown)?;
    // The body took its time, and the user may have been shut out meanwhile, and have come back in by another sign-in.
    app.identity.recheck(&principal)?;
    app.hub.change_filter(&principal.account.tenant, &principal.username, stream, filter).await?;
    Ok(reply::empty())
}

/// `GET /presence`: who is there.
pub async fn presence(app: App, principal: Principal) -> Reply {
    let (reader, hub) = (app.reader(principal, EventFilter::ALL)?, app.hub.clone());
    let people = move |scope: &ReadScope| People { hub: hub.clone(), tenant: scope.tenant.clone(), last: None };
    listing::answer(reader, Form::Array, people).await
}

/// Those who are there. Whoever comes or goes meanwhile is among them or not.
struct People {
    hub: Hub,
    tenant: TenantName,
    last: Option<Username>,
}

impl Rows for People {
    fn next(&mut self, _: &Store, items: &mut Items) -> Result<bool, Error> {
        let (people, is_more) = self.hub.people_after(&self.tenant, self.last.as_ref());
        people.iter().try_for_each(|person| items.push(person))?;
        self.last = people.into_iter().last().map(|person| person.username);
        Ok(is_more)
    }

    fn next_page(&self, _: &Store) -> Option<String> {
        None
    }
}

#[derive(Deserialize)]
struct LatestParameters {
    events: Option<String>,
    except: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /events`: the latest of each name.
pub async fn latest(app: App, principal: Principal, request: HttpRequest) -> Reply {
    let LatestParameters { events, except, after, limit } = sse::parameters(&request)?;
    let filter = sse::filter(events.as_deref(), except.as_deref())?;
    check_limit(limit)?;
    // A name of before, which may be none by the rules of today, is where a page may have ended.
    if after.as_ref().is_some_and(|name| !(1..=MAX_NAME_BYTES).contains(&name.len())) {
        return Err(Error::QueryInvalid);
    }
    if is_head(&request) {
        return Ok(reply::head_alone());
    }
    let rows = move |scope: &ReadScope| {
        let mut events = LatestEvents::new(scope.tenant.clone(), scope.view.clone());
        if let Some(after) = &after {
            events.start_after(after);
        }
        LatestRows { events, left: limit, last: None, is_more: false }
    };
    listing::answer(app.reader(principal, filter)?, Form::with_limit(limit, "events"), rows).await
}

/// The latest events of many names, or so many of them.
struct LatestRows {
    events: LatestEvents,
    /// How many may follow, if it is a page.
    left: Option<usize>,
    last: Option<String>,
    /// Whether there is one more than that.
    is_more: bool,
}

impl Rows for LatestRows {
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error> {
        let Self { events, left, last, is_more } = self;
        let goes_on = events.next(store, STEP_BYTES, |event| {
            if *left == Some(0) {
                *is_more = true;
                return Ok(true);
            }
            let Some(view) = store.unless_damaged(EventView::of(store, &event))? else { return Ok(false) };
            items.push(&view)?;
            if let Some(left) = left {
                *left -= 1;
                *last = Some(event.name.to_owned());
            }
            Ok(false)
        })?;
        Ok(goes_on && !self.is_more)
    }

    fn next_page(&self, _: &Store) -> Option<String> {
        self.last.clone().filter(|_| self.is_more)
    }
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

/// `GET /history`: what is kept of one name.
pub async fn history(app: App, principal: Principal, request: HttpRequest) -> Reply {
    let Query(HistoryParameters { event, after, before, limit, order }) =
        Query::from_query(request.query_string()).map_err(|_| Error::QueryInvalid)?;
    check_limit(limit)?;
    let limit = limit.unwrap_or(HISTORY_LIMIT);
    let name = EventName::parse(&event)?;
    let after = position(&app.store, after)?.unwrap_or(Position::START);
    let before = position(&app.store, before)?.unwrap_or(Position::END);
    let oldest_first = order == Some(Order::Oldest);
    if is_head(&request) {
        return Ok(reply::head_alone());
    }
    let page = move |scope: &ReadScope| {
        let (tenant, name) = (scope.tenant.clone(), name.clone());
        // What may not be seen is not told from what is not there.
        let history = scope
            .view
            .allows(name.as_str())
            .then(|| History::new(HistoryQuery { tenant, name, after, before, limit, oldest_first }));
        HistoryRows { history, next: None }
    };
    listing::answer(app.reader(principal, EventFilter::ALL)?, Form::Page("events"), page).await
}

/// A page of what is kept of a name.
struct HistoryRows {
    history: Option<History>,
    next: Option<Position>,
}

impl Rows for HistoryRows {
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error> {
        let Some(history) = &mut self.history else { return Ok(false) };
        let page = history.next(store, STEP_BYTES, |event| {
            let view = store.unless_damaged(EventView::of(store, &event))?;
            view.map_or(Ok(()), |view| items.push(&view))
        });
        match page? {
            Page::GoesOn => Ok(true),
            Page::Ends(next) => {
                self.next = next;
                Ok(false)
            }
        }
    }

    fn next_page(&self, store: &Store) -> Option<String> {
        self.next.map(|position| store.event_id(position).to_string())
    }
}

/// Whether a page may have so many items.
fn check_limit(limit: Option<usize>) -> Result<(), Error> {
    if limit.is_none_or(|limit| (1..=MAX_LIMIT).contains(&limit)) { Ok(()) } else { Err(Error::QueryInvalid) }
}

fn position(store: &Store, id: Option<String>) -> Result<Option<Position>, Error> {
    let Some(id) = id else { return Ok(None) };
    let id = EventId::parse(&id).ok_or(Error::QueryInvalid)?;
    store.position_of(id).ok_or(Error::IdUnknown).map(Some)
}
