//! What a session of Engine.IO is between its requests: its transport, what it has yet to say, its heartbeat. No I/O, no clock.

mod polling;

use std::task::{Context, Poll, Waker};
use std::time::Duration;

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
    /// There is none, and the connection of the last one waits for the next.
    Between(Waker),
}

/// The transport of a session.
pub struct Line {
    phase: Phase,
    outbox: Outbox,
    /// How much memory a WebSocket has for what its client does not take, or how long an answer to a poll is that is being sent.
    sending: usize,
    poll: PollState,
    /// How many polls there were, the last of which is known by this.
    polls: u32,
    is_posting: bool,
    /// When something is due: a ping, or the end of a session that has not answered one.
    due: Instant,
    awaits_pong: bool,
    /// An event stream was told that there was no room, and has not written since.
    is_blocked: bool,
    /// Whether an event stream waits for the place of a chunk.
    awaits_room: bool,
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
            polls: 0,
            is_posting: false,
            due: first_ping,
            awaits_pong: false,
            is_blocked: false,
            awaits_room: false,
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
        self.wake_between();
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
            self.wake_between();
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
