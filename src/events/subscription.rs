mod catch_up;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::hub::Arrival;
use super::mark;
use super::opening::{Opening, Start};
use super::outlet::{Framing, Outlet, Written};
use super::reading::{Lost, left_out_up_to};
use super::relay::Local;
use super::room::{Class, Room};
use super::session::{Serial, Session};
use crate::domain::{Account, EventFilter, Own, Pattern, Position, Rights, Timestamp, Username, View};
use crate::store::{Names, Replay, Wanted};
use catch_up::{CatchUp, State};

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
    /// Its user's being there by it, and what they call it by.
    pub(super) arrival: Arrival,
    /// What its orders name it by.
    pub(super) serial: Serial,
    class: RefCell<Rc<Class>>,
    /// What its user alone may see, beside the inbox.
    own: RefCell<Arc<[Pattern]>>,
    session: Arc<Session>,
    /// What [`Session::changes`] was when it got its rights.
    changes: Cell<u64>,
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
    /// Of whom it has yet to be told whether they are there; `None` where that is not wanted. It is looked at when it is
    /// written, so a reader who is slow costs no more than the names.
    presence: Option<Box<RefCell<BTreeSet<Username>>>>,
    /// Of the task that catches up and waits for the end.
    waker: RefCell<Option<Waker>>,
    outlet: O,
}

/// What is given to a subscription beside what is new, when it wants or may see something else than before.
enum Aside {
    /// It is told what it has lost.
    Lost(Lost),
    /// It is given the latest of what is new to it.
    New(Replay),
}

impl Subscription {
    /// Begins as the opening says, after the bytes in `first`.
    pub(super) fn start(
        local: &Rc<Local>,
        opening: Opening,
        outlet: impl Outlet + 'static,
        first: Bytes,
    ) -> Rc<Subscription> {
        let Opening { arrival, tenant, view, start, marks, presence, expires_at, session, changes } = opening;
        let room = local.room(&tenant);
        let View { filter, rights, own } = view;
        let class = room.class(filter, rights, outlet.framing());
        let until = room.position();
        let (position, reset) = match start {
            Start::Latest => (Position::START, None),
            Start::After(position) | Start::ChangedAfter(position) => (position, None),
            Start::Reset(reason) => (Position::START, Some(reason)),
            Start::Now(reason) => (until, reason),
        };
        let mut first = vec![first];
        if let Some(reason) = reset.filter(|_| marks) {
            // Who gets no further than this and comes back is to be given it all again.
            let id = room.seat.store().event_id(position);
            first.push(class.framing.join(&[mark::reset(reason, id)]));
        }
        let subscription: Rc<Subscription> = Rc::new(Subscription {
            arrival,
            serial: Serial::next(),
            class: RefCell::new(Rc::clone(&class)),
            own: RefCell::new(own.patterns),
            session,
            changes: Cell::new(changes),
            expires_at,
            local: Rc::downgrade(local),
            position: Cell::new(position),
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
            presence: presence.then(|| Box::new(RefCell::new(local.hub().watch(&tenant).into_iter().collect()))),
            waker: RefCell::new(None),
            outlet,
        });
        if presence {
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
        tokio::task::spawn_local(CatchUp::new(Rc::clone(&subscription), state));
        subscription
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
            presence.borrow_mut().insert(username.clone());
            self.fall_behind();
        }
    }

    /// Those who get the same.
    pub(super) fn class(&self) -> Rc<Class> {
        Rc::clone(&self.class.borrow())
    }

    /// What it gets.
    pub(super) fn view(&self) -> View {
        let class = self.class.borrow();
        let own = Own { username: self.session.username.clone(), patterns: Arc::clone(&self.own.borrow()) };
        View { filter: class.filter.clone(), rights: class.rights.clone(), own }
    }

    /// Whether it waits for what is new in a room.
    pub(super) fn is_live_in(&self, room: &Room) -> bool {
        self.place.get().is_some() && std::ptr::eq(Rc::as_ptr(&self.class.borrow().room), room)
    }

    /// Wants something else from now on; what is new to it is given.
    pub(super) fn change_filter(self: &Rc<Self>, filter: EventFilter) {
        let View { rights, own, .. } = self.view();
        let room = Rc::clone(&self.class().room);
        self.turn_to(&room, Position::START, View { filter, rights, own });
    }

    /// Whether it still may see what it could when it got its rights. Asked after events were fetched and before they count
    /// as given: a change of rights is noted before the events of its commit can be fetched. Where it may not, it has its new
    /// rights when this returns.
    fn is_current(&self) -> bool {
        if self.session.changes() == self.changes.get() {
            return true;
        }
        if let Some(local) = self.local.upgrade() {
            local.change_rights(&self.session);
        }
        false
    }

    /// May see something else from now on, perhaps of another tenant. What is new to it is given, and what it may no longer see
    /// it is told.
    pub(super) fn change_rights(
        self: &Rc<Self>,
        local: &Rc<Local>,
        account: &Account,
        (rights, own): (Rights, Own),
        changes: u64,
    ) {
        self.changes.set(changes);
        let (room, filter) = (local.room(&account.tenant), self.class().filter.clone());
        self.turn_to(&room, account.tenant_since, View { filter, rights, own });
    }

    /// Goes on with what a view shows of a room's tenant: where that is another one, with the latest events up to where its
    /// user came there, and everything that came after. The order is one for all tenants.
    fn turn_to(self: &Rc<Self>, room: &Rc<Room>, since: Position, view: View) {
        let (before, room_before) = (self.view(), Rc::clone(&self.class().room));
        let is_moved = !Rc::ptr_eq(&room_before, room);
        if (before == view && !is_moved) || self.is_over() {
            return;
        }
        self.fall_behind();
        self.note_own(false);
        let class = room.class(view.filter.clone(), view.rights.clone(), self.class().framing);
        self.class.replace(class);
        self.own.replace(Arc::clone(&view.own.patterns));
        self.note_own(true);
        self.turns.set(self.turns.get().wrapping_add(1));
        let mut asides = self.asides.borrow_mut();
        // What was still to be given of the last change is now part of this one.
        let is_settled = !self.turning.replace(true);
        asides.retain(|aside| matches!(aside, Aside::Lost(_)));
        let (known_to, new, old) = (self.position.get(), Box::new(view.clone()), Box::new(before.clone()));
        let may_lose = is_moved || before.rights != view.rights || before.own != view.own;
        if self.marks && may_lose && known_to > Position::START {
            let lost = if is_moved { Wanted::Of(old.clone()) } else { Wanted::New(old.clone(), new.clone()) };
            let names = Names::new(room_before.seat.tenant().clone(), lost);
            asides.push_back(Aside::Lost(Lost { names, known_to }));
        }
        if is_moved {
            self.position.set(known_to.max(since));
            // What it waited for was of the other tenant.
            self.left_out.set(Position::START);
        }
        let wanted = if is_settled && !is_moved { Wanted::New(new, old) } else { Wanted::Of(new) };
        let (tenant, until) = (room.seat.tenant().clone(), self.position.get());
        asides.push_back(Aside::New(Replay::snapshot(tenant, wanted, Position::START, until)));
        self.unsynced.set(self.marks);
        drop(asides);
        if is_moved {
            self.move_presence(&room_before, room);
        }
        self.wake();
    }

    /// Its user is there in another room's tenant from now on, and it is told who is there instead of who was.
    fn move_presence(self: &Rc<Self>, before: &Room, room: &Room) {
        let Some(local) = self.local.upgrade() else { return };
        let (hub, tenant_before, tenant) = (local.hub(), before.seat.tenant(), room.seat.tenant());
        self.arrival.move_to(tenant, local.clock().now());
        let Some(presence) = &self.presence else { return };
        before.remove_watcher(self);
        room.add_watcher(self);
        let (were_there, are_there) = (hub.unwatch(tenant_before), hub.watch(tenant));
        // Who has gone just now is in neither.
        let untold = local.mailbox().untold(tenant_before);
        presence.borrow_mut().extend([were_there, are_there, untold].into_iter().flatten());
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
        self.session.remove(self.serial);
        if let Some(local) = self.local.upgrade() {
            local.forget_session(&self.session);
            if self.presence.is_some() {
                local.hub().unwatch(self.class.borrow().room.seat.tenant());
            }
        }
    }
}
