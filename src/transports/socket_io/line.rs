//! What a session of Engine.IO is between its requests: its transport, what it has yet to say, its heartbeat. No I/O, no clock.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::engine_packet::{CLOSE, NOOP, PING};
use super::outbox::{Frame, Outbox};

/// What a session has to say at most before nothing more is read from it, in bytes.
pub const MAX_UNSENT_BYTES: usize = 64 << 10;

/// What the place for a chunk of an event stream did with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Took it.
    All,
    /// Took nothing, and takes nothing before it is ready again.
    Nothing,
    /// Nothing can be written ever again.
    Gone,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client said so.
    ClientClosed,
    /// The application, or a server that stops, said so.
    ServerClosed,
    /// The connection of the client is gone, or was cut in the middle of a request.
    Gone,
    /// The client does not answer pings.
    Silent,
    /// The client has joined no namespace for too long.
    Idle,
    /// The client does not keep to the protocol.
    Malformed,
    /// There is too much to say to the client, or to all.
    Overloaded,
}

/// By which transport the session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Polling,
    /// Long polling, while a WebSocket tries to take over. Once it has been probed, polls do not wait.
    Upgrading {
        is_probed: bool,
    },
    WebSocket,
    Closed(End),
}

/// The poll of a session.
enum PollState {
    None,
    /// There is one, which will ask for its answer.
    Open,
    /// It waits.
    Waiting(Waker),
}

/// The transport of a session.
pub struct Line {
    phase: Phase,
    outbox: Outbox,
    /// How much memory a WebSocket has for what its client does not take.
    sending: usize,
    poll: PollState,
    is_posting: bool,
    /// When something is due: a ping, or the end of a session that has not answered one.
    due: Instant,
    awaits_pong: bool,
    /// An event stream was told that there was no room, and has not written since.
    is_blocked: bool,
    /// The last poll took what there was while an event stream waited to write. So that answers cannot keep an event stream from its
    /// client for ever, the stream may write before the next poll comes.
    is_owed: bool,
    /// Who waits for the outbox to be emptied.
    pub room: Waiter,
    /// The task of the WebSocket.
    pub driver: Waiter,
    /// The event stream.
    pub stream: Waiter,
}

/// A task that waits.
#[derive(Default)]
pub struct Waiter(Option<Waker>);

impl Waiter {
    /// Keeps the task's waker.
    pub fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        if !self.0.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.0 = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Wakes the task, if one waits.
    pub fn wake(&mut self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

impl Line {
    /// A session that begins with a WebSocket, or with long polling.
    pub fn new(is_websocket: bool, first_ping: Instant) -> Self {
        Self {
            phase: if is_websocket { Phase::WebSocket } else { Phase::Polling },
            outbox: Outbox::default(),
            sending: 0,
            poll: PollState::None,
            is_posting: false,
            due: first_ping,
            awaits_pong: false,
            is_blocked: false,
            is_owed: false,
            room: Waiter::default(),
            driver: Waiter::default(),
            stream: Waiter::default(),
        }
    }

    /// How much memory it takes, in bytes.
    pub fn held(&self) -> usize {
        self.outbox.held() + self.sending
    }

    /// Why it has ended, if it has.
    pub fn end(&self) -> Option<End> {
        if let Phase::Closed(end) = self.phase { Some(end) } else { None }
    }

    /// Whether polls and posts belong to it.
    pub fn is_polling(&self) -> bool {
        matches!(self.phase, Phase::Polling | Phase::Upgrading { .. })
    }

    /// Whether it speaks through a WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.phase == Phase::WebSocket
    }

    /// Whether it speaks through a WebSocket, and has passed on everything that there was to say.
    pub fn is_drained_websocket(&self) -> bool {
        self.is_websocket() && self.outbox.is_empty()
    }

    /// Whether more may be read from the client.
    pub fn has_room(&self) -> bool {
        self.outbox.held() <= MAX_UNSENT_BYTES
    }

    /// Says something to the client.
    pub fn send(&mut self, frame: Frame) {
        if self.end().is_none() {
            self.outbox.push(frame);
            self.wake_reader();
        }
    }

    /// Wakes whatever takes what there is to say.
    fn wake_reader(&mut self) {
        if let PollState::Waiting(waker) = &self.poll {
            waker.wake_by_ref();
            self.poll = PollState::Open;
        }
        self.driver.wake();
    }

    /// Ends it. Whatever waits is woken; a poll that waits is told.
    pub fn close(&mut self, end: End) {
        if self.end().is_some() {
            return;
        }
        if end == End::ServerClosed {
            self.outbox.drop_chunks();
        } else {
            self.outbox = Outbox::default();
        }
        if self.is_polling() {
            // A client that said so itself needs not be told.
            self.outbox.push(Frame::text(if end == End::ClientClosed { NOOP } else { CLOSE }));
        }
        self.phase = Phase::Closed(end);
        self.wake_reader();
        self.room.wake();
        self.stream.wake();
    }

    /// The next thing to say, for a WebSocket that has room and so much in memory to send: a frame, and the attachments that belong to
    /// it. Ready without one when it has ended and there is nothing more to say.
    pub fn poll_packet(&mut self, sending: usize, context: &Context<'_>) -> Poll<Option<(Frame, Vec<Frame>)>> {
        self.sending = sending;
        let packet = self.outbox.pop_packet();
        if matches!(packet, Some((Frame::Chunk(_), _))) {
            self.stream.wake();
        }
        if self.has_room() {
            self.room.wake();
        }
        match packet {
            Some(packet) => Poll::Ready(Some(packet)),
            None if self.end().is_some() => Poll::Ready(None),
            None => self.driver.wait(context),
        }
    }

    /// As [`Line::poll_end`], for a WebSocket without room that has so much in memory to send.
    pub fn poll_end_sending(&mut self, sending: usize, context: &Context<'_>) -> Poll<()> {
        self.sending = sending;
        self.poll_end(context)
    }

    /// Becomes ready when it has ended.
    pub fn poll_end(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.end().is_some() { Poll::Ready(()) } else { self.driver.wait(context) }
    }
}

/// Long polling.
impl Line {
    /// Begins a poll. Returns whether it may: there is one at most, and of two the session ends.
    pub fn begin_poll(&mut self) -> bool {
        let is_first = matches!(self.poll, PollState::None);
        if is_first {
            self.poll = PollState::Open;
        } else {
            self.close(End::Malformed);
        }
        is_first
    }

    /// The answer to the poll that was begun: everything that there is to say, as soon as there is something.
    pub fn poll_answer(&mut self, context: &Context<'_>) -> Poll<Bytes> {
        match self.phase {
            Phase::Polling | Phase::Upgrading { is_probed: false } if self.outbox.is_empty() => {
                self.poll = PollState::Waiting(context.waker().clone());
                // It can write now.
                self.stream.wake();
                return Poll::Pending;
            }
            // What there is to say is for the WebSocket.
            Phase::WebSocket => return Poll::Ready(Bytes::from_static(NOOP.as_bytes())),
            _ if self.outbox.is_empty() => return Poll::Ready(Bytes::from_static(NOOP.as_bytes())),
            _ => {}
        }
        self.is_owed = self.is_blocked && !self.outbox.has_chunk();
        let payload = self.outbox.take_payload();
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
        if self.end().is_some() || self.has_chunk_room() { Poll::Ready(()) } else { self.stream.wait(context) }
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

/// The upgrade from long polling to a WebSocket.
impl Line {
    /// A WebSocket wants to take over. Returns whether it may: one at a time, and only from long polling.
    pub fn begin_upgrade(&mut self) -> bool {
        let may = self.phase == Phase::Polling;
        if may {
            self.phase = Phase::Upgrading { is_probed: false };
        }
        may
    }

    /// The WebSocket works. From here on no poll waits, so that the client can stop polling.
    pub fn probe(&mut self) {
        if matches!(self.phase, Phase::Upgrading { .. }) {
            self.phase = Phase::Upgrading { is_probed: true };
            self.wake_reader();
        }
    }

    /// The WebSocket has taken over. Returns whether it has: the session may have ended meanwhile.
    pub fn upgrade(&mut self) -> bool {
        let may = matches!(self.phase, Phase::Upgrading { .. });
        if may {
            self.phase = Phase::WebSocket;
            self.wake_reader();
            self.room.wake();
            self.stream.wake();
        }
        may
    }

    /// The WebSocket has given up, and long polling goes on.
    pub fn abort_upgrade(&mut self) {
        if matches!(self.phase, Phase::Upgrading { .. }) {
            self.phase = Phase::Polling;
        }
    }
}

/// The heartbeat.
impl Line {
    /// When it is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The client has answered a ping.
    pub fn pong(&mut self, now: Instant, ping_interval: Duration) {
        self.awaits_pong = false;
        self.due = now + ping_interval;
    }

    /// Does what is due: sends a ping, or ends a session that did not answer the last one.
    pub fn beat(&mut self, now: Instant, ping_timeout: Duration) {
        if now < self.due {
            return;
        }
        if self.awaits_pong {
            return self.close(End::Silent);
        }
        self.awaits_pong = true;
        self.due = now + ping_timeout;
        self.send(Frame::text(PING));
    }
}

#[cfg(test)]
mod tests;
