//! Guards that a client that sends without end does not take the turns of others on its thread, nor those of other sockets.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::*;
use crate::transports::ws::Duplex;
use crate::transports::ws::client::{ClientFrame, control, deflated, text};

/// How many reads a turn may have: a task of tokio has 128 operations.
const MOST: usize = 128;

/// A client of which something comes whenever it is read, and that takes everything.
struct Endless {
    first: Option<Vec<u8>>,
    frame: Vec<u8>,
    reads: Rc<Cell<usize>>,
}

impl AsyncRead for Endless {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.reads.set(self.reads.get() + 1);
        // Otherwise a test that fails would not end.
        if self.reads.get() > 200_000 {
            return Poll::Pending;
        }
        let first = self.first.take();
        buffer.put_slice(first.as_ref().unwrap_or(&self.frame));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Duplex for Endless {
    fn poll_writable(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn whatever_a_client_sends_without_end_other_sockets_are_served_in_between() {
    let part = |opcode| ClientFrame { is_final: false, ..ClientFrame::whole(opcode, b"") }.bytes();
    let large = deflated(&vec![0; 1 << 19]);
    let large = ClientFrame { is_compressed: true, ..ClientFrame::whole(Opcode::Binary, &large) }.bytes();
    for (what, first, frame) in [
        ("pings", None, control(Opcode::Ping, b"p")),
        ("fragments", Some(part(Opcode::Text)), part(Opcode::Continuation)),
        ("messages", None, text("x")),
        ("large messages", None, large),
    ] {
        // Also without an inlet, and while the server is at the end of the connection.
        for listens in [true, false] {
            on_a_worker(async {
                let reads = Rc::new(Cell::new(0));
                let endless = Endless { first: first.clone(), frame: frame.clone(), reads: Rc::clone(&reads) };
                let application = async move |mut inlet: Inlet, _outlet: Outlet| {
                    while listens && inlet.next().await.is_some() {}
                    drop(inlet);
                    std::future::pending().await
                };
                let connection = run(Box::new(endless), Vec::new(), Vec::new(), settings(), application);
                let connection = tokio::task::spawn_local(connection);
                let (mut one, mut other) = UnixStream::pair().unwrap();
                let (mut before, mut most) = (reads.get(), 0);
                for _ in 0..20 {
                    one.write_all(b"x").await.unwrap();
                    within("a byte", other.read(&mut [0; 8])).await.unwrap();
                    most = most.max(reads.get() - before);
                    before = reads.get();
                }
                connection.abort();
                assert!(reads.get() >= 10, "{what}: it is not read from");
                assert!(most <= 2 * MOST, "{what}: {most} reads before another socket was served");
            });
        }
    }
}
