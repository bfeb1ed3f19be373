//! Bodies of event streams. With HTTP/1.1 the connection leaves actix. With HTTP/2, which multiplexes requests, and
//! HTTP/1.0, which has no chunks, the stream is an ordinary answer.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use super::event_stream::{EventStream, Shape};
use super::socket::{Socket, TakeOver};
use crate::events::{End, Ending, Format, Sink, Written};

/// The body of an answer whose connection leaves actix.
pub struct LeavingBody {
    socket: Socket,
    to: Option<TakeOver>,
}

impl LeavingBody {
    /// The new owner of the connection writes everything after the head.
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
        // actix asks for this once the head is ready and before it is written. The task that flushes is woken when
        // the connection has left.
        if let Some(to) = self.to.take() {
            self.socket.leave(to);
        }
        if self.socket.has_left() { Poll::Ready(None) } else { Poll::Pending }
    }
}

/// The hand-over from a subscription to the body of its answer: at most one chunk, and none before the body asks for
/// it. A client that does not read costs only a position.
#[derive(Default)]
struct Slot {
    chunk: Cell<Option<Bytes>>,
    finished: Cell<bool>,
    /// What is given at the end.
    farewell: Cell<Bytes>,
    /// The body was dropped.
    dropped: Cell<bool>,
    /// The body's waker, set while it asks for a chunk.
    body: Cell<Option<Waker>>,
    /// The sink's waker, set while it waits for a request or for the body to be dropped.
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

/// Both ends of a slot, for a stream on this HTTP/1 connection, if it is one.
pub fn pair(socket: Option<Socket>, shape: Shape, says_retry: bool) -> (SlotSink, SlotBody) {
    let slot = Rc::new(Slot::default());
    (SlotSink { slot: Rc::clone(&slot), shape, says_retry }, SlotBody { slot, socket })
}

/// The end that the subscription writes to.
pub struct SlotSink {
    slot: Rc<Slot>,
    shape: Shape,
    /// Whether its client is told when to come back.
    says_retry: bool,
}

impl Sink for SlotSink {
    fn format(&self) -> &'static dyn Format {
        EventStream::bare(self.shape)
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

    fn finish(&self, ending: Ending) {
        if self.slot.finished.replace(true) {
            return;
        }
        // Nothing more is given to a reader that lost the right to it, even if it was written already. Then nothing is said either: a
        // client would resume after what it was not given.
        let chunk = self.slot.chunk.take();
        let is_lost = chunk.is_some() && ending.why == End::Revoked;
        let last = EventStream::bare(self.shape).last(ending, self.says_retry);
        if !last.is_empty() && !is_lost {
            let farewell = [&*chunk.unwrap_or_default(), &*last].concat();
            self.slot.farewell.set(farewell.into());
        }
        Slot::wake(&self.slot.body);
    }
}

impl Drop for SlotSink {
    fn drop(&mut self) {
        self.finish(Ending::untold(End::Gone));
    }
}

/// The body of the answer. Each chunk holds complete frames: `broker-client` 0.0.8 merges two events if the end of a
/// frame falls between two reads.
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
        // A client that closed its sending side would count as present until a write fails.
        if slot.finished.get() || self.socket.as_ref().is_some_and(Socket::has_ended) {
            let farewell = slot.farewell.take();
            return Poll::Ready((!farewell.is_empty()).then_some(Ok(farewell)));
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
    use crate::domain::{Epoch, EventId, Position};

    #[test]
    fn a_chunk_is_taken_only_while_the_body_is_asked_for_one() {
        let (sink, body) = pair(None, Shape::Plain, false);
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

    #[test]
    fn at_the_end_a_client_is_told_why_unless_it_would_resume_after_what_it_was_not_given() {
        let id = EventId { position: Position::new(7), epoch: Epoch::new(42) };
        for (why, has_chunk, told, given) in [
            (End::Expired, false, true, Some("$end")),
            (End::Expired, true, true, Some("x$end")),
            (End::Revoked, false, true, Some("$end")),
            (End::Revoked, true, true, None),
            (End::Expired, true, false, None),
            (End::Gone, false, false, None),
        ] {
            let (sink, body) = pair(None, Shape::Plain, false);
            let mut body = pin!(body);
            let context = &mut Context::from_waker(Waker::noop());
            assert!(body.as_mut().poll_next(context).is_pending());
            if has_chunk {
                assert_eq!(sink.write(&Bytes::from_static(b"x")), Written::All);
            }
            sink.finish(Ending { why, told: told.then_some(id) });
            drop(sink);
            let mut next = || match body.as_mut().poll_next(context) {
                Poll::Ready(chunk) => chunk.map(|chunk| chunk.unwrap()),
                Poll::Pending => panic!("it has not ended"),
            };
            let came = next().map(|chunk| String::from_utf8(chunk.to_vec()).unwrap());
            match (given, came) {
                (None, None) => {}
                (Some("$end"), Some(came)) => assert!(came.starts_with("event:$end\n"), "{came}"),
                (Some(_), Some(came)) => assert!(came.starts_with("xevent:$end\n"), "{came}"),
                (_, came) => panic!("{why:?}, with a chunk {has_chunk}: {came:?}"),
            }
            assert!(next().is_none());
        }
    }
}
