//! Connections from their acceptance to their end: how many there are, and what ends one whose peer has gone without a word.

use std::io::{IoSlice, Result};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_service::{Service, ServiceFactory, apply_fn_factory};
use actix_web::rt::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// How long a peer may acknowledge nothing of what was sent to it, or have no room for more of it, before its connection ends.
///
/// Closes this fault: who lost the network without a word counted as connected until the system gave up sending, which takes it a
/// quarter of an hour. And whoever takes nothing of an answer would have it kept for as long as they like.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// After how long without a byte either way a peer is asked whether it is there, and how often again. Without an answer for
/// [`SILENT_FOR`] it is not.
const ASKED_AFTER: Duration = Duration::from_secs(20);
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// How many connections there are, of how many that the limit of open files allows. It only tells: no more than those are accepted,
/// since each counts with actix until it is closed (`counted`).
#[derive(Clone)]
pub struct Connections(Arc<Count>);

struct Count {
    most: usize,
    open: AtomicUsize,
    is_full: AtomicBool,
}

impl Connections {
    /// At most so many.
    pub fn at_most(most: usize) -> Self {
        Self(Arc::new(Count { most, open: AtomicUsize::new(0), is_full: AtomicBool::new(false) }))
    }

    /// How many there may be.
    pub fn most(&self) -> usize {
        self.0.most
    }

    fn add(&self) {
        let open = self.0.open.fetch_add(1, Ordering::Relaxed) + 1;
        if open >= self.0.most && !self.0.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                connections = open,
                "no more connections are accepted before others end: that is all that the limit of open files allows"
            );
        }
    }

    fn remove(&self) {
        let open = self.0.open.fetch_sub(1, Ordering::Relaxed) - 1;
        // Not at once: while others wait, each that ends makes place for one of them.
        let is_roomy = open < self.0.most - self.0.most.div_ceil(16);
        if is_roomy && self.0.is_full.load(Ordering::Relaxed) && self.0.is_full.swap(false, Ordering::Relaxed) {
            tracing::warn!(connections = open, "connections are accepted again");
        }
    }
}

/// An accepted connection. However it ends, it is no longer counted then.
pub struct Tcp {
    // In this order: the descriptor is closed first.
    stream: TcpStream,
    _place: Place,
}

struct Place {
    connections: Connections,
    /// Its being dropped is what is waited for.
    _closed: oneshot::Sender<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.remove();
    }
}

impl Tcp {
    fn new(stream: TcpStream, connections: Connections) -> (Self, oneshot::Receiver<()>) {
        set_up(&stream);
        connections.add();
        let (closed, is_closed) = oneshot::channel();
        (Self { stream, _place: Place { connections, _closed: closed } }, is_closed)
    }
}

/// Has small writes go out at once, and a peer be missed that is no more. Where it is not supported it is done without.
fn set_up(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(SILENT_FOR));
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(ASKED_AFTER).with_interval(ASKED_EVERY));
}

/// What serves connections, so that each counts with actix until its descriptor is closed, also where it has left actix: so actix
/// accepts no more than it was told, and whoever comes then waits in the system's queue for their turn.
///
/// Closes this fault: with the last descriptor taken nobody can open a file any more, the database neither.
pub fn counted<S>(
    service: S,
    connections: Connections,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    S: ServiceFactory<Tcp, Config = (), Response = (), Error = DispatchError, InitError = ()>,
{
    apply_fn_factory(service, move |stream: TcpStream, service: &S::Service| {
        let (tcp, is_closed) = Tcp::new(stream, connections.clone());
        // In a box of its own, of which nothing is left once a stream has taken its connection away.
        let served = Box::pin(service.call(tcp));
        async move {
            let served = served.await;
            // It is never told anything but that.
            let _ = is_closed.await;
            served
        }
    })
}

impl Deref for Tcp {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
