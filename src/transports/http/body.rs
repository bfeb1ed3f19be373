//! Bodies of event streams. With HTTP/1.1 the connection leaves actix; with HTTP/2, where it has other work, and with HTTP/1.0,
//! which has no chunks, the stream stays an answer like others.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use super::socket::{Socket, TakeOver};
use crate::events::{Framing, Sink, Written};

/// The body of an answer that ends where its connection leaves.
pub struct LeavingBody {
    socket: Socket,
    to: Option<TakeOver>,
}

impl LeavingBody {
    /// What comes after the head of the answer is up to the one to whom the connection goes.
    pub fn new(socket: &Socket, to: TakeOver) -> Self {
        Self { socket: socket.clone(), to: Some(to) }
    }
}

impl MessageBody for LeavingBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        // It is asked for once actix has the head ready, and before that is written. Whoever flushes is woken when it has left.
        if let Some(to) = self.to.take() {
            self.socket.leave(to);
        }
        if self.socket.has_left() { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// What is on its way from a subscription to the body of its answer: one chunk at most, and none before the body is asked for one.
/// Whoever does not read has only a position in the stream.
#[derive(Default)]
struct Slot {
    chunk: Cell<Option<Bytes>>,
    finished: Cell<bool>,
    /// The body is no more.
    dropped: Cell<bool>,
    /// Who asks for a chunk.
    body: Cell<Option<Waker>>,
    /// Who waits for a chunk to be asked for, and for the body to go.
    sink: Cell<Option<Waker>>,
}

impl Slot {
    fn wake(waker: &Cell<Option<Waker>>) {
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }

    fn is_asked(&self) -> bool {
        let waker = self.body.take();
        let is_asked = waker.is_some();
        self.body.set(waker);
        is_asked
    }
}

/// The two ends of a slot, for a stream on this connection of HTTP/1, if it is one.
pub fn pair(socket: Option<Socket>) -> (SlotOutlet, SlotBody) {
    let slot = Rc::new(Slot::default());
    (SlotOutlet { slot: Rc::clone(&slot) }, SlotBody { slot, socket })
}

/// Where a subscription writes.
pub struct SlotOutlet {
    slot: Rc<Slot>,
}

impl Sink for SlotOutlet {
    fn framing(&self) -> Framing {
        Framing::Bare
    }

    fn write(&self, bytes: &Bytes) -> Written {
        if self.slot.dropped.get() {
            return Written::Gone;
        }
        let Some(body) = self.slot.body.take() else { return Written::Part(0) };
        self.slot.chunk.set(Some(bytes.clone()));
        body.wake();
        Written::All
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.slot.is_asked() || self.slot.dropped.get() {
            return Poll::Ready(());
        }
        self.slot.sink.set(Some(context.waker().clone()));
        Poll::Pending
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.slot.dropped.get() {
            return Poll::Ready(());
        }
        self.slot.sink.set(Some(context.waker().clone()));
        Poll::Pending
    }

    fn finish(&self) {
        self.slot.finished.set(true);
        Slot::wake(&self.slot.body);
    }
}

impl Drop for SlotOutlet {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The body of the answer. Each chunk is one or more whole frames: `broker-client` 0.0.8 merges two events when the end of
/// one falls across two reads.
pub struct SlotBody {
    slot: Rc<Slot>,
    socket: Option<Socket>,
}

impl MessageBody for SlotBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let slot = &self.slot;
        // Nothing more for whoever lost the right to it, even where it was written already; nor for whoever has closed their side, who
        // would be taken for present until a write fails.
        if slot.finished.get() || self.socket.as_ref().is_some_and(Socket::has_ended) {
            return Poll::Ready(None);
        }
        if let Some(chunk) = slot.chunk.take() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        if slot.body.replace(Some(context.waker().clone())).is_none() {
            Slot::wake(&slot.sink);
        }
        Poll::Pending
    }
}

impl Drop for SlotBody {
    fn drop(&mut self) {
        self.slot.dropped.set(true);
        Slot::wake(&self.slot.sink);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_chunk_is_taken_only_while_the_body_is_asked_for_one() {
        let (sink, body) = pair(None);
        let mut body = pin!(body);
        let context = &mut Context::from_waker(Waker::noop());
        let chunk = Bytes::from_static(b"x");
        for _ in 0..3 {
            assert_eq!(sink.write(&chunk), Written::Part(0));
            let mut ready = pin!(std::future::poll_fn(|context| sink.poll_ready(context)));
            assert!(ready.as_mut().now_or_never().is_none());
            assert!(body.as_mut().poll_next(context).is_pending());
            assert!(ready.now_or_never().is_some());
            assert_eq!(sink.write(&chunk), Written::All);
            assert_eq!(sink.write(&chunk), Written::Part(0));
            assert!(body.as_mut().poll_next(context).is_ready());
        }
    }
}
