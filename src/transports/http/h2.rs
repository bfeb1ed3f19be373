//! HTTP/2: one connection, many requests. The library `h2` speaks the protocol; what a client may take up by it is bounded
//! here, where actix sets no more than the windows. Requests go to the same application as those of HTTP/1.
//!
//! All of a connection is one future, its answers included: whoever goes takes along what was being done for them, and a
//! stream that is cancelled ends its answer at once.

mod answer;
mod frames;
mod heads;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

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

use super::service::{HEAD_WITHIN, KEEP_ALIVE, LINGER, MAX_HEADER_BYTES};
use answer::{Outcome, answer};
use frames::Frames;
use heads::Heads;

/// How many requests a client may have under way on one connection.
const MAX_STREAMS: u32 = 128;
/// How much of one request's body a client may send ahead of what is read of it.
const STREAM_WINDOW: u32 = 128 << 10;
/// The same, of all requests of a connection.
const CONNECTION_WINDOW: u32 = 256 << 10;
/// How much of one answer is kept for a client that does not read it. The rest of it is not made before.
const MAX_UNSENT_BYTES: usize = 32 << 10;
/// How many requests may be cancelled before they were even looked at (CVE-2023-44487), until the connection is closed.
const MAX_RESETS: usize = 64;
/// How many may be so wrong, in the whole life of a connection, that they are cancelled here (CVE-2025-8671). What still comes of a
/// body that was refused can count as one, and a proxy has many users on a connection: so there are as many as in the library.
const MAX_LOCAL_RESETS: usize = 1024;

/// How long a client may take its time.
#[derive(Clone, Copy)]
pub struct Times {
    /// Without a request under way, until the connection ends.
    pub idle: Duration,
    /// For a piece of an answer, beside a second for each [`answer::PACE`] bytes of it that are taken, until the answer is given up.
    pub stalled: Duration,
    /// Without taking anything of an answer, where those of its connection have much in hand.
    pub crowded: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { idle: KEEP_ALIVE, stalled: Duration::from_secs(30), crowded: Duration::from_secs(2) }
    }
}

/// What the requests of a connection have in common.
struct Shared {
    from: Option<SocketAddr>,
    times: Times,
    frames: Rc<Frames>,
    heads: Heads,
    /// How much of answers was made and not sent, in bytes.
    in_hand: Cell<usize>,
}

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

/// Serves one connection to its end. `stopping` becomes ready when the server is to end: then no more requests are taken, and
/// those that are under way are finished.
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
            // What has come is looked at before it is asked whether something has not come in time, or too much.
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
                // Who reads none of their answers has no use for the connection.
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
                // That was said, and there is still an answer to it to come.
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
                // Who does not take that either has not been told.
                let _ = timeout(LINGER, poll_fn(|context| connection.poll_closed(context))).await;
                return;
            }
        }
    }
}

/// Becomes ready when the other side no longer answers.
async fn silent(pings: Option<PingPong>) {
    // There is one to whoever asks first.
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
