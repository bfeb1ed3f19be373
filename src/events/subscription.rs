mod catch_up;
mod state;
mod turning;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::hub::Arrival;
use super::mark;
use super::opening::{Opening, Start};
use super::outlet::{Framing, Outlet, Written};
use super::reading::left_out_up_to;
use super::relay::Local;
use super::room::{Class, Room};
use super::session::{Serial, Session};
use super::untold::Untold;
use crate::domain::{Holder, Own, Patterns, Position, Timestamp, Username, View};
pub use catch_up::CatchUp;
use state::State;
use turning::Aside;

/// What keeps a quiet stream alive: a comment without a blank line after it, since `broker-client` 0.0.8 would take
/// `:\n\n` for an event. A stream begins with one, too.
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
    /// Its user's being there by it, and what they call it by.
    pub(super) arrival: Arrival,
    /// What its orders name it by.
    pub(super) serial: Serial,
    class: RefCell<Rc<Class>>,
    /// What its user alone may see, beside the inbox.
    own: RefCell<Patterns>,
    /// What counts its filter for its user: that of its class is others' too.
    filter_holder: Cell<Option<Holder>>,
    session: Arc<Session>,
    /// What [`Session::changes`] was when it got its rights.
    changes: Cell<u64>,
    expires_at: Option<Timestamp>,
    local: Weak<Local>,
    /// Up to here everything has been given, but for what is in `rest`.
    position: Cell<Position>,
    /// Up to here its reader may know names though they were not given since: it came back with the id of a mark that stands
    /// before what it announces.
    known_to: Cell<Position>,
    /// Where in the list of its class it is, while it is live.
    pub(super) place: Cell<Option<u32>>,
    /// What could not be written yet.
    rest: RefCell<Bytes>,
    /// Whether the outlet takes nothing before it is ready again.
    blocked: Cell<bool>,
    ended: Cell<bool>,
    /// Whether marks are wanted.
    marks: bool,
    /// Whether it has yet to be said that it is in sync.
    unsynced: Cell<bool>,
    /// Up to here names may come that were there all along, and that its snapshot had to leave out.
    left_out: Cell<Position>,
    /// What is to be given before it goes on, since it changed what it wants or may see.
    asides: RefCell<VecDeque<Aside>>,
    /// Whether not all of that has been given yet.
    turning: Cell<bool>,
    /// How often it changed so.
    turns: Cell<u32>,
    /// Of whom it has yet to be told whether they are there; `None` where that is not wanted.
    presence: Option<Box<RefCell<Untold>>>,
    /// Of the task that catches up and waits for the end.
    waker: Cell<Option<Waker>>,
    outlet: O,
}

impl Subscription {
    /// Begins as the opening says, after the bytes in `first`, and goes on as long as its task is run.
    pub(super) fn start(
        local: &Rc<Local>,
        opening: Opening,
        outlet: impl Outlet + 'static,
        first: Bytes,
    ) -> (Rc<Subscription>, CatchUp) {
        let Opening { arrival, tenant, view, start, head, marks, presence, expires_at, session, changes } = opening;
        let room = local.room(&tenant);
        let View { filter, rights, own } = view;
        let filter_holder = Cell::new(filter.holder());
        let class = room.class(filter, rights, outlet.framing());
        let until = room.position();
        let (position, reset) = match start {
            Start::Latest => (Position::START, None),
            Start::After(position) | Start::ChangedAfter(position) => (position, None),
            Start::Reset(reason) => (Position::START, Some(reason)),
            Start::Now(reason) => (until, reason),
        };
        let known_to = match start {
            Start::After(Position::START) => head,
            _ => Position::START,
        };
        let begins = match reset.filter(|_| marks) {
            // Who gets no further than this and comes back is to be given it all again.
            Some(reason) => mark::reset(reason, room.seat.store().event_id(position)),
            // A proxy that compresses, and clients that wait for it, pass on the head of an answer only with its first byte, and
            // the first event may be long in coming.
            None => HEARTBEAT,
        };
        let first = [first, class.framing.join(&[begins])];
        let subscription: Rc<Subscription> = Rc::new(Subscription {
            arrival,
            serial: local.hub().next_serial(),
            class: RefCell::new(Rc::clone(&class)),
            own: RefCell::new(own.patterns),
            filter_holder,
            session,
            changes: Cell::new(changes),
            expires_at,
            local: Rc::downgrade(local),
            position: Cell::new(position),
            known_to: Cell::new(known_to),
            place: Cell::new(None),
            rest: RefCell::new(Framing::Bare.join(&first)),
            blocked: Cell::new(false),
            ended: Cell::new(false),
            marks,
            unsynced: Cell::new(marks),
            left_out: Cell::new(Position::START),
            asides: RefCell::default(),
            turning: Cell::new(false),
            turns: Cell::new(0),
            presence: presence.then(|| Box::new(RefCell::new(Untold::all()))),
            waker: Cell::new(None),
            outlet,
        });
        if presence {
            // Nobody is looked at before that: who goes from now on is told of.
            local.hub().watch(&tenant);
            room.add_watcher(&subscription);
        }
        subscription.note_own(true);
        local.wheel().arm(&subscription, subscription.next_beat(local.clock().now()));
        if marks && !matches!(start, Start::Latest | Start::Reset(_)) {
            // It may come back in the middle of a snapshot, and that left something out.
            match left_out_up_to(room.seat.store(), &room.seat.channel, room.seat.tenant()) {
                Ok(left_out) => subscription.left_out.set(left_out),
                Err(error) => subscription.end_unreadable(&error.to_string()),
            }
        }
        let state = State::first(&subscription, start, until);
        let task = CatchUp::new(Rc::clone(&subscription), state);
        (subscription, task)
    }

    /// Whether it says how it stands.
    pub(super) fn wants_marks(&self) -> bool {
        self.marks
    }

    /// Up to here names may come that were there all along.
    pub(super) fn left_out(&self) -> Position {
        self.left_out.get()
    }

    /// It is to tell how it stands with somebody.
    pub(super) fn note_presence(&self, username: &Username) {
        if let Some(presence) = &self.presence {
            presence.borrow_mut().note(username);
            self.fall_behind();
        }
    }

    /// Whether it has yet to tell how it stands with somebody.
    fn has_untold(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| !presence.borrow().is_empty())
    }

    /// Those who get the same.
    pub(super) fn class(&self) -> Rc<Class> {
        Rc::clone(&self.class.borrow())
    }

    /// What it gets.
    pub(super) fn view(&self) -> View {
        let class = self.class.borrow();
        let own = Own { username: self.session.username.clone(), patterns: self.own.borrow().clone() };
        let filter = class.filter.clone();
        let holder = self.filter_holder.take();
        self.filter_holder.set(holder.clone());
        let filter = match holder {
            Some(holder) => filter.held_by(holder),
            None => filter,
        };
        View { filter, rights: class.rights.clone(), own }
    }

    /// Whether it waits for what is new in a room.
    pub(super) fn is_live_in(&self, room: &Room) -> bool {
        self.place.get().is_some() && std::ptr::eq(Rc::as_ptr(&self.class.borrow().room), room)
    }

    /// Has the room know, or forget, what its user alone may see.
    fn note_own(self: &Rc<Self>, is_there: bool) {
        let own = self.own.borrow();
        if !own.is_empty() {
            self.class().room.note_own(&own, &Rc::downgrade(self), is_there);
        }
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

    /// Writes what could not be written before; whether there was something.
    pub(super) fn write_rest(&self) -> bool {
        let rest = std::mem::take(&mut *self.rest.borrow_mut());
        if rest.is_empty() {
            return false;
        }
        if self.write(&rest) == Written::Part(0) {
            *self.rest.borrow_mut() = rest;
        }
        true
    }

    /// From now on it catches up by itself.
    pub(super) fn fall_behind(&self) {
        let class = self.class();
        if self.place.get().is_some() {
            // It may have waited long for what it wants: nothing of what others got meanwhile is missing to it.
            self.position.set(self.position.get().max(class.room.given()));
        }
        class.remove_live(self);
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
            let heartbeat = self.class().framing.join(&[HEARTBEAT]);
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
        self.class().remove_live(self);
        // Where a frame was cut in the middle, only closing the connection says it.
        if self.rest.borrow().is_empty() {
            self.outlet.finish();
        }
        self.wake();
    }

    /// Its events cannot be read.
    fn end_unreadable(&self, error: &str) {
        let class = self.class();
        let tenant = class.room.seat.tenant();
        tracing::error!(%tenant, error, "a stream ends because its events cannot be read");
        self.end();
    }

    /// Whether nothing may be written any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended.get() || self.session.is_ended()
    }

    fn wake(&self) {
        // It is the same one at the next time.
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }

    fn keep(&self, waker: &Waker) {
        let kept = self.waker.take().filter(|kept| kept.will_wake(waker));
        self.waker.set(Some(kept.unwrap_or_else(|| waker.clone())));
    }
}

impl<O: ?Sized> Drop for Subscription<O> {
    fn drop(&mut self) {
        self.session.remove(self.serial);
        let own = self.own.get_mut();
        if !own.is_empty() {
            self.class.get_mut().room.forget_own(own);
        }
        if let Some(local) = self.local.upgrade() {
            local.note_gone(&self.session);
            if self.presence.is_some() {
                let room = &self.class.get_mut().room;
                room.forget_watcher();
                local.hub().unwatch(room.seat.tenant());
            }
        }
    }
}
