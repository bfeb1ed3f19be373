//! `/sse`: the event stream.

use actix_web::http::header::{self, CacheControl, CacheDirective, HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse, http::Version};
use serde::Deserialize;

use super::body::{self, LeavingBody};
use super::event_stream::{EventStream, Shape};
use super::query::parameters;
use super::reply::Reply;
use super::request::is_head;
use super::socket::{Left, Onward, Socket};
use super::sse_sinks::{PlainSink, TlsSink};
use super::ticket::StreamCaller;
use crate::app::{App, LastSeen, StreamQuery};
use crate::domain::EventFilter;
use crate::events::{GoesOnFor, HEARTBEAT_EVERY, StreamId, StreamOptions};
use crate::transports::tcp::Stream;

/// The parameters of `/sse`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    events: Option<String>,
    except: Option<String>,
    stream: Option<String>,
    #[serde(rename = "lastEventId")]
    last_event_id: Option<String>,
    snapshot: Option<bool>,
    transient: Option<bool>,
    marks: bool,
    presence: bool,
    envelope: bool,
    frames: bool,
}

// Proxies are set up to wait 15 seconds for the next byte of a stream (docs/operations.md).
const _: () = assert!(HEARTBEAT_EVERY.as_secs() < 15);

/// The header that names a stream in its answer, and in other requests of its user.
pub const STREAM_HEADER: HeaderName = HeaderName::from_static("broker-stream");

/// The stream that a request names.
pub fn stream_id(headers: &HeaderMap) -> Option<StreamId> {
    StreamId::parse(headers.get(STREAM_HEADER)?.to_str().ok()?.trim())
}

/// The stream that a new one continues: the one that is named in the header, or else in the URL.
fn goes_on_for(headers: &HeaderMap, in_url: Option<&str>) -> GoesOnFor {
    let named = match in_url {
        _ if headers.contains_key(STREAM_HEADER) => stream_id(headers),
        Some(in_url) => StreamId::parse(in_url),
        None => return GoesOnFor::Last,
    };
    named.map_or(GoesOnFor::None, GoesOnFor::This)
}

/// `GET /sse`: opens a stream.
pub async fn stream(app: App, StreamCaller { principal, ticket }: StreamCaller, request: HttpRequest) -> Reply {
    let Parameters { events, except, stream, last_event_id, snapshot, transient, marks, presence, envelope, frames } =
        parameters(&request)?;
    let query = StreamQuery {
        filter: EventFilter::of_lists(events.as_deref(), except.as_deref())?,
        last_seen: last_seen(request.headers(), last_event_id.as_deref().unwrap_or_default()),
        goes_on: goes_on_for(request.headers(), stream.as_deref()),
        snapshot: snapshot.unwrap_or(true),
        options: StreamOptions { marks, presence, transient: transient.unwrap_or(true), ..StreamOptions::default() },
    };
    let shape = match (frames, envelope) {
        (true, _) => Shape::Frames,
        (false, true) => Shape::Envelope,
        (false, false) => Shape::Plain,
    };
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        // A proxy that compresses, such as a development server, would hold events back until it has enough of them.
        .insert_header(CacheControl(vec![CacheDirective::NoCache, CacheDirective::NoTransform]))
        // nginx, and proxies that know its headers, would hold events back until a buffer is full.
        .insert_header(("x-accel-buffering", "no"));
    if is_head(&request) {
        return Ok(response.body(actix_web::body::None::new()));
    }
    // Only for clients that know it: what others are given is a contract.
    let says_retry = marks || ticket.is_some();
    let subscribe_request = app.events.subscribe(&principal, query)?;
    let id = subscribe_request.presence_guard.id;
    response.insert_header((STREAM_HEADER, id.to_string()));
    // This may refuse the stream as well, and comes last: a ticket is spent only by a stream that opens.
    let cookie = match ticket {
        Some(ticket) => ticket.spend(&app, &request).await?,
        None => None,
    };
    if let Some(cookie) = cookie {
        response.insert_header((header::SET_COOKIE, cookie));
    }
    // Only HTTP/1.1 has chunks; HTTP/2 shares its connection with other requests.
    let is_alone = request.version() == Version::HTTP_11;
    // The core begins every stream with a write, a heartbeat if nothing else. A proxy that compresses, and clients that wait
    // for it, pass on the head of an answer only with its first byte, and the first event may be long in coming.
    match request.conn_data::<Socket>() {
        Some(socket) if is_alone => {
            let leaves_to = Box::new(move |left: Left| {
                let mut head = left.head;
                head.extend_from_slice(EventStream::chunked(shape).opening(id, says_retry).as_bytes());
                let head = head.into();
                Onward::Leaves(Box::pin(match left.stream {
                    Stream::Plain(stream) => {
                        app.open(subscribe_request, PlainSink::new(stream, shape, says_retry), head)
                    }
                    Stream::Tls(stream) => app.open(subscribe_request, TlsSink::new(stream, shape, says_retry), head),
                }))
            });
            Ok(response.force_close().body(LeavingBody::new(socket, leaves_to)))
        }
        socket => {
            let (sink, body) = body::pair(socket.cloned(), shape, says_retry);
            let opening = EventStream::bare(shape).opening(id, says_retry).into();
            tokio::task::spawn_local(app.open(subscribe_request, sink, opening));
            Ok(response.body(body))
        }
    }
}

/// The last event that the client saw: in the header, which browsers send when they reconnect, or else in the URL, where a page
/// puts it that makes a new `EventSource`.
fn last_seen(headers: &HeaderMap, in_url: &str) -> LastSeen {
    let in_header = headers.get("last-event-id").map(|id| id.as_bytes().trim_ascii()).unwrap_or_default();
    if in_header.is_empty() {
        return LastSeen::parse(in_url);
    }
    std::str::from_utf8(in_header).map_or(LastSeen::Unknown, LastSeen::parse)
}
