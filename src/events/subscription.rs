use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio_util::sync::PollSemaphore;

use super::channel::Found;
use super::frame::{Frame, JOINED_BYTES};
use super::outlet::{Outlet, Written};
use super::reading::{Step, fill, read_bytes};
use super::relay::Local;
use super::room::{Class, Room};
use super::session::Session;
use crate::domain::{EventFilter, Position, TenantName, Timestamp};
use crate::error::Error;
use crate::store::Replay;

/// What keeps a quiet stream alive: a comment without a blank line after it, since `broker-client` 0.0.8 would take
/// `:\n\n` for an event.
pub const HEARTBEAT: Bytes = Bytes::from_static(b":\n");
/// How often it is sent; the contract allows 15 s.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(12);

/// One subscriber: a position in the order of all events, and the way there is to write to them.
///
/// New, it stands before the first event; reconnecting, at its `Last-Event-ID`; having read too slowly, at what it was
/// last given. From each it catches up by the same path, and is then *live*: in the list of those who are given the
/// next event as it comes. It keeps no queue: whoever does not read costs the position, and the rest of what was being
/// written when they stopped.
pub struct Subscription<O: ?Sized = dyn Outlet> {
    class: Rc<Class>,
    session: Arc<Session>,
    expires_at: Option<Timestamp>,
    local: Weak<Local>,
    /// Up to here everything has been given, but for what is in `rest`.
    position: Cell<Position>,
    /// Where in the list of its class it is, while it is live.
    pub(super) place: Cell<Option<u32>>,
    /// What could not be written yet.
    rest: RefCell<Bytes>,
    /// Whether the outlet takes nothing before it is ready again.
    blocked: Cell<bool>,
    ended: Cell<bool>,
    /// Of the task that catches up and waits for the end.
    waker: RefCell<Option<Waker>>,
    outlet: O,
}

/// What somebody subscribes to, and by what right.
pub struct Opening {
    /// Whose events.
    pub tenant: TenantName,
    /// Which of them.
    pub filter: EventFilter,
    /// After which position.
    pub after: Position,
    /// Whether everything after that is still kept; where not, the latest of what changed since is given.
    pub is_kept: bool,
    /// Until when; `None` is for ever.
    pub expires_at: Option<Timestamp>,
    /// It ends with this.
    pub session: Arc<Session>,
}

impl Subscription {
    /// Begins as the opening says, after the bytes in `first`.
    pub(super) fn start(
        local: &Rc<Local>,
        opening: Opening,
        outlet: impl Outlet + 'static,
        first: Bytes,
    ) -> Rc<Subscription> {
        let Opening { tenant, filter, after, is_kept, expires_at, session } = opening;
        let room = local.room(&tenant);
        let class = room.class(filter, outlet.framing());
        let until = room.position();
        let subscription: Rc<Subscription> = Rc::new(Subscription {
            class,
            session,
            expires_at,
            local: Rc::downgrade(local),
            position: Cell::new(after),
            place: Cell::new(None),
            rest: RefCell::new(first),
            blocked: Cell::new(false),
            ended: Cell::new(false),
            waker: RefCell::new(None),
            outlet,
        });
        local.wheel().arm(&subscription, subscription.next_beat(local.clock().now()));
        let state = if after >= until {
            State::Near
        } else if after == Position::START {
            State::New(until)
        } else if is_kept {
            State::Near
        } else {
            State::behind(&subscription.class.room, &subscription.class, after, until)
        };
        let subscriber = Rc::clone(&subscription);
        tokio::task::spawn_local(CatchUp { subscription: subscriber, state, queue: None, turn: None });
        subscription
    }

    /// Gives what is new between two positions to one who is live.
    pub(super) fn give(&self, bytes: &Bytes, from: Position, until: Position) {
        let position = self.position.get();
        // It came while this was being given to the others, or comes from a worker that was ahead of this one.
        if position >= until {
            return;
        }
        if position > from {
            return self.fall_behind();
        }
        match self.write(bytes) {
            Written::All => self.position.set(until),
            // Nothing of it was taken, so nothing need be kept of it.
            Written::Part(0) => self.fall_behind(),
            Written::Part(_) => {
                self.position.set(until);
                self.fall_behind();
            }
            Written::Gone => {}
        }
    }

    /// Writes, and keeps the rest of what was begun.
    fn write(&self, bytes: &Bytes) -> Written {
        let written = self.outlet.write(bytes);
        match written {
            Written::All => {}
            Written::Part(taken) => {
                self.blocked.set(true);
                if taken > 0 {
                    *self.rest.borrow_mut() = bytes.slice(taken..);
                }
            }
            Written::Gone => self.end(),
        }
        written
    }

    /// From now on it catches up by itself.
    fn fall_behind(&self) {
        self.class.remove_live(self);
        self.wake();
    }

    /// Its time has come: a heartbeat, or the end. When it comes again.
    pub(super) fn beat(&self, now: Timestamp) -> Option<Duration> {
        if self.ended.get() {
            return None;
        }
        if self.expires_at.is_some_and(|expires_at| now >= expires_at) {
            self.end();
            return None;
        }
        // One that catches up is being written to anyway, or would not take it.
        if self.place.get().is_some() {
            let heartbeat = self.class.framing.join(&[HEARTBEAT]);
            if let Written::Part(_) = self.write(&heartbeat) {
                self.fall_behind();
            }
        }
        Some(self.next_beat(now))
    }

    /// To the next heartbeat or the end of its time, whichever is sooner.
    fn next_beat(&self, now: Timestamp) -> Duration {
        self.expires_at.map_or(HEARTBEAT_EVERY, |expires_at| expires_at.since(now).min(HEARTBEAT_EVERY))
    }

    /// Nothing is written any more, but that it is over where that can be said.
    pub(super) fn end(&self) {
        if self.ended.replace(true) {
            return;
        }
        self.class.remove_live(self);
        // Where a frame was cut in the middle, only closing the connection says it.
        if self.rest.borrow().is_empty() {
            self.outlet.finish();
        }
        self.wake();
    }

    /// Whether nothing may be written any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended.get() || self.session.is_ended()
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn keep(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        match &mut *kept {
            Some(kept) => kept.clone_from(waker),
            None => *kept = Some(waker.clone()),
        }
    }
}

impl<O: ?Sized> Drop for Subscription<O> {
    fn drop(&mut self) {
        if let Some(local) = self.local.upgrade() {
            local.forget_session(&self.session);
        }
    }
}

/// The task of one subscription: catches up whenever it is not live, and notices when the other side has gone.
struct CatchUp {
    subscription: Rc<Subscription>,
    state: State,
    /// The queue for a turn, while it stands in it.
    queue: Option<PollSemaphore>,
    /// The right to catch up, which only so many have at a time: when a thousand come back at once, those who are live must
    /// not wait until all of them are served.
    turn: Option<OwnedSemaphorePermit>,
}

enum State {
    /// It gets the latest of each name up to a position.
    New(Position),
    /// The same, once they have been read into the channel's memory.
    Filling(JoinHandle<Result<(), Error>>, Position),
    /// What it is missing is in the channel, or there is nothing.
    Near,
    /// What it is missing must be read from the store.
    Behind(Box<Replay>),
    /// It is being read.
    Reading(JoinHandle<Step<Bytes>>),
}

impl State {
    fn behind(room: &Room, class: &Class, after: Position, until: Position) -> Self {
        let replay = Replay::new(room.seat.tenant().clone(), class.filter.clone(), after, until);
        Self::Behind(Box::new(replay))
    }
}

impl Future for CatchUp {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let subscription = Rc::clone(&self.subscription);
        subscription.keep(context.waker());
        if subscription.outlet.poll_gone(context).is_ready() {
            subscription.end();
        }
        loop {
            // Looked at after whatever was read and before it is written: sessions end before the events of their batch can
            // be seen.
            if subscription.is_over() {
                subscription.end();
                return Poll::Ready(());
            }
            if subscription.place.get().is_some() {
                (self.queue, self.turn) = (None, None);
                return Poll::Pending;
            }
            if subscription.blocked.get() {
                if subscription.outlet.poll_ready(context).is_pending() {
                    // It is for the reader now, who may take for ever.
                    self.turn = None;
                    return Poll::Pending;
                }
                subscription.blocked.set(false);
            }
            let rest = std::mem::take(&mut *subscription.rest.borrow_mut());
            if !rest.is_empty() {
                if subscription.write(&rest) == Written::Part(0) {
                    *subscription.rest.borrow_mut() = rest;
                }
                if self.turn.is_some() {
                    // Others on this thread have something to write too.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            ready!(self.poll_turn(&subscription, context));
            ready!(self.advance(&subscription, context));
        }
    }
}

impl CatchUp {
    /// Waits for a turn, where there is something to catch up with.
    fn poll_turn(&mut self, subscription: &Subscription, context: &mut Context<'_>) -> Poll<()> {
        let is_near = matches!(self.state, State::Near);
        if self.turn.is_some() || (is_near && subscription.position.get() >= subscription.class.room.position()) {
            return Poll::Ready(());
        }
        let Some(local) = subscription.local.upgrade() else { return Poll::Ready(()) };
        let queue = self.queue.get_or_insert_with(|| PollSemaphore::new(Arc::clone(local.turns())));
        self.turn = ready!(queue.poll_acquire(context));
        Poll::Ready(())
    }

    /// Takes the next of the latest events from memory; whether they are there.
    fn give_latest(&mut self, subscription: &Subscription, until: Position) -> bool {
        let class = &subscription.class;
        let after = subscription.position.get();
        let join = |frames: &[&Frame]| if frames.is_empty() { Bytes::new() } else { class.framing.copy(frames) };
        let Some((bytes, position)) = class.room.seat.channel.latest(after, until, JOINED_BYTES, join) else {
            return false;
        };
        subscription.position.set(position);
        *subscription.rest.borrow_mut() = bytes;
        if position < until {
            self.state = State::New(until);
        }
        true
    }

    /// Fetches what is to be written next, or goes live.
    fn advance(&mut self, subscription: &Rc<Subscription>, context: &mut Context<'_>) -> Poll<()> {
        let class = &subscription.class;
        let room = &class.room;
        match std::mem::replace(&mut self.state, State::Near) {
            State::New(until) => {
                // Who wants a few of them is served from the store, which finds those without looking at the others.
                if class.filter.patterns().is_some() {
                    self.state = State::behind(room, class, subscription.position.get(), until);
                } else if !self.give_latest(subscription, until) {
                    let (store, tenant) = (room.seat.store().clone(), room.seat.tenant().clone());
                    self.state = State::Filling(fill(store, tenant, Arc::clone(&room.seat.channel)), until);
                }
            }
            State::Filling(mut filling, until) => {
                if Pin::new(&mut filling).poll(context).is_pending() {
                    self.state = State::Filling(filling, until);
                    return Poll::Pending;
                }
                // Where there are too many, or they cannot be read: this finds out why.
                if !self.give_latest(subscription, until) {
                    self.state = State::behind(room, class, subscription.position.get(), until);
                }
            }
            State::Near => {
                let (after, until) = (subscription.position.get(), room.position());
                if after >= until {
                    class.add_live(subscription);
                    return Poll::Ready(());
                }
                let wanted = |frame: &Frame| class.filter.matches(frame.name.as_str());
                match room.seat.channel.between(after, until, JOINED_BYTES, wanted) {
                    Found::Nothing => subscription.position.set(until),
                    Found::Frames(frames, until) => {
                        subscription.position.set(until);
                        if !frames.is_empty() {
                            let frames: Vec<Bytes> = frames.into_iter().map(|frame| frame.bytes).collect();
                            *subscription.rest.borrow_mut() = class.framing.join(&frames);
                        }
                    }
                    Found::Behind => self.state = State::behind(room, class, after, until),
                }
            }
            State::Behind(replay) => {
                self.state = State::Reading(read_bytes(room.seat.store().clone(), *replay, class.framing));
            }
            State::Reading(mut reading) => {
                let Poll::Ready(step) = Pin::new(&mut reading).poll(context) else {
                    self.state = State::Reading(reading);
                    return Poll::Pending;
                };
                let failed = match step {
                    Ok(Step { replay, read: Ok(bytes), more }) => {
                        subscription.position.set(replay.position());
                        *subscription.rest.borrow_mut() = bytes;
                        if more {
                            self.state = State::Behind(Box::new(replay));
                        }
                        return Poll::Ready(());
                    }
                    Ok(Step { read: Err(error), .. }) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                tracing::error!(
                    tenant = %room.seat.tenant(),
                    error = failed,
                    "a stream ends because its events cannot be read"
                );
                subscription.end();
            }
        }
        Poll::Ready(())
    }
}
