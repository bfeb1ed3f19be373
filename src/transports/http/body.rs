//! Streams that stay with actix: those of HTTP/2, whose connection has other work, and of HTTP/1.0, which has no chunks.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::resets::Cancelled;
use crate::events::{Framing, HEARTBEAT, Outlet, Written};

/// Tells a connection's streams when it has gone. actix drops a stream of HTTP/1 with its connection, but asks one of
/// HTTP/2 only when it next has something to send.
pub struct Connection {
    gone: CancellationToken,
    _guard: DropGuard,
}

impl Default for Connection {
    fn default() -> Self {
        let gone = CancellationToken::new();
        Self { _guard: gone.clone().drop_guard(), gone }
    }
}

/// What is on its way from a subscription to the body of its answer: one chunk at most.
#[derive(Default)]
struct Slot {
    chunk: RefCell<Option<Bytes>>,
    finished: Cell<bool>,
    /// The body is no more.
    dropped: Cell<bool>,
    /// Who waits for a chunk.
    body: Cell<Option<Waker>>,
    /// Who waits for the chunk to be taken, and for the body to go.
    outlet: Cell<Option<Waker>>,
}

impl Slot {
    fn wake(waker: &Cell<Option<Waker>>) {
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }
}

/// The two ends of a slot.
pub fn pair(connection: Option<&Connection>, cancelled: Option<Cancelled>) -> (SlotOutlet, SlotBody) {
    let slot = Rc::new(Slot::default());
    let gone = connection.map(|connection| RefCell::new(Box::pin(connection.gone.clone().cancelled_owned())));
    (SlotOutlet { slot: Rc::clone(&slot), gone }, SlotBody { slot, cancelled })
}

/// Where a subscription writes.
pub struct SlotOutlet {
    slot: Rc<Slot>,
    gone: Option<RefCell<Pin<Box<WaitForCancellationFutureOwned>>>>,
}

impl Outlet for SlotOutlet {
    fn framing(&self) -> Framing {
        Framing::Bare
    }

    fn write(&self, bytes: &Bytes) -> Written {
        if self.slot.dropped.get() {
            return Written::Gone;
        }
        let mut chunk = self.slot.chunk.borrow_mut();
        if chunk.is_some() {
            return Written::Part(0);
        }
        *chunk = Some(bytes.clone());
        Slot::wake(&self.slot.body);
        Written::All
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.slot.chunk.borrow().is_none() || self.slot.dropped.get() {
            return Poll::Ready(());
        }
        self.slot.outlet.set(Some(context.waker().clone()));
        Poll::Pending
    }

    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.slot.dropped.get() {
            return Poll::Ready(());
        }
        self.slot.outlet.set(Some(context.waker().clone()));
        match &self.gone {
            Some(gone) => gone.borrow_mut().as_mut().poll(context),
            None => Poll::Pending,
        }
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
    /// Of a stream of HTTP/2.
    cancelled: Option<Cancelled>,
}

impl MessageBody for SlotBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.cancelled.as_mut().is_some_and(|cancelled| cancelled.poll(context)) {
            // It never gets there: actix finds that the stream is cancelled when it is about to send it, and drops this.
            return Poll::Ready(Some(Ok(HEARTBEAT)));
        }
        let slot = &self.slot;
        // Nothing more for whoever lost the right to it, even where it was written already.
        if slot.finished.get() {
            return Poll::Ready(None);
        }
        if let Some(chunk) = slot.chunk.take() {
            Slot::wake(&slot.outlet);
            return Poll::Ready(Some(Ok(chunk)));
        }
        slot.body.set(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for SlotBody {
    fn drop(&mut self) {
        self.slot.dropped.set(true);
        Slot::wake(&self.slot.outlet);
    }
}
