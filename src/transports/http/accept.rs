//! Connections from their acceptance to their end: how many there are, and what ends one whose peer has gone without a word.

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

struct Place(Rc<Shared>);

/// What a connection shares with its task, which waits for its end.
struct Shared {
    connections: Connections,
    is_closed: Cell<bool>,
    task: Cell<Option<Waker>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.remove();
        self.0.is_closed.set(true);
        if let Some(task) = self.0.task.take() {
            task.wake();
        }
    }
}

impl Tcp {
    fn new(stream: TcpStream, connections: Connections) -> (Self, Rc<Shared>) {
        set_up(&stream);
        connections.add();
        let shared = Rc::new(Shared { connections, is_closed: Cell::new(false), task: Cell::default() });
        (Self { stream, _place: Place(Rc::clone(&shared)) }, shared)
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
    S: ServiceFactory<Tcp, Config = (), Response = Option<GoesOn>, Error = DispatchError, InitError = ()>,
{
    apply_fn_factory(service, move |stream: TcpStream, service: &S::Service| {
        let (tcp, shared) = Tcp::new(stream, connections.clone());
        Counted { stage: Stage::Served(Box::pin(service.call(tcp))), shared }
    })
}

/// What goes on with a connection that has left actix: it runs in the same task, so that there is one for each connection.
pub type GoesOn = Pin<Box<dyn Future<Output = ()>>>;

/// The task of a connection, until that is closed. What it does is in a box, of which nothing is left once it goes on with something
/// else, as streams do: actix has room for two of this in each task for as long as the task is there.
struct Counted<F> {
    stage: Stage<F>,
    shared: Rc<Shared>,
}

enum Stage<F> {
    /// actix has it.
    Served(Pin<Box<F>>),
    /// It has left.
    Left(GoesOn),
    /// Whoever still has it is to close it.
    Ending,
}

impl<F: Future<Output = std::result::Result<Option<GoesOn>, DispatchError>>> Future for Counted<F> {
    type Output = std::result::Result<(), DispatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { stage, shared } = &mut *self;
        loop {
            *stage = match stage {
                // What went wrong has nobody to be told to.
                Stage::Served(served) => match ready!(served.as_mut().poll(context)) {
                    Ok(Some(goes_on)) => {
                        *stage = Stage::Left(goes_on);
                        // After whatever else was to be done on this thread before: a stream that began at once would be told anew
                        // of who had come until then, since the news of that waits there.
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

    use super::super::socket::PlainSink;
    use super::*;
    use crate::events::{CatchUp, Subscription};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (there, here) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (there.unwrap(), here.unwrap().0)
    }

    #[tokio::test]
    async fn the_task_of_a_connection_waits_for_its_end_whatever_has_it() {
        let connections = Connections::at_most(9);
        for is_stream in [true, false] {
            let (_there, here) = pair().await;
            let (tcp, shared) = Tcp::new(here, connections.clone());
            let goes_on = is_stream.then(|| Box::pin(ready(())) as GoesOn);
            let stage = Stage::Served(Box::pin(ready(Ok(goes_on))));
            let local = tokio::task::LocalSet::new();
            let task = local.spawn_local(Counted { stage, shared });
            // What went on with it has ended, but somebody still has it.
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
    fn what_is_kept_of_a_stream_that_waits_is_small() {
        // That is there twice, with at most four words of actix's own and twelve of tokio's, in a multiple of 128 bytes.
        assert!(size_of::<Counted<()>>() <= 32, "{}", size_of::<Counted<()>>());
        assert!(size_of::<CatchUp>() <= 96, "{}", size_of::<CatchUp>());
        // With two counts: the next larger piece that the allocator has is of 448 bytes.
        let subscription = size_of::<Subscription<PlainSink>>() + 2 * size_of::<usize>();
        assert!(subscription <= 384, "{subscription}");
    }
}
