//! `/sse`: the event stream.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use serde::Deserialize;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::is_head;
use super::reply::Reply;
use crate::app::App;
use crate::domain::{EventFilter, EventId};
use crate::error::Error;
use crate::events::Subscription;
use crate::identity::Principal;

/// Tells a connection's streams when it has gone. actix drops a stream of HTTP/1 with its connection, but asks one of
/// HTTP/2 only when it next has something to send.
pub struct Connection {
    gone: CancellationToken,
    _guard: DropGuard,
}

impl Default for Connection {
    fn default() -> Self {
        let gone = CancellationToken::new();
        Self { _guard: gone.clone().drop_guard(), gone }
    }
}

#[derive(Deserialize)]
struct Parameters {
    events: Option<String>,
}

pub async fn stream(app: App, principal: Principal, request: HttpRequest) -> Reply {
    let Query(Parameters { events }) = Query::from_query(request.query_string()).map_err(|_| Error::QueryInvalid)?;
    let filter = events.map_or(Ok(EventFilter::ALL), |events| EventFilter::parse(&events))?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // nginx, and what speaks its dialect, would keep events back until its buffer is full.
        .insert_header(("x-accel-buffering", "no"));
    if is_head(&request) {
        return Ok(response.finish());
    }
    let gone = request.conn_data::<Connection>().map(|connection| Box::pin(connection.gone.clone().cancelled_owned()));
    let subscription = app.subscribe(&principal, filter, last_event_id(request.headers()))?;
    Ok(response.body(EventStream { subscription, gone }))
}

fn last_event_id(headers: &HeaderMap) -> Option<EventId> {
    EventId::parse(headers.get("last-event-id")?.to_str().ok()?.trim())
}

/// A subscription as the body of an answer. Each chunk is one or more whole frames: `broker-client` 0.0.8 merges two
/// events when the end of one falls across two reads.
struct EventStream {
    subscription: Subscription,
    gone: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl MessageBody for EventStream {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if let Some(gone) = &mut self.gone
            && gone.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        self.subscription.poll_next(context).map(|bytes| bytes.map(Ok))
    }
}
