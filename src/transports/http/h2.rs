//! HTTP/2 connections. The `h2` crate speaks the protocol; this module limits what one client can make the server
//! hold, for which actix only sets window sizes. Requests go to the same application as those of HTTP/1.
//!
//! One future runs the whole connection, its answers included: dropping it stops all of its work, and a cancelled
//! stream ends its answer at once.

mod answer;
mod frames;
mod heads;
mod shared;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use actix_http::body::{BoxBody, MessageBody};
use actix_http::{Request, Response};
use actix_service::Service;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::Builder;
use h2::{Ping, PingPong, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};

use super::limits::{HEAD_WITHIN, KEEP_ALIVE, LINGER, MAX_HEADER_BYTES};
use answer::{Outcome, answer};
use frames::Frames;
use heads::Heads;
use shared::Shared;

pub use shared::Times;

/// Concurrent requests per connection.
const MAX_STREAMS: u32 = 128;
/// Bytes of one request body that a client may send before they are read.
const STREAM_WINDOW: u32 = 128 << 10;
/// The same for all requests of a connection together.
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Bytes of one answer that are buffered for a client that does not read; the rest is not produced until it does.
const MAX_UNSENT_BYTES: usize = 32 << 10;
/// Requests that a client may cancel before they are accepted (CVE-2023-44487); beyond this the connection is closed.
const MAX_RESETS: usize = 64;
/// Streams that the server may reset because of protocol errors over the life of a connection (CVE-2025-8671). Late
/// parts of a refused body can count as one, and a proxy multiplexes many users on one connection, so this is as high
/// as the library's own limit.
const MAX_LOCAL_RESETS: usize = 1024;

fn settings() -> Builder {
    let mut settings = Builder::new();
    settings
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(MAX_UNSENT_BYTES)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS));
    settings
}

/// Serves one connection until it ends. When `stopping` resolves, no more requests are accepted and those in progress
/// are finished.
pub async fn serve<S, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    from: Option<SocketAddr>,
    service: Rc<S>,
    stopping: impl Future<Output = ()>,
    times: Times,
) where
    S: Service<Request>,
    S::Error: Into<Response<BoxBody>>,
    S::Response: Into<Response<B>>,
    B: MessageBody,
{
    let frames = Rc::new(Frames::default());
    let handshake = settings().handshake::<_, Bytes>(frames.watch(stream));
    let Ok(Ok(mut connection)) = timeout(HEAD_WITHIN, handshake).await else { return };
    let pings = connection.ping_pong();
    let (heads, in_hand) = (Heads::default(), Cell::new(0));
    let shared = Rc::new(Shared { from, times, frames: Rc::clone(&frames), heads, in_hand });
    let mut answers = FuturesUnordered::new();
    let mut stopping = pin!(stopping);
    let mut is_ending = false;
    let mut idle = pin!(sleep(times.idle));
    let mut silent = pin!(silent(pings));
    let mut abused = pin!(frames.abused(HEAD_WITHIN));
    loop {
        tokio::select! {
            // What arrived is processed before timeouts and limits are checked.
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    answers.push(answer(Rc::clone(&service), Rc::clone(&shared), request, respond));
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a connection of HTTP/2 ends");
                    return;
                }
                None => return,
            },
            Some(outcome) = answers.next() => {
                // A client that reads none of its answers has no use for the connection.
                if outcome == Outcome::Stalled && answers.is_empty() {
                    return;
                }
                if answers.is_empty() {
                    frames.none_waits();
                    idle.as_mut().reset(Instant::now() + times.idle);
                }
            }
            () = &mut stopping, if !is_ending => {
                is_ending = true;
                connection.graceful_shutdown();
            }
            () = &mut idle, if answers.is_empty() => {
                // The shutdown was announced and the client did not close in time.
                if is_ending {
                    return;
                }
                is_ending = true;
                connection.graceful_shutdown();
                idle.as_mut().reset(Instant::now() + LINGER);
            }
            () = &mut silent => return,
            () = &mut abused => {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                // A client that does not read this either is disconnected without it.
                let _ = timeout(LINGER, poll_fn(|context| connection.poll_closed(context))).await;
                return;
            }
        }
    }
}

/// Resolves when the client no longer answers pings.
async fn silent(pings: Option<PingPong>) {
    // The library hands this out once.
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        sleep(KEEP_ALIVE).await;
        if pings.send_ping(Ping::opaque()).is_err() {
            return;
        }
        let pong = timeout(KEEP_ALIVE, poll_fn(|context| pings.poll_pong(context))).await;
        if !matches!(pong, Ok(Ok(_))) {
            return;
        }
    }
}
