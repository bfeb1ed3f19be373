//! The connection, as bytes.

use std::io::Result;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes to a client and from it.
///
/// While something waits to be sent, it must fail by itself if the client takes nothing of it for long, as TCP does with a user timeout
/// (RFC 5482). Only the system sees each byte that is taken: for its owner, room is free again in large pieces only.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {
    /// Becomes ready when everything that was written is on its way, and more can be written. Wakes as a future does.
    ///
    /// # Errors
    /// The connection is lost.
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<Result<()>>;
}

impl Duplex for TcpStream {
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write_ready(context)
    }
}
