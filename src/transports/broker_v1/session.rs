//! A connection: what its client asks for, and the stream beside it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::OptionFuture;
use tokio::time::{Sleep, sleep};

use super::frame::Frame;
use super::sign_in::{Open, sign_in};
use super::{close, replies};
use crate::app::App;
use crate::events::{CatchUp, Ending};
use crate::identity::Principal;
use crate::transports::commands::{Doing, MAX_IN_FLIGHT, Obeyed, SignedIn};
use crate::transports::inserts::MAX_INSERT_BYTES;
use crate::transports::stream_sink::Ended;
use crate::transports::ws::{Inlet, Memory, Message, Outlet, yield_turn};

/// How long what was asked for before is still answered after the stream has ended, to a client that is slow to read.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// How many frames are read before others on this thread have their turn.
const FRAMES_IN_A_ROW: usize = 64;

/// Whom the memory of a connection is counted for, once a client has signed in.
pub type MemoryOf = Box<dyn FnOnce(&Principal) -> Box<dyn Memory>>;

/// Serves a connection, whose client has yet to sign in.
pub fn serve(app: App, inlet: Inlet, outlet: Outlet, memory: MemoryOf) -> impl Future<Output = ()> {
    // In a box, so that it is small once its client has signed in: most connections say nothing for long.
    begin(app, inlet, outlet, memory).boxed_local().map(OptionFuture::from).flatten().map(drop)
}

/// A connection whose client has signed in.
struct Session {
    app: App,
    signed_in: SignedIn,
    streaming: Streaming,
    ended: Ended,
    /// What was asked for and is not done yet, in that order.
    in_flight: VecDeque<InFlight>,
    inlet: Inlet,
    outlet: Outlet,
}

/// The work on the stream of a connection.
enum Streaming {
    /// The stream goes on.
    Open(CatchUp),
    /// It has ended like this, and nothing of it is kept. The connection is closed when everything is answered, or in this time.
    Ended(Ending, Pin<Box<Sleep>>),
    /// It has ended within a write, so that nothing can be said any more.
    Cut,
}

/// Something that was asked for by a frame with this number.
struct InFlight {
    reference: u64,
    doing: Doing,
}

async fn begin(app: App, mut inlet: Inlet, outlet: Outlet, memory: MemoryOf) -> Option<Session> {
    let Open { signed_in, catch_up, ended } = sign_in(&app, &mut inlet, &outlet).await?;
    inlet.set_max_message_bytes(MAX_INSERT_BYTES);
    inlet.set_memory(memory(&signed_in.principal));
    let (streaming, in_flight) = (Streaming::Open(catch_up), VecDeque::new());
    Some(Session { app, signed_in, streaming, ended, in_flight, inlet, outlet })
}

impl Future for Session {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if ready!(self.poll_streaming(context)) {
            return self.poll_frames(context);
        }
        Poll::Ready(())
    }
}

impl Session {
    /// Has the stream go on. `true` if frames are to be read, and `false` if the connection is at its end.
    fn poll_streaming(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if let Streaming::Open(catch_up) = &mut self.streaming
            && Pin::new(catch_up).poll(context).is_ready()
        {
            // Its user is not present by it any more, whatever is still to be answered.
            self.streaming = match self.ended.get() {
                Some(ending) => Streaming::Ended(ending, Box::pin(sleep(ANSWERED_WITHIN))),
                None => Streaming::Cut,
            };
        }
        match &mut self.streaming {
            // The rest of what the stream has begun goes before the close frame. Then the stream ends.
            Streaming::Open(_) if self.outlet.is_closed() => Poll::Pending,
            Streaming::Open(_) => Poll::Ready(true),
            Streaming::Cut => Poll::Ready(false),
            Streaming::Ended(ending, until) => {
                let (ending, is_late) = (*ending, until.as_mut().poll(context).is_ready());
                if !is_late && !self.outlet.is_closed() {
                    // What was asked for before is still answered.
                    ready!(self.poll_in_flight(context));
                }
                close::stream_ended(&self.outlet, ending);
                Poll::Ready(false)
            }
        }
    }

    /// Takes frames.
    fn poll_frames(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..FRAMES_IN_A_ROW {
            let _ = self.poll_in_flight(context);
            if self.weight() >= MAX_IN_FLIGHT {
                return Poll::Pending;
            }
            match ready!(self.inlet.poll_next(context)) {
                Some(Message::Text(text)) => self.take(&text),
                Some(Message::Binary(_)) => close::unsupported(&self.outlet),
                // The stream is told of that, and has this polled once more.
                None if self.outlet.is_closed() => return Poll::Pending,
                // The server stops: what was asked for before is still answered.
                None => return self.poll_in_flight(context),
            }
        }
        yield_turn(context);
        Poll::Pending
    }

    /// Answers what is done of what is in flight. Ready when nothing is.
    ///
    /// In the order in which it was asked for, which is nearly always that in which it is done. So only the first is waited for, and
    /// a commit wakes this task once.
    fn poll_in_flight(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Some(InFlight { reference, doing }) = self.in_flight.front_mut() {
            // An answer may be large, and a client that does not read them has to wait.
            ready!(self.outlet.poll_room(context));
            let answer = ready!(doing.poll(&self.app, context));
            replies::answer(self.app.metrics(), &self.outlet, *reference, &answer);
            self.in_flight.pop_front();
        }
        // A connection that inserts nothing for long keeps no memory for it.
        self.in_flight = VecDeque::new();
        Poll::Ready(())
    }

    fn weight(&self) -> usize {
        self.in_flight.iter().map(|in_flight| in_flight.doing.weight()).sum()
    }

    /// Does what a frame asks for, or says why not.
    fn take(&mut self, text: &str) {
        let (reference, obeyed) = match Frame::parse(text) {
            Ok(Frame { verb, reference, body }) => (Some(reference), self.signed_in.obey(&self.app, verb, &body)),
            Err((reference, error)) => (reference, Err(error)),
        };
        match (reference, obeyed) {
            (Some(reference), Ok(Obeyed::Later(doing))) => self.in_flight.push_back(InFlight { reference, doing }),
            (Some(reference), Ok(Obeyed::Now(answer))) => {
                replies::answer(self.app.metrics(), &self.outlet, reference, &answer);
            }
            (reference, Err(error)) => replies::refuse(self.app.metrics(), &self.outlet, reference, error),
            // What has no number is an error.
            (None, Ok(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;
    use crate::events::Subscription;
    use crate::transports::stream_sink::StreamSink;
    use crate::transports::ws::StreamOutlet;

    fn size_of_result<R>(_: fn(App, Inlet, Outlet, MemoryOf) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn what_is_kept_of_a_connection_that_waits_is_small() {
        assert!(size_of_result(serve) <= 256, "{}", size_of_result(serve));
        // With two reference counts: the allocator's next larger size is 384 bytes.
        let subscription = size_of::<Subscription<StreamSink<StreamOutlet>>>() + 2 * size_of::<usize>();
        assert!(subscription <= 320, "{subscription}");
    }
}
