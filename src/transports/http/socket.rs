//! Connections that leave actix: an HTTP/1.1 stream is detached after the request's head, so that it costs a socket
//! and a position instead of the buffers of a whole HTTP connection, and is written to directly. So is a poll, whose
//! connection comes back when its client asks for something else.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::Result;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::http::header::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::heads::Heads;
use super::limits::LINGER;
use super::protection::Protection;
use super::{reply, request_id};
use crate::config::Callers;
use crate::error::Error;
use crate::log::RequestId;
use crate::transports::tcp::{GoesOn, Stream};

/// A connection as actix sees it, until it leaves. Afterwards this reads as closed and discards writes.
#[derive(Clone)]
pub struct Socket(Rc<Shared>);

struct Shared {
    stream: RefCell<Option<Stream>>,
    /// The new owner, once everything written so far has been sent.
    leaves_to: RefCell<Option<Leaving>>,
    /// The work on it, once it has left.
    onward: Cell<Option<Onward>>,
    /// Whether the client closed its sending side.
    is_ended: Cell<bool>,
    heads: Heads,
}

/// A connection that leaves at the next flush.
struct Leaving {
    to: TakeOver,
    /// The head of its answer, held back because the client must not have it before the stream that it names is
    /// registered.
    head: Vec<u8>,
}

/// A connection that has left.
pub struct Left {
    /// Where everything written so far has been sent.
    pub stream: Stream,
    /// The head of its answer, which is to be sent first.
    pub head: Vec<u8>,
    /// The head of its request, if the connection had come back with it.
    pub request: Option<Vec<u8>>,
    /// What the client has sent behind its request.
    pub received: Vec<u8>,
}

/// Turns a connection that leaves into its further work.
pub type TakeOver = Box<dyn FnOnce(Left) -> Onward>;

/// The further work on a connection that has left.
pub enum Onward {
    /// Until it ends.
    Leaves(GoesOn),
    /// Until it comes back to actix, for the request that its client has sent or is yet to send, or ends.
    Returns(Pin<Box<dyn Future<Output = Option<Socket>>>>),
}

impl Socket {
    /// An accepted connection.
    pub fn new(stream: Stream) -> Self {
        Self::with(stream, Heads::default())
    }

    /// A connection that comes back, with what its client has sent.
    pub fn back(stream: Stream, received: Vec<u8>) -> Self {
        Self::with(stream, Heads::of(received))
    }

    fn with(stream: Stream, heads: Heads) -> Self {
        Self(Rc::new(Shared {
            stream: RefCell::new(Some(stream)),
            leaves_to: RefCell::default(),
            onward: Cell::default(),
            is_ended: Cell::new(false),
            heads,
        }))
    }

    /// The state of its requests.
    pub fn heads(&self) -> &Heads {
        &self.0.heads
    }

    /// Refuses an incomplete or oversized request, and closes the connection.
    pub async fn refuse(&self, error: &Error, callers: &Callers) {
        let mut headers = HeaderMap::new();
        self.0.heads.cors().answer(callers, &mut headers);
        Protection::default().answer(&mut headers);
        request_id::answer(&RequestId::random(), &mut headers);
        let refusal = reply::bare_refusal(error, &headers);
        let stream = self.0.stream.take();
        // In the middle of another answer nothing can be sent.
        if self.0.heads.is_kept() || !self.0.heads.is_between() {
            return;
        }
        if let Some(mut stream) = stream {
            // A failure to send the refusal is ignored.
            let _ = timeout(LINGER, refuse(&mut stream, &refusal)).await;
        }
    }

    /// Detaches the connection from actix once everything written so far has been sent, so answers to earlier
    /// requests arrive first. What actix writes from now on, the head of this answer, is handed over. The task that
    /// flushes is woken.
    pub fn leave(&self, to: TakeOver) {
        *self.0.leaves_to.borrow_mut() = Some(Leaving { to, head: Vec::new() });
    }

    /// Whether it has left.
    pub fn has_left(&self) -> bool {
        self.0.stream.borrow().is_none()
    }

    /// Whether the client closed the connection or its sending side. The task that serves it is woken then.
    pub fn has_ended(&self) -> bool {
        self.0.is_ended.get()
    }

    /// Resolves when it has left. Must be polled after each flush.
    pub async fn left(&self) {
        poll_fn(|_| if self.has_left() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// The work on it, if it has left; returned once.
    pub fn onward(&self) -> Option<Onward> {
        self.0.onward.take()
    }

    /// Whether the connection uses TLS. False once it has left.
    pub fn is_encrypted(&self) -> bool {
        matches!(*self.0.stream.borrow(), Some(Stream::Tls(_)))
    }

    fn poll<T>(&self, left: T, poll: impl FnOnce(Pin<&mut Stream>) -> Poll<Result<T>>) -> Poll<Result<T>> {
        match &mut *self.0.stream.borrow_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Ok(left)),
        }
    }
}

/// Sends the refusal and waits until the client has read it: closing a socket with unread input would discard the
/// answer.
async fn refuse(stream: &mut Stream, refusal: &[u8]) -> Result<()> {
    stream.write_all(refusal).await?;
    stream.shutdown().await?;
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let heads = &self.0.heads;
        if self.has_left() || heads.give(buffer) {
            return Poll::Ready(Ok(()));
        }
        // Flushing the awaited answer wakes the reader.
        while heads.has_room() {
            let before = buffer.filled().len();
            ready!(self.poll((), |stream| stream.poll_read(context, buffer)))?;
            if buffer.filled().len() == before {
                self.0.is_ended.set(true);
                // Waiting requests are answered before the end is reported.
                return if heads.has_more() { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            if heads.take(buffer, before) {
                return Poll::Ready(Ok(()));
            }
        }
        // An oversized head is noticed next by the task that supervises the connection.
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if let Some(leaving) = &mut *self.0.leaves_to.borrow_mut() {
            leaving.head.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll(bytes.len(), |stream| stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll((), |stream| stream.poll_flush(context)))?;
        // actix flushes when it has nothing more to write.
        if self.0.heads.flushed() {
            context.waker().wake_by_ref();
        }
        let leaving = self.0.leaves_to.take();
        if let Some(Leaving { to, head }) = leaving {
            let stream = self.0.stream.take();
            if let Some(stream) = stream {
                let (request, received) = (self.0.heads.take_request(), self.0.heads.take_rest());
                self.0.onward.set(Some(to(Left { stream, head, request, received })));
                context.waker().wake_by_ref();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll((), |stream| stream.poll_shutdown(context))
    }
}
