//! Where an event stream writes on a connection that has left actix.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::event_stream::{EventStream, Shape};
use crate::events::{Ending, Format, Sink, Written};
use crate::transports::tcp::{Tcp, bound};

/// Bytes that a client may send on a stream, where none are expected.
const MAX_UNASKED_BYTES: u32 = 64 << 10;

/// The last chunk of a chunked body (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What is written at the end of a stream: why, for clients that are told, and that nothing follows.
fn last_chunks(shape: Shape, ending: Ending, says_retry: bool) -> Vec<u8> {
    [&*EventStream::chunked(shape).last(ending, says_retry), LAST_CHUNK].concat()
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
    shape: Shape,
    /// Whether its client is told when to come back.
    says_retry: bool,
}

impl PlainSink {
    pub fn new(stream: Tcp, shape: Shape, says_retry: bool) -> Self {
        bound(&stream);
        Self { stream, unasked: Unasked::default(), shape, says_retry }
    }
}

impl Sink for PlainSink {
    fn format(&self) -> &'static dyn Format {
        EventStream::chunked(self.shape)
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

    fn finish(&self, ending: Ending) {
        let _ = self.stream.try_write(&last_chunks(self.shape, ending, self.says_retry));
    }
}

/// A detached TLS connection, written to in HTTP/1.1 chunks.
pub struct TlsSink {
    stream: RefCell<Box<TlsStream<Tcp>>>,
    unasked: Unasked,
    shape: Shape,
    /// Whether its client is told when to come back.
    says_retry: bool,
}

impl TlsSink {
    pub fn new(stream: Box<TlsStream<Tcp>>, shape: Shape, says_retry: bool) -> Self {
        bound(stream.get_ref().0);
        Self { stream: RefCell::new(stream), unasked: Unasked::default(), shape, says_retry }
    }
}

impl Sink for TlsSink {
    fn format(&self) -> &'static dyn Format {
        EventStream::chunked(self.shape)
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

    fn finish(&self, ending: Ending) {
        let mut stream = self.stream.borrow_mut();
        let context = &mut Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut **stream).poll_write(context, &last_chunks(self.shape, ending, self.says_retry));
        // Closes the TLS session too (RFC 8446, section 6.1).
        let _ = Pin::new(&mut **stream).poll_shutdown(context);
    }
}
