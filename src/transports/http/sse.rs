//! `/sse`: the event stream.

use actix_web::http::header::{self, CacheControl, CacheDirective, HeaderMap, HeaderName};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, http::Version};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::accept::GoesOn;
use super::body::{self, LeavingBody};
use super::reply::Reply;
use super::request::is_head;
use super::socket::{PlainSink, Socket, Stream, TlsSink};
use super::ticket::StreamCaller;
use crate::app::{App, LastSeen, StreamOptions};
use crate::domain::{EventFilter, EventId};
use crate::error::Error;
use crate::events::{GoesOnFor, StreamId};

#[derive(Deserialize)]
struct Parameters {
    events: Option<String>,
    except: Option<String>,
    snapshot: Option<bool>,
    marks: Option<bool>,
    presence: Option<bool>,
    stream: Option<String>,
    #[serde(rename = "lastEventId")]
    last_event_id: Option<String>,
}

/// Names the stream to its user's other requests.
pub const STREAM_HEADER: HeaderName = HeaderName::from_static("broker-stream");

/// The stream that a request names.
pub fn stream_id(headers: &HeaderMap) -> Option<StreamId> {
    StreamId::parse(headers.get(STREAM_HEADER)?.to_str().ok()?.trim())
}

/// The stream that a new one is to go on for: the one that is named in the header, or else in the URL.
fn goes_on_for(headers: &HeaderMap, in_url: Option<&str>) -> GoesOnFor {
    let named = match in_url {
        _ if headers.contains_key(STREAM_HEADER) => stream_id(headers),
        Some(in_url) => StreamId::parse(in_url),
        None => return GoesOnFor::Last,
    };
    named.map_or(GoesOnFor::None, GoesOnFor::This)
}

/// The parameters of a request that takes `events` and `except`. Others are ignored, but for what these two are often taken for:
/// whoever asks for a few events is not given all of them.
pub fn parameters<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Error> {
    let query = request.query_string();
    let parse = |_| Error::QueryInvalid;
    let Query(all) = Query::<Vec<(String, IgnoredAny)>>::from_query(query).map_err(parse)?;
    for (given, beginning, meant) in
        [("event", "event[", "events"), ("events[]", "events[", "events"), ("except[]", "except[", "except")]
    {
        if all.iter().any(|(name, _)| name == given || name.starts_with(beginning)) {
            return Err(Error::ParameterMeant { given, meant });
        }
    }
    Query::from_query(query).map(Query::into_inner).map_err(parse)
}

/// What is wanted: all, or what is named, but not what is excepted.
pub fn filter(events: Option<&str>, except: Option<&str>) -> Result<EventFilter, Error> {
    let filter = events.map_or(Ok(EventFilter::ALL), EventFilter::parse)?;
    except.map_or(Ok(filter.clone()), |except| filter.except(except))
}

pub async fn stream(app: App, StreamCaller { principal, ticket }: StreamCaller, request: HttpRequest) -> Reply {
    let Parameters { events, except, snapshot, marks, presence, stream, last_event_id } = parameters(&request)?;
    let filter = filter(events.as_deref(), except.as_deref())?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        // What compresses on the way, such as a development server, would keep events back until it has enough of them.
        .insert_header(CacheControl(vec![CacheDirective::NoCache, CacheDirective::NoTransform]))
        // nginx, and what speaks its dialect, would keep events back until its buffer is full.
        .insert_header(("x-accel-buffering", "no"));
    if is_head(&request) {
        return Ok(response.body(actix_web::body::None::new()));
    }
    let (snapshot, marks) = (snapshot.unwrap_or(true), marks.unwrap_or(false));
    let seen = seen(request.headers(), last_event_id.as_deref().unwrap_or_default());
    let presence = presence.unwrap_or(false);
    let goes_on = goes_on_for(request.headers(), stream.as_deref());
    let subscribe_request =
        app.subscribe_request(&principal, StreamOptions { filter, snapshot, marks, seen, presence, goes_on })?;
    response.insert_header((STREAM_HEADER, subscribe_request.presence_guard.id.to_string()));
    // Last of all that may refuse it.
    if let Some(cookie) = ticket.map(|ticket| ticket.spend(&app, &request)).transpose()?.flatten() {
        response.insert_header((header::SET_COOKIE, cookie));
    }
    // Only HTTP/1.1 has chunks; HTTP/2 shares its connection with other requests.
    let is_alone = request.version() == Version::HTTP_11;
    match request.conn_data::<Socket>() {
        Some(socket) if is_alone => {
            let leaves_to = Box::new(move |stream, head| -> GoesOn {
                Box::pin(match stream {
                    Stream::Plain(stream) => app.open(subscribe_request, PlainSink::new(stream), head),
                    Stream::Tls(stream) => app.open(subscribe_request, TlsSink::new(stream), head),
                })
            });
            Ok(response.force_close().body(LeavingBody::new(socket, leaves_to)))
        }
        socket => {
            let (sink, body) = body::pair(socket.cloned());
            tokio::task::spawn_local(app.open(subscribe_request, sink, Bytes::new()));
            Ok(response.body(body))
        }
    }
}

/// What the client says that it saw last: in the header, which browsers send as they reconnect, or else in the URL, as a page says
/// it that makes a new `EventSource`.
fn seen(headers: &HeaderMap, in_url: &str) -> LastSeen {
    let in_header = headers.get("last-event-id").map(|id| id.as_bytes().trim_ascii()).unwrap_or_default();
    let id = if in_header.is_empty() { in_url.trim().as_bytes() } else { in_header };
    if id.is_empty() {
        return LastSeen::Nothing;
    }
    std::str::from_utf8(id).ok().and_then(EventId::parse).map_or(LastSeen::Unknown, LastSeen::Id)
}
