//! HTTP/2: one connection, many requests. The library `h2` speaks the protocol; what a client may take up by it is bounded
//! here, where actix sets no more than the windows. Requests go to the same application as those of HTTP/1.
//!
//! All of a connection is one future, its answers included: whoever goes takes along what was being done for them, and a
//! stream that is cancelled ends its answer at once.

mod answer;
mod frames;
mod heads;

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
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::service::{HEAD_WITHIN, KEEP_ALIVE, MAX_HEADER_BYTES};
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

/// How long nothing of an answer may be taken by its client before it is given up.
const STALLED_AFTER: Duration = Duration::from_secs(30);

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
    let heads = Heads::default();
    let mut answers = FuturesUnordered::new();
    let mut stopping = pin!(stopping);
    let mut is_stopping = false;
    let mut silent = pin!(silent(pings));
    let mut abused = pin!(frames.abused(HEAD_WITHIN));
    loop {
        tokio::select! {
            // What has come is looked at before it is asked whether something has not come in time, or too much.
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    answers.push(answer(Rc::clone(&service), request, respond, from, heads.clone()));
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
            }
            () = &mut stopping, if !is_stopping => {
                is_stopping = true;
                connection.graceful_shutdown();
            }
            () = &mut silent => return,
            () = &mut abused => return,
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
