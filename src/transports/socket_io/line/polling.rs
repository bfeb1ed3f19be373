//! Polls and posts, and what an event stream writes for a poll.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{End, Frame, Line, NOOP, Phase, PollState, Written};

/// Long polling.
impl Line {
    /// Begins a poll. Returns what it is known by, if it may begin: there is one at most, and of two the session ends.
    pub fn begin_poll(&mut self) -> Option<u32> {
        // The connection of the last one has waited in vain.
        self.wake_between();
        if !matches!(self.poll, PollState::None) {
            self.close(End::Malformed);
            return None;
        }
        self.poll = PollState::Open;
        self.polls = self.polls.wrapping_add(1);
        Some(self.polls)
    }

    /// The answer to a poll has been sent, or never will be.
    pub fn sent(&mut self) {
        // A WebSocket counts what it has to send itself.
        if !self.is_websocket() {
            self.sending = 0;
        }
    }

    /// Begins a poll on the connection of one that has been answered, as [`Line::begin_poll`] does. It may not if that was not the last
    /// one, or if there can be no more: then nothing has happened.
    pub fn poll_again(&mut self, last: u32) -> Option<u32> {
        let may =
            self.is_polling() && self.polls == last && matches!(self.poll, PollState::None | PollState::Between(_));
        if !may {
            return None;
        }
        self.sent();
        // It is not to be woken by itself.
        self.poll = PollState::None;
        self.begin_poll()
    }

    /// Becomes ready when [`Line::poll_again`] can only fail. Wakes as a future does.
    pub fn poll_last(&mut self, last: u32, context: &Context<'_>) -> Poll<()> {
        if !self.is_polling() || self.polls != last {
            return Poll::Ready(());
        }
        self.sent();
        match &self.poll {
            PollState::Between(waker) if waker.will_wake(context.waker()) => Poll::Pending,
            PollState::None | PollState::Between(_) => {
                self.poll = PollState::Between(context.waker().clone());
                Poll::Pending
            }
            PollState::Open | PollState::Waiting(_) => Poll::Ready(()),
        }
    }

    /// The connection of this poll does not wait for the next one.
    pub fn forget_last(&mut self, last: u32) {
        if self.polls != last {
            return;
        }
        self.sent();
        if matches!(self.poll, PollState::Between(_)) {
            self.poll = PollState::None;
        }
    }

    /// Wakes the connection of the last poll, which need not wait for another.
    pub(super) fn wake_between(&mut self) {
        if matches!(self.poll, PollState::Between(_))
            && let PollState::Between(waker) = std::mem::replace(&mut self.poll, PollState::None)
        {
            waker.wake();
        }
    }

    /// The answer to the poll that was begun: everything that there is to say, as soon as there is something.
    pub fn poll_answer(&mut self, context: &Context<'_>) -> Poll<Bytes> {
        match self.phase {
            Phase::Polling | Phase::Upgrading { is_probed: false } if self.outbox.is_empty() => {
                self.poll = PollState::Waiting(context.waker().clone());
                if std::mem::take(&mut self.awaits_room) {
                    self.stream.wake();
                }
                return Poll::Pending;
            }
            // What there is to say is for the WebSocket.
            Phase::WebSocket => return Poll::Ready(Bytes::from_static(NOOP.as_bytes())),
            _ if self.outbox.is_empty() => return Poll::Ready(Bytes::from_static(NOOP.as_bytes())),
            _ => {}
        }
        self.is_owed = self.is_blocked && !self.outbox.has_chunk();
        let payload = self.outbox.take_payload();
        self.sending = payload.len();
        self.room.wake();
        if self.is_owed {
            self.stream.wake();
        }
        Poll::Ready(payload)
    }

    /// Ends the poll. If it was not answered, its client is gone.
    pub fn end_poll(&mut self, is_answered: bool) {
        self.poll = PollState::None;
        if !is_answered && self.is_polling() {
            self.close(End::Gone);
        }
    }

    /// Begins a post. Returns whether it may: there is one at most, and of two the session ends.
    pub fn begin_post(&mut self) -> bool {
        let is_first = !std::mem::replace(&mut self.is_posting, true);
        if !is_first {
            self.close(End::Malformed);
        }
        is_first
    }

    /// Ends the post.
    pub fn end_post(&mut self) {
        self.is_posting = false;
    }

    /// Takes a chunk of an event stream if a poll waits for it, or if there is a WebSocket by now and it has sent the one before.
    pub fn write_chunk(&mut self, packets: &Bytes) -> Written {
        if self.end().is_some() {
            return Written::Gone;
        }
        if packets.is_empty() {
            return Written::All;
        }
        self.is_blocked = !self.has_chunk_room();
        if self.is_blocked {
            return Written::Nothing;
        }
        self.is_owed = false;
        self.send(Frame::Chunk(packets.clone()));
        Written::All
    }

    /// Ends an event stream: drops what was taken of it and nobody has got yet, and wakes it.
    pub fn end_stream(&mut self) {
        self.outbox.drop_chunks();
        (self.is_blocked, self.is_owed) = (false, false);
        self.stream.wake();
        self.driver.wake();
    }

    /// Whether something that was taken of an event stream has yet to be given to the client.
    pub fn has_chunk(&self) -> bool {
        self.outbox.has_chunk()
    }

    /// Becomes ready when a chunk would be taken, or when none will be again.
    pub fn poll_chunk_room(&mut self, context: &Context<'_>) -> Poll<()> {
        self.awaits_room = self.end().is_none() && !self.has_chunk_room();
        if self.awaits_room { self.stream.wait(context) } else { Poll::Ready(()) }
    }

    /// Becomes ready when no chunk will be taken again. Wakes also when the session has upgraded.
    pub fn poll_chunks_gone(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.end().is_some() { Poll::Ready(()) } else { self.stream.wait(context) }
    }

    fn has_chunk_room(&self) -> bool {
        let may = self.is_websocket() || self.is_owed || matches!(self.poll, PollState::Waiting(_));
        may && !self.outbox.has_chunk()
    }
}
