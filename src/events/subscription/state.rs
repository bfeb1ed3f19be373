use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::reads::Reads;
use crate::domain::{EventId, EventKind, Holder, Own, Patterns, Position, TenantName, Timestamp, Username, View};
use crate::events::ending::{End, Ending};
use crate::events::pending_presence::PendingPresence;
use crate::events::registry::{PresenceGuard, UserStreams};
use crate::events::shared_event::SharedEvent;
use crate::events::sink::{Sink, Written};
use crate::events::stream_id::Serial;
use crate::events::subscribe_request::StreamOptions;
use crate::events::subscriber::Subscriber;
use crate::events::survey::{SlowReader, Standing, Survey};
use crate::events::tenant_subscriptions::{SubscriptionGroup, TenantSubscriptions};
use crate::events::worker::Worker;
use crate::metrics::WorkerMetrics;

/// How often a quiet stream is given a heartbeat, by which a dead connection is noticed.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(12);

/// The subscriptions that get the same as one.
pub type Group = SubscriptionGroup<Subscription>;

/// The subscriptions to one tenant's events on one worker.
pub type OfTenant = TenantSubscriptions<Subscription>;

/// One stream: a position in the order of all events, and the way there is to write to its client.
///
/// A new one stands before the first event; a client that reconnects, at its `Last-Event-ID`; one that has read too slowly, at the
/// last event that it was given. From each position it catches up by the same path, and is then *live*: in the list of its group, which
/// is given the next event as it comes. It keeps no queue: a client that does not read costs the position, and the rest of what was
/// being written when it stopped.
///
/// What is looked at for each event stands first, beside the reference counts: an event that goes to thousands waits for memory more
/// than for anything else.
#[repr(C)]
pub struct Subscription<O: ?Sized = dyn Sink> {
    pub(super) phase: Cell<Phase>,
    /// Up to here everything has been given, apart from what is in `rest`.
    pub(super) position: Cell<Position>,
    /// Its record in the registry: what its user and its worker call it by, and whether its user's streams may go on.
    pub(in crate::events) presence_guard: PresenceGuard,
    pub(super) grant: RefCell<Grant>,
    pub(super) worker: Weak<Worker<Subscription>>,
    /// Up to here its client may know names though they were not given since: it came back with the id of a control event that
    /// stands before what it announces.
    pub(super) known_to: Cell<Position>,
    /// `Some` if it has yet to say that it is in sync: at the earliest at this position, since up to there events may come of names
    /// that its snapshot had to leave out.
    pub(super) unsynced: Cell<Option<Position>>,
    /// How many changes of its filter its client has asked for, and up to which of them it has said that it is in sync.
    pub(super) changes_asked: Cell<u32>,
    pub(super) changes_told: Cell<u32>,
    pub(super) options: StreamOptions,
    /// Whether the client has the beginning of `rest`, without which what it has means nothing.
    pub(super) is_within: Cell<bool>,
    /// What is to be given before it goes on with new events.
    pub(super) reads: RefCell<Reads>,
    /// What could not be written yet.
    pub(super) rest: RefCell<Bytes>,
    /// The users of whom it has yet to tell whether they are there; `None` if its client did not ask for that.
    pub(super) presence: Option<Box<RefCell<PendingPresence>>>,
    /// The waker of the task that catches up and waits for the end.
    pub(super) waker: Cell<Option<Waker>>,
    pub(super) sink: O,
}

/// Which events a subscription is given, and by which rights.
pub struct Grant {
    /// Its filter, and the rights that it shares with others.
    pub group: Rc<Group>,
    /// The patterns of events that its user alone may see, beside the inbox.
    pub own: Patterns,
    /// What counts its filter for its user: the filter of the group is that of others, too.
    pub holder: Option<Holder>,
    /// What [`UserStreams::changes`] was when it got its rights.
    pub changes: u64,
}

/// What a subscription does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its task catches up.
    CatchingUp,
    /// Its task waits until the sink takes more. The client may take for ever.
    Blocked,
    /// It stands at this place in the list of its group, which is given what is new.
    Live(u32),
    /// Nothing more is written.
    Ended,
}

impl Subscription {
    /// The subscriptions that get the same.
    pub(super) fn group(&self) -> Rc<Group> {
        Rc::clone(&self.grant.borrow().group)
    }

    /// What it gets.
    pub(super) fn view(&self) -> View {
        let Grant { group, own, holder, .. } = &*self.grant.borrow();
        let own = Own { username: self.user_streams().username().clone(), patterns: own.clone() };
        let filter = match holder {
            Some(holder) => group.filter().held_by(holder.clone()),
            None => group.filter(),
        };
        View { filter, rights: group.rights.clone(), own }
    }

    /// Whether it gets an event, by what its view is.
    pub(super) fn gets(&self, view: &View, event: &SharedEvent) -> bool {
        (self.options.transient || event.kind != EventKind::Transient) && view.matches(event.name.as_str())
    }

    /// Has its tenant find it by the names that its user alone may see.
    pub(super) fn attach(self: &Rc<Self>) {
        let Grant { group, own, .. } = &*self.grant.borrow();
        group.subscriptions.attach(self, own);
    }

    /// Writes, and keeps the rest of what was begun. If not everything is taken, it is not live any more.
    fn write(&self, bytes: &Bytes) -> Written {
        let written = self.sink.write(bytes);
        match written {
            Written::All => {}
            Written::Part(taken) => {
                // If nothing of it was taken, nothing need be kept of it.
                if taken > 0 {
                    self.is_within.set(taken < bytes.len());
                    *self.rest.borrow_mut() = bytes.slice(taken..);
                }
                self.leave(Phase::Blocked);
            }
            Written::Whole(taken) => {
                if taken > 0 {
                    *self.rest.borrow_mut() = bytes.slice(taken..);
                }
                self.leave(Phase::Blocked);
            }
            Written::Gone => self.end(End::Gone),
        }
        written
    }

    /// Writes what could not be written before. Returns whether there was something.
    pub(in crate::events) fn write_rest(&self) -> bool {
        let rest = std::mem::take(&mut *self.rest.borrow_mut());
        if rest.is_empty() {
            return false;
        }
        match self.write(&rest) {
            Written::All => self.is_within.set(false),
            Written::Part(0) | Written::Whole(0) => *self.rest.borrow_mut() = rest,
            Written::Part(_) | Written::Whole(_) | Written::Gone => {}
        }
        true
    }

    /// Goes over to another phase, unless it has ended. If it is live, it leaves the list of its group, and its task goes on.
    fn leave(&self, phase: Phase) {
        match self.phase.get() {
            Phase::Ended => {}
            Phase::CatchingUp | Phase::Blocked => self.phase.set(phase),
            Phase::Live(place) => {
                self.phase.set(phase);
                self.count(|metrics| metrics.catching_up.increment());
                self.position.set(self.passed());
                self.group().remove_live(place);
                self.wake();
            }
        }
    }

    /// Up to where everything has been given, while it is live: it may have waited long for an event that it wants, and misses nothing of
    /// what others got meanwhile.
    pub(super) fn passed(&self) -> Position {
        self.position.get().max(self.group().subscriptions.given())
    }

    /// To the next heartbeat or the end of its time, whichever is sooner.
    pub(super) fn next_beat(&self, now: Timestamp) -> Duration {
        self.presence_guard
            .expires_at
            .get()
            .map_or(HEARTBEAT_EVERY, |expires_at| expires_at.since(now).min(HEARTBEAT_EVERY))
    }

    /// What its client resumes from when it ends, so that it misses nothing of what was fetched for it and was not written.
    fn resumes_from(&self, is_all_given: bool) -> EventId {
        let is_known = is_all_given && !self.reads.borrow().is_switching();
        let position = if is_known { self.position.get() } else { Position::START };
        self.group().subscriptions.guard.store().event_id(position)
    }

    /// Ends because its events cannot be read.
    pub(super) fn end_unreadable(&self, error: &crate::error::Error) {
        let group = self.group();
        let tenant = group.subscriptions.guard.tenant();
        tracing::error!(%tenant, %error, "a stream ends because its events cannot be read");
        self.end(End::Unreadable);
    }

    /// Whether nothing may be written any more.
    pub(in crate::events) fn is_over(&self) -> bool {
        self.phase.get() == Phase::Ended || self.user_streams().is_ended()
    }

    /// Counts something of it, unless its worker has gone.
    pub(super) fn count(&self, count: impl FnOnce(&WorkerMetrics)) {
        if let Some(worker) = self.worker.upgrade() {
            count(worker.streams().metrics());
        }
    }

    pub(super) fn wake(&self) {
        // It is the same one at the next time.
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }

    pub(super) fn keep(&self, waker: &Waker) {
        let kept = self.waker.take().filter(|kept| kept.will_wake(waker));
        self.waker.set(Some(kept.unwrap_or_else(|| waker.clone())));
    }
}

impl Subscriber for Subscription {
    fn serial(&self) -> Serial {
        self.presence_guard.serial()
    }

    fn user_streams(&self) -> &UserStreams {
        self.presence_guard.user_streams()
    }

    fn set_place(&self, place: u32) {
        self.phase.set(Phase::Live(place));
    }

    fn give(&self, bytes: &Bytes, from: Position, until: Position) -> bool {
        let position = self.position.get();
        // It became live while this was being given to the others, or comes from a worker that was ahead of this one.
        if position >= until {
            return false;
        }
        if position > from {
            self.fall_behind();
            return false;
        }
        let is_given = matches!(self.write(bytes), Written::All | Written::Part(1..) | Written::Whole(1..));
        if is_given {
            self.position.set(until);
        }
        is_given
    }

    fn fall_behind(&self) {
        match self.phase.get() {
            Phase::Live(_) => self.leave(Phase::CatchingUp),
            Phase::CatchingUp | Phase::Blocked | Phase::Ended => self.wake(),
        }
    }

    fn end(&self, why: End) {
        if self.phase.get() == Phase::Ended {
            return;
        }
        self.leave(Phase::Ended);
        self.count(|metrics| metrics.ends(self.group().format.transport(), why.number()));
        self.wake();
        // What has not been begun is not written any more. If an event was cut in the middle, only closing the connection says it.
        let is_all_given = std::mem::take(&mut *self.rest.borrow_mut()).is_empty();
        if !self.is_within.get() {
            let is_told = self.options.marks && why.is_told();
            self.sink.finish(Ending { why, told: is_told.then(|| self.resumes_from(is_all_given)) });
        }
    }

    fn reads_gaps_alone(&self) -> bool {
        self.options.marks || self.sink.session().is_some() || self.sink.needs_all()
    }

    fn left_out(&self) -> Position {
        self.unsynced.get().unwrap_or(Position::START)
    }

    fn fetch_own(&self, tenant: &TenantName, event: &SharedEvent) {
        let group = self.group();
        let is_live_there = matches!(self.phase.get(), Phase::Live(_)) && group.subscriptions.guard.tenant() == tenant;
        if is_live_there && !group.wants(event) && self.gets(&self.view(), event) {
            self.fall_behind();
        }
    }

    fn note_presence(&self, username: &Username) {
        if let Some(presence) = &self.presence {
            presence.borrow_mut().note(username);
            self.fall_behind();
        }
    }

    fn beat(&self, now: Timestamp) -> Option<Duration> {
        match self.phase.get() {
            Phase::Ended => return None,
            _ if self.presence_guard.expires_at.get().is_some_and(|expires_at| now >= expires_at) => {
                self.end(End::Expired);
                return None;
            }
            Phase::Live(_) => {
                self.sink.passed(self.passed());
                self.write(&self.group().format.joined_heartbeat());
            }
            // It is being written to anyway, or would not take it.
            Phase::CatchingUp | Phase::Blocked => {}
        }
        Some(self.next_beat(now))
    }

    fn tell(&self, survey: &mut Survey) {
        let standing = match self.phase.get() {
            Phase::Live(_) => Standing::Live,
            Phase::CatchingUp => Standing::CatchingUp,
            Phase::Blocked => Standing::Blocked,
            Phase::Ended => return,
        };
        let group = self.group();
        let transport = group.format.transport();
        survey.count(transport, standing, || SlowReader {
            tenant: group.subscriptions.guard.tenant().clone(),
            username: self.user_streams().username().clone(),
            transport,
            position: self.position.get(),
        });
    }
}

impl<O: ?Sized> Drop for Subscription<O> {
    fn drop(&mut self) {
        let (serial, Grant { group, own, .. }) = (self.presence_guard.serial(), self.grant.get_mut());
        group.subscriptions.detach(serial, own);
        group.subscriptions.unwatch(serial);
        if let Some(worker) = self.worker.upgrade() {
            worker.streams().forget(serial, self.presence_guard.user_streams().username());
        }
    }
}
