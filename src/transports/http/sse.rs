//! `/sse`: the event stream.

use std::fmt::Write;
use std::time::SystemTime;

use actix_web::http::header::{self, HeaderMap, HttpDate};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, http::Version};
use bytes::Bytes;
use serde::Deserialize;

use super::body::{self, Connection};
use super::is_head;
use super::reply::Reply;
use super::socket::{PlainOutlet, Socket, Stream, TlsOutlet};
use super::ticket::Listener;
use crate::app::App;
use crate::domain::{EventFilter, EventId};
use crate::error::Error;
use crate::events::Opening;

#[derive(Deserialize)]
struct Parameters {
    events: Option<String>,
}

pub async fn stream(app: App, Listener { principal, cookie }: Listener, request: HttpRequest) -> Reply {
    let Query(Parameters { events }) = Query::from_query(request.query_string()).map_err(|_| Error::QueryInvalid)?;
    let filter = events.map_or(Ok(EventFilter::ALL), |events| EventFilter::parse(&events))?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // nginx, and what speaks its dialect, would keep events back until its buffer is full.
        .insert_header(("x-accel-buffering", "no"));
    if let Some(cookie) = cookie {
        response.insert_header((header::SET_COOKIE, cookie));
    }
    if is_head(&request) {
        return Ok(response.finish());
    }
    let opening = app.opening(&principal, filter, last_event_id(request.headers()))?;
    // Only HTTP/1.1 has chunks; HTTP/2 shares its connection with other requests.
    let is_alone = request.version() == Version::HTTP_11;
    let socket = request.conn_data::<Socket>().filter(|_| is_alone).and_then(Socket::take);
    match socket {
        Some(stream) => {
            let mut response = response.force_close().finish();
            response.extensions_mut().insert(Detached { app, opening, stream });
            Ok(response)
        }
        None => {
            let (outlet, body) = body::pair(request.conn_data::<Connection>());
            app.open(opening, outlet, Bytes::new());
            Ok(response.body(body))
        }
    }
}

fn last_event_id(headers: &HeaderMap) -> Option<EventId> {
    EventId::parse(headers.get("last-event-id")?.to_str().ok()?.trim())
}

/// A stream that has left actix with its connection, and waits for the head of its answer to be complete.
pub struct Detached {
    app: App,
    opening: Opening,
    stream: Stream,
}

impl Detached {
    /// Writes the head, and then the events. What is left to actix of the answer goes nowhere.
    pub fn begin(self, headers: &HeaderMap) {
        let head = head(headers);
        match self.stream {
            Stream::Plain(stream) => self.app.open(self.opening, PlainOutlet::new(stream), head),
            Stream::Tls(stream) => self.app.open(self.opening, TlsOutlet::new(stream), head),
        }
    }
}

/// The head of the answer, as actix would write it.
fn head(headers: &HeaderMap) -> Bytes {
    let mut head = String::from("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n");
    // Writing to a string cannot fail.
    let _ = write!(head, "date: {}\r\n", HttpDate::from(SystemTime::now()));
    for (name, value) in headers {
        // All of ours are text.
        if let Ok(value) = value.to_str() {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    head.push_str("\r\n");
    Bytes::from(head)
}
