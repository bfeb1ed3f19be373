//! Connections that leave actix: an HTTP/1.1 stream is detached after the request's head, so that it costs a socket
//! and a position instead of the buffers of a whole HTTP connection, and is written to directly.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{ErrorKind, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::accept::{GoesOn, Tcp};
use super::event_stream::EventStream;
use super::heads::Heads;
use super::limits::LINGER;
use super::protection::Protection;
use super::reply;
use crate::config::Callers;
use crate::error::Error;
use crate::events::{End, Format, Sink, Written};

/// Bytes that a client may send on a stream, where none are expected.
const MAX_UNASKED_BYTES: u32 = 64 << 10;
/// Unsent bytes that the kernel may hold for a slow reader; the rest of the stream is only a position.
const MAX_UNSENT_BYTES: u32 = 128 << 10;

/// The last chunk of a chunked body (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A connection as actix sees it, until it leaves. Afterwards this reads as closed and discards writes.
#[derive(Clone)]
pub struct Socket(Rc<Shared>);

struct Shared {
    stream: RefCell<Option<Stream>>,
    /// The new owner, once everything written so far has been sent.
    leaves_to: RefCell<Option<Leaving>>,
    /// The work on it, once it has left.
    goes_on: Cell<Option<GoesOn>>,
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
    /// What the client has sent behind its request.
    pub received: Vec<u8>,
}

/// Turns a connection that leaves into its further work.
pub type TakeOver = Box<dyn FnOnce(Left) -> GoesOn>;

/// The connection itself.
pub enum Stream {
    /// Without TLS.
    Plain(Tcp),
    /// With TLS.
    Tls(Box<TlsStream<Tcp>>),
}

impl Socket {
    /// An accepted connection.
    pub fn new(stream: Stream) -> Self {
        Self(Rc::new(Shared {
            stream: RefCell::new(Some(stream)),
            leaves_to: RefCell::default(),
            goes_on: Cell::default(),
            is_ended: Cell::new(false),
            heads: Heads::default(),
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
        let refusal = reply::bare_refusal(error, &headers);
        let stream = self.0.stream.take();
        // In the middle of another answer nothing can be sent.
        if !self.0.heads.is_between() {
            return;
        }
        // A failure to send the refusal is ignored.
        let _ = match stream {
            Some(Stream::Plain(mut stream)) => timeout(LINGER, refuse(&mut stream, &refusal)).await,
            Some(Stream::Tls(mut stream)) => timeout(LINGER, refuse(&mut *stream, &refusal)).await,
            None => return,
        };
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
    pub fn goes_on(&self) -> Option<GoesOn> {
        self.0.goes_on.take()
    }

    /// Whether the connection uses TLS. False once it has left.
    pub fn is_encrypted(&self) -> bool {
        matches!(*self.0.stream.borrow(), Some(Stream::Tls(_)))
    }

    fn poll<T>(
        &self,
        left: T,
        poll: impl FnOnce(Pin<&mut (dyn Duplex + Unpin)>) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        match &mut *self.0.stream.borrow_mut() {
            Some(Stream::Plain(stream)) => poll(Pin::new(stream)),
            Some(Stream::Tls(stream)) => poll(Pin::new(&mut **stream)),
            None => Poll::Ready(Ok(left)),
        }
    }
}

/// Sends the refusal and waits until the client has read it: closing a socket with unread input would discard the
/// answer.
async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), refusal: &[u8]) -> Result<()> {
    stream.write_all(refusal).await?;
    stream.shutdown().await?;
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

trait Duplex: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> Duplex for T {}

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
                let received = self.0.heads.take_rest();
                self.0.goes_on.set(Some(to(Left { stream, head, received })));
                context.waker().wake_by_ref();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll((), |stream| stream.poll_shutdown(context))
    }
}

/// Limits the unsent bytes that the kernel holds for a stream.
pub fn bound(socket: &Tcp) {
    // Without support for it, the kernel holds more.
    let _ = socket2::SockRef::from(&**socket).set_tcp_notsent_lowat(MAX_UNSENT_BYTES);
}

/// Counts the bytes that a client sends on its stream, where none are expected.
#[derive(Default)]
struct Unasked(Cell<u32>);

impl Unasked {
    /// Whether the client has gone, or keeps sending.
    fn is_gone_by(&self, read: Result<usize>) -> bool {
        match read {
            Ok(0) => true,
            Ok(bytes) => {
                self.0.set(self.0.get().saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX)));
                self.0.get() > MAX_UNASKED_BYTES
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// A detached connection without TLS, written to in HTTP/1.1 chunks.
pub struct PlainSink {
    stream: Tcp,
    unasked: Unasked,
    has_envelope: bool,
}

impl PlainSink {
    pub fn new(stream: Tcp, has_envelope: bool) -> Self {
        bound(&stream);
        Self { stream, unasked: Unasked::default(), has_envelope }
    }
}

impl Sink for PlainSink {
    fn format(&self) -> &'static dyn Format {
        EventStream::chunked(self.has_envelope)
    }

    fn write(&self, bytes: &Bytes) -> Written {
        match self.stream.try_write(bytes) {
            Ok(taken) if taken == bytes.len() => Written::All,
            Ok(taken) => Written::Part(taken),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Written::Part(0),
            Err(_) => Written::Gone,
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        // The next write reports an error.
        self.stream.poll_write_ready(context).map(drop)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Err(_gone) = ready!(self.stream.poll_read_ready(context)) {
                return Poll::Ready(());
            }
            if self.unasked.is_gone_by(self.stream.try_read(&mut [0; 1024])) {
                return Poll::Ready(());
            }
        }
    }

    fn finish(&self, _: End) {
        let _ = self.stream.try_write(LAST_CHUNK);
    }
}

/// A detached TLS connection, written to in HTTP/1.1 chunks.
pub struct TlsSink {
    stream: RefCell<Box<TlsStream<Tcp>>>,
    unasked: Unasked,
    has_envelope: bool,
}

impl TlsSink {
    pub fn new(stream: Box<TlsStream<Tcp>>, has_envelope: bool) -> Self {
        bound(stream.get_ref().0);
        Self { stream: RefCell::new(stream), unasked: Unasked::default(), has_envelope }
    }
}

impl Sink for TlsSink {
    fn format(&self) -> &'static dyn Format {
        EventStream::chunked(self.has_envelope)
    }

    fn write(&self, bytes: &Bytes) -> Written {
        let mut stream = self.stream.borrow_mut();
        // A caller that is told `Part` polls for readiness with its own waker.
        let context = &mut Context::from_waker(Waker::noop());
        let mut taken = 0;
        while taken < bytes.len() {
            match Pin::new(&mut **stream).poll_write(context, &bytes[taken..]) {
                Poll::Ready(Ok(0) | Err(_)) => return Written::Gone,
                Poll::Ready(Ok(more)) => taken += more,
                Poll::Pending => return Written::Part(taken),
            }
        }
        match Pin::new(&mut **stream).poll_flush(context) {
            Poll::Ready(Ok(())) => Written::All,
            Poll::Ready(Err(_)) => Written::Gone,
            // Encrypted, but not sent.
            Poll::Pending => Written::Part(taken),
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut **self.stream.borrow_mut()).poll_flush(context).map(drop)
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut stream = self.stream.borrow_mut();
        loop {
            let mut bytes = [0; 1024];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut **stream).poll_read(context, &mut buffer));
            if self.unasked.is_gone_by(read.map(|()| buffer.filled().len())) {
                return Poll::Ready(());
            }
        }
    }

    fn finish(&self, _: End) {
        let mut stream = self.stream.borrow_mut();
        let context = &mut Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut **stream).poll_write(context, LAST_CHUNK);
        // Closes the TLS session too (RFC 8446, section 6.1).
        let _ = Pin::new(&mut **stream).poll_shutdown(context);
    }
}
