//! What comes in.

use std::task::{Context, Poll, ready};

use tokio::task::coop::poll_proceed;

use super::{Phase, Shared};
use crate::transports::ws::close::Close;
use crate::transports::ws::decoder::Item;
use crate::transports::ws::frame::{Opcode, append};
use crate::transports::ws::message::{End, Message};
use crate::transports::ws::reader::{Came, Fault};
use crate::transports::ws::settings::{BYTES_A_TURN, ITEMS_A_TURN};
use crate::transports::ws::violation::Violation;
use crate::transports::ws::waker::yield_turn;

impl Shared {
    /// The next message for the application.
    pub fn poll_message(&self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.phase.get() != Phase::Open || self.is_stopping.get() {
            return Poll::Ready(None);
        }
        // Without that, an application that has a reply for each message would go on for as long as messages come.
        let progress = ready!(poll_proceed(context));
        if self.given.get() as usize >= BYTES_A_TURN {
            self.given.set(0);
            yield_turn(context);
            return Poll::Pending;
        }
        let message = ready!(self.poll_next(context));
        // No message has 4 GiB.
        let length = message.as_ref().map_or(0, Message::length);
        self.given.set(self.given.get().saturating_add(u32::try_from(length).unwrap_or(u32::MAX)));
        progress.made_progress();
        Poll::Ready(message)
    }

    /// The next message, or nothing when the phase changes.
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let phase = self.phase.get();
        self.is_awaited.set(false);
        for _ in 0..ITEMS_A_TURN {
            if !self.has_room() {
                self.lacks_room.set(true);
                self.inlet.keep(context.waker());
                return Poll::Pending;
            }
            let came = match &mut *self.socket.borrow_mut() {
                Some(socket) => self.reader.borrow_mut().poll(&mut **socket, context),
                None => return Poll::Ready(None),
            };
            match came {
                Poll::Ready(Ok(Came::Item(Item::Message(message)))) => return Poll::Ready(Some(message)),
                Poll::Ready(Ok(Came::Item(control))) => self.take_control(control),
                Poll::Ready(Ok(Came::Part)) => {}
                Poll::Ready(Err(Fault::Lost)) => self.end_now(),
                Poll::Ready(Err(Fault::Violation(violation))) => self.fail(violation),
                Poll::Pending => {
                    self.is_awaited.set(true);
                    self.inlet.keep(context.waker());
                    return Poll::Pending;
                }
            }
            if self.phase.get() != phase || self.is_client_done.get() {
                return Poll::Ready(None);
            }
        }
        yield_turn(context);
        Poll::Pending
    }

    fn take_control(&self, control: Item) {
        match control {
            // Each is answered: a client that reads no answers is not read from when they have filled the room for them.
            Item::Ping(payload) => self.send(|queue| append(queue, Opcode::Pong, false, &payload)),
            Item::Close(close) => {
                self.is_client_done.set(true);
                match self.phase.get() {
                    Phase::Open => {
                        let payload = close.as_ref().map(Close::payload).unwrap_or_default();
                        self.begin_close(&payload, End::Closed(close));
                    }
                    Phase::Closed => self.enter(Phase::Lingering, self.times().linger),
                    Phase::Closing | Phase::Lingering | Phase::Ended => {}
                }
            }
            Item::Pong(_) | Item::Message(_) => {}
        }
    }

    /// Reads what no application takes: after the close frame of this side, or without an inlet.
    pub fn poll_rest(&self, context: &mut Context<'_>) {
        match self.phase.get() {
            Phase::Open if self.has_inlet.get() => {}
            Phase::Open | Phase::Closing | Phase::Closed if self.is_client_done.get() => {}
            Phase::Open | Phase::Closing | Phase::Closed => {
                let _ = self.poll_next(context);
            }
            Phase::Lingering => self.poll_discard(context),
            Phase::Ended => {}
        }
    }

    fn poll_discard(&self, context: &mut Context<'_>) {
        let polled = match &mut *self.socket.borrow_mut() {
            Some(socket) => self.reader.borrow_mut().poll_discard(&mut **socket, context),
            None => return,
        };
        match polled {
            Poll::Ready(Ok(())) => yield_turn(context),
            Poll::Ready(Err(_)) => self.end_now(),
            Poll::Pending => {}
        }
    }

    /// Closes because the client broke a rule. What it sends is not looked at any more.
    pub(super) fn fail(&self, violation: Violation) {
        self.is_client_done.set(true);
        match self.phase.get() {
            Phase::Open => self.close(&Close::new(violation.code(), &violation.to_string())),
            Phase::Closed => self.enter(Phase::Lingering, self.times().linger),
            Phase::Closing | Phase::Lingering | Phase::Ended => {}
        }
    }
}
