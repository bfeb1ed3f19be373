//! A connection with or without TLS.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::accept::Tcp;
use crate::transports::ws::Duplex;

/// Unsent bytes that the kernel may hold for a slow reader: the rest of a stream is only a position, and that of an answer counts.
const MAX_UNSENT_BYTES: u32 = 128 << 10;

/// The connection itself.
pub enum Stream {
    /// Without TLS.
    Plain(Tcp),
    /// With TLS.
    Tls(Box<TlsStream<Tcp>>),
}

impl Stream {
    /// The connection below TLS.
    pub fn tcp(&self) -> &Tcp {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The connection as bytes, of which the kernel holds a bounded number that was not sent.
    pub fn into_duplex(self) -> Box<dyn Duplex> {
        bound(self.tcp());
        match self {
            Self::Plain(stream) => Box::new(stream),
            Self::Tls(stream) => stream,
        }
    }

    fn poll<T>(&mut self, poll: impl FnOnce(Pin<&mut dyn Duplex>) -> Poll<Result<T>>) -> Poll<Result<T>> {
        match self {
            Self::Plain(stream) => poll(Pin::new(stream)),
            Self::Tls(stream) => poll(Pin::new(&mut **stream)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.poll(|stream| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.poll(|stream| stream.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll(|stream| stream.poll_shutdown(context))
    }
}

/// Limits the unsent bytes that the kernel holds for a connection.
pub fn bound(socket: &Tcp) {
    // Without support for it, the kernel holds more.
    let _ = socket2::SockRef::from(&**socket).set_tcp_notsent_lowat(MAX_UNSENT_BYTES);
}

impl Duplex for Tcp {
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write_ready(context)
    }
}

impl Duplex for TlsStream<Tcp> {
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(self).poll_flush(context)
    }
}
