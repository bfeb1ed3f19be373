mod catch_up;
mod state;
mod view_switch;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::control::ControlEvent;
use super::pending_presence::PendingPresence;
use super::reading::left_out_up_to;
use super::registry::{PresenceGuard, UserStreams};
use super::sink::{Sink, Written};
use super::subscribe_request::{First, Start, StreamOptions, SubscribeRequest};
use super::tenant_subscriptions::{SubscriptionGroup, TenantSubscriptions};
use super::worker::Worker;
use crate::domain::{Holder, Own, Patterns, Position, Timestamp, Username, View};
pub use catch_up::CatchUp;
use state::State;
use view_switch::Backfill;

/// How often a quiet stream is given a heartbeat; the contract allows 15 s.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(12);

/// One subscriber: a position in the order of all events, and the way there is to write to them.
///
/// New, it stands before the first event; reconnecting, at its `Last-Event-ID`; having read too slowly, at what it was
/// last given. From each it catches up by the same path, and is then *live*: in the list of those who are given the
/// next event as it comes. It keeps no queue: whoever does not read costs the position, and the rest of what was being
/// written when they stopped.
pub struct Subscription<O: ?Sized = dyn Sink> {
    /// Its record in the registry: what its user and its worker call it by, and whether its user's streams may go on.
    pub(super) presence_guard: PresenceGuard,
    group: RefCell<Rc<SubscriptionGroup>>,
    /// What its user alone may see, beside the inbox.
    own: RefCell<Patterns>,
    /// What counts its filter for its user: that of its class is others' too.
    filter_holder: Cell<Option<Holder>>,
    /// What [`UserStreams::changes`] was when it got its rights.
    changes: Cell<u64>,
    expires_at: Option<Timestamp>,
    worker: Weak<Worker>,
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
    /// What its switches are set to.
    options: StreamOptions,
    /// Whether it has yet to be said that it is in sync.
    unsynced: Cell<bool>,
    /// Up to here names may come that were there all along, and that its snapshot had to leave out.
    left_out: Cell<Position>,
    /// What is to be given before it goes on, since it changed what it wants or may see.
    backfills: RefCell<VecDeque<Backfill>>,
    /// Whether not all of that has been given yet.
    is_switching: Cell<bool>,
    /// How often it changed so.
    view_version: Cell<u32>,
    /// Of whom it has yet to be told whether they are there; `None` where that is not wanted.
    presence: Option<Box<RefCell<PendingPresence>>>,
    /// Of the task that catches up and waits for the end.
    waker: Cell<Option<Waker>>,
    sink: O,
}

impl Subscription {
    /// Begins as the opening says, after the bytes in `first`, and goes on as long as its task is run.
    pub(super) fn start(
        worker: &Rc<Worker>,
        request: SubscribeRequest,
        sink: impl Sink + 'static,
        first: Bytes,
    ) -> (Rc<Subscription>, CatchUp) {
        let SubscribeRequest {
            presence_guard,
            tenant,
            view,
            start: Start { after, first: first_given, reset, known_to },
            options,
            expires_at,
            changes,
        } = request;
        let subscriptions = worker.subscriptions(&tenant);
        let View { filter, rights, own } = view;
        let filter_holder = Cell::new(filter.holder());
        let group = subscriptions.group(filter, rights, sink.format());
        let until = subscriptions.position();
        let begins = match reset.filter(|_| options.marks) {
            // A client that gets no further than this and comes back is to be given it all again.
            Some(reason) => {
                let id = subscriptions.guard.store().event_id(after);
                group.format.controls([ControlEvent::Reset(reason)], id)
            }
            // A proxy that compresses, and clients that wait for it, pass on the head of an answer only with its first byte, and
            // the first event may be long in coming.
            None => group.format.joined_heartbeat(),
        };
        let first = [first, begins].concat();
        let subscription: Rc<Subscription> = Rc::new(Subscription {
            presence_guard,
            group: RefCell::new(Rc::clone(&group)),
            own: RefCell::new(own.patterns),
            filter_holder,
            changes: Cell::new(changes),
            expires_at,
            worker: Rc::downgrade(worker),
            position: Cell::new(after),
            known_to: Cell::new(known_to),
            place: Cell::new(None),
            rest: RefCell::new(first.into()),
            blocked: Cell::new(false),
            ended: Cell::new(false),
            options,
            unsynced: Cell::new(options.marks),
            left_out: Cell::new(Position::START),
            backfills: RefCell::default(),
            is_switching: Cell::new(false),
            view_version: Cell::new(0),
            presence: options.presence.then(|| Box::new(RefCell::new(PendingPresence::all()))),
            waker: Cell::new(None),
            sink,
        });
        // Nobody is looked at before that: it is told of users that go from now on.
        subscription.attach();
        worker.wheel().arm(subscription.presence_guard.serial(), subscription.next_beat(worker.clock().now()));
        if options.marks && first_given != First::Snapshot {
            // It may come back in the middle of a snapshot, and that left something out.
            match left_out_up_to(
                subscriptions.guard.store(),
                &subscriptions.guard.channel,
                subscriptions.guard.tenant(),
            ) {
                Ok(left_out) => subscription.left_out.set(left_out),
                Err(error) => subscription.end_unreadable(&error.to_string()),
            }
        }
        let state = State::first(&subscription, first_given, until);
        let task = CatchUp::new(Rc::clone(&subscription), state);
        (subscription, task)
    }

    /// Whether it says how it stands.
    pub(super) fn wants_marks(&self) -> bool {
        self.options.marks
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
    fn has_pending_presence(&self) -> bool {
        self.presence.as_ref().is_some_and(|presence| !presence.borrow().is_empty())
    }

    /// Those who get the same.
    pub(super) fn group(&self) -> Rc<SubscriptionGroup> {
        Rc::clone(&self.group.borrow())
    }

    /// What it gets.
    pub(super) fn view(&self) -> View {
        let group = self.group.borrow();
        let own = Own { username: self.user_streams().username().clone(), patterns: self.own.borrow().clone() };
        let filter = group.filter.clone();
        let holder = self.filter_holder.take();
        self.filter_holder.set(holder.clone());
        let filter = match holder {
            Some(holder) => filter.held_by(holder),
            None => filter,
        };
        View { filter, rights: group.rights.clone(), own }
    }

    /// Whether it waits for what is new in a room.
    pub(super) fn is_live_in(&self, subscriptions: &TenantSubscriptions) -> bool {
        self.place.get().is_some() && std::ptr::eq(Rc::as_ptr(&self.group.borrow().subscriptions), subscriptions)
    }

    /// The streams of its user.
    fn user_streams(&self) -> &UserStreams {
        self.presence_guard.user_streams()
    }

    /// Has its tenant find it by what its user alone may see, and by that it is told who is there.
    fn attach(self: &Rc<Self>) {
        let is_watching = self.presence.is_some();
        self.group().subscriptions.attach(self, &self.own.borrow(), is_watching);
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
        let written = self.sink.write(bytes);
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
        let group = self.group();
        if self.place.get().is_some() {
            // It may have waited long for what it wants: nothing of what others got meanwhile is missing to it.
            self.position.set(self.position.get().max(group.subscriptions.given()));
        }
        group.remove_live(self);
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
            let heartbeat = self.group().format.joined_heartbeat();
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
        self.group().remove_live(self);
        // Where a frame was cut in the middle, only closing the connection says it.
        if self.rest.borrow().is_empty() {
            self.sink.finish();
        }
        self.wake();
    }

    /// Its events cannot be read.
    fn end_unreadable(&self, error: &str) {
        let group = self.group();
        let tenant = group.subscriptions.guard.tenant();
        tracing::error!(%tenant, error, "a stream ends because its events cannot be read");
        self.end();
    }

    /// Whether nothing may be written any more.
    pub(super) fn is_over(&self) -> bool {
        self.ended.get() || self.user_streams().is_ended()
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
        let serial = self.presence_guard.serial();
        self.group.get_mut().subscriptions.detach(serial, self.own.get_mut(), None);
        if let Some(worker) = self.worker.upgrade() {
            worker.forget(serial);
        }
    }
}
