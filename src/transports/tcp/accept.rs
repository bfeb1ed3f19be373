//! Accepted connections: how many there are, and how a connection ends when its peer vanishes.

use std::cell::Cell;
use std::future::Future;
use std::io::{IoSlice, Result};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_service::{Service, ServiceFactory, apply_fn_factory};
use actix_web::rt::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::{Metrics, Protocol};

/// How long a peer may leave sent data unacknowledged, or its receive window closed, before its connection ends.
///
/// Closes two faults: a client that lost its network counted as connected until the system stopped retransmitting,
/// about 15 minutes; and a client that read nothing of an answer kept it in memory for ever.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// Keep-alive probes: after this much silence, and then this often. A peer that answers none within [`SILENT_FOR`] is
/// gone.
const ASKED_AFTER: Duration = Duration::from_secs(20);
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// The number of open connections, and the limit that follows from the limit of open files. This only reports: actix
/// accepts no more than that, since it counts each connection until it is closed (`counted`).
#[derive(Clone)]
pub struct Connections(Arc<Count>);

struct Count {
    metrics: Metrics,
    most: usize,
    open: AtomicUsize,
    is_full: AtomicBool,
}

impl Connections {
    /// With this limit. How many there are of each protocol is counted there.
    pub fn at_most(most: usize, metrics: Metrics) -> Self {
        metrics.connections_limit.set(most as u64);
        Self(Arc::new(Count { metrics, most, open: AtomicUsize::new(0), is_full: AtomicBool::new(false) }))
    }

    /// The limit.
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// What is counted of the server.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn add(&self, protocol: Protocol) {
        if let Some(count) = self.0.metrics.connections_of(protocol) {
            count.increment();
        }
        let open = self.0.open.fetch_add(1, Ordering::Relaxed) + 1;
        if open >= self.0.most && !self.0.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                connections = open,
                "no more connections are accepted before others end: that is all that the limit of open files allows"
            );
        }
    }

    fn remove(&self, protocol: Protocol) {
        if let Some(count) = self.0.metrics.connections_of(protocol) {
            count.decrement();
        }
        let open = self.0.open.fetch_sub(1, Ordering::Relaxed) - 1;
        // With hysteresis: while clients wait, each freed place is taken at once.
        let is_roomy = open < self.0.most - self.0.most / 16;
        if is_roomy && self.0.is_full.load(Ordering::Relaxed) && self.0.is_full.swap(false, Ordering::Relaxed) {
            tracing::warn!(connections = open, "connections are accepted again");
        }
    }
}

/// An accepted connection. Dropping it ends its count.
pub struct Tcp {
    // Order matters: the descriptor is closed first.
    stream: TcpStream,
    _place: Place,
}

struct Place(Rc<Shared>);

/// State shared by a connection and its task, which waits for the connection's end.
struct Shared {
    connections: Connections,
    protocol: Protocol,
    is_closed: Cell<bool>,
    task: Cell<Option<Waker>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.remove(self.0.protocol);
        self.0.is_closed.set(true);
        if let Some(task) = self.0.task.take() {
            task.wake();
        }
    }
}

impl Tcp {
    fn new(stream: TcpStream, connections: Connections, protocol: Protocol) -> (Self, Rc<Shared>) {
        set_up(&stream);
        connections.add(protocol);
        let shared = Rc::new(Shared { connections, protocol, is_closed: Cell::new(false), task: Cell::default() });
        (Self { stream, _place: Place(Rc::clone(&shared)) }, shared)
    }
}

/// Sends small writes at once, and detects vanished peers. Unsupported options are skipped.
fn set_up(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(SILENT_FOR));
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(ASKED_AFTER).with_interval(ASKED_EVERY));
}

/// Serves connections so that actix counts each until its descriptor is closed, even after the connection left actix.
/// So actix accepts no more than its limit, and further clients wait in the system's backlog.
///
/// Closes this fault: without a free descriptor no file can be opened, the database's included.
pub fn counted<S>(
    service: S,
    connections: Connections,
    protocol: Protocol,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    S: ServiceFactory<Tcp, Config = (), Response = Option<GoesOn>, Error = DispatchError, InitError = ()>,
{
    apply_fn_factory(service, move |stream: TcpStream, service: &S::Service| {
        let (tcp, shared) = Tcp::new(stream, connections.clone(), protocol);
        Counted { stage: Stage::Served(Box::pin(service.call(tcp))), shared }
    })
}

/// The work on a connection that has left actix. It runs in the same task, so there is one task for each connection.
pub type GoesOn = Pin<Box<dyn Future<Output = ()>>>;

/// The task of a connection, until the connection is closed. Its current work is boxed and freed when the connection
/// becomes a stream, because actix reserves twice this struct's size in each task for its whole life.
struct Counted<F> {
    stage: Stage<F>,
    shared: Rc<Shared>,
}

enum Stage<F> {
    /// actix serves it.
    Served(Pin<Box<F>>),
    /// It has left actix.
    Left(GoesOn),
    /// Waiting for its last owner to close it.
    Ending,
}

impl<F: Future<Output = std::result::Result<Option<GoesOn>, DispatchError>>> Future for Counted<F> {
    type Output = std::result::Result<(), DispatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { stage, shared } = &mut *self;
        loop {
            *stage = match stage {
                // Nobody is left to be told of an error.
                Stage::Served(served) => match ready!(served.as_mut().poll(context)) {
                    Ok(Some(goes_on)) => {
                        *stage = Stage::Left(goes_on);
                        // Runs after the work that is already queued on this thread: presence news that waits there
                        // is older than the stream, which would otherwise be told of it again.
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Ok(None) | Err(_) => Stage::Ending,
                },
                Stage::Left(goes_on) => {
                    ready!(goes_on.as_mut().poll(context));
                    Stage::Ending
                }
                Stage::Ending if shared.is_closed.get() => return Poll::Ready(Ok(())),
                Stage::Ending => {
                    shared.task.set(Some(context.waker().clone()));
                    return Poll::Pending;
                }
            };
        }
    }
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

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::mem::size_of;

    use super::*;
    use crate::events::CatchUp;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (there, here) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (there.unwrap(), here.unwrap().0)
    }

    #[tokio::test]
    async fn the_task_of_a_connection_waits_for_its_end_whatever_has_it() {
        let connections = Connections::at_most(9, Metrics::default());
        for is_stream in [true, false] {
            let (_there, here) = pair().await;
            let (tcp, shared) = Tcp::new(here, connections.clone(), Protocol::Http);
            let goes_on = is_stream.then(|| Box::pin(ready(())) as GoesOn);
            let stage = Stage::Served(Box::pin(ready(Ok(goes_on))));
            let local = tokio::task::LocalSet::new();
            let task = local.spawn_local(Counted { stage, shared });
            // Its work has ended, but the connection still has an owner.
            for _ in 0..2 {
                local.run_until(tokio::task::yield_now()).await;
            }
            assert!(!task.is_finished());
            assert_eq!(connections.0.open.load(Ordering::Relaxed), 1);
            drop(tcp);
            let ended = local.run_until(tokio::time::timeout(Duration::from_secs(60), task)).await;
            ended.unwrap().unwrap().unwrap();
            assert_eq!(connections.0.open.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn with_a_small_limit_too_one_freed_place_ends_being_full() {
        let connections = Connections::at_most(1, Metrics::default());
        for _ in 0..2 {
            connections.add(Protocol::Http);
            assert!(connections.0.is_full.load(Ordering::Relaxed));
            connections.remove(Protocol::Http);
            assert!(!connections.0.is_full.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn what_is_kept_of_a_stream_that_waits_is_small() {
        // This is stored twice, beside at most four words of actix's and twelve of tokio's, rounded up to 128 bytes.
        assert!(size_of::<Counted<()>>() <= 32, "{}", size_of::<Counted<()>>());
        assert!(size_of::<CatchUp>() <= 96, "{}", size_of::<CatchUp>());
    }
}
