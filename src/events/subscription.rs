use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
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
use super::hub::Arrival;
use super::mark::{self, Reset};
use super::outlet::{Framing, Outlet, Written};
use super::reading::{Step, fill, read_bytes, read_left};
use super::relay::Local;
use super::room::{Class, Room};
use super::session::Session;
use crate::domain::{EventFilter, Own, Position, Rights, TenantName, Timestamp, Username, View};
use crate::error::Error;
use crate::store::{Replay, Wanted};

/// What keeps a quiet stream alive: a comment without a blank line after it, since `broker-client` 0.0.8 would take
/// `:\n\n` for an event.
pub const HEARTBEAT: Bytes = Bytes::from_static(b":\n");
/// Of how many people it is told at once.
const PRESENCE_AT_ONCE: usize = 256;
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
    class: RefCell<Rc<Class>>,
    /// What its user alone may see.
    own: RefCell<Own>,
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
    /// What is to be given before it goes on, since it changed what it wants or may see.
    asides: RefCell<VecDeque<Aside>>,
    /// How often that was.
    turns: Cell<u32>,
    /// Of whom it has yet to be told whether they are there; `None` where that is not wanted. It is looked at when it is
    /// written, so a reader who is slow costs no more than the names.
    presence: Option<Box<RefCell<BTreeSet<Username>>>>,
    /// Of the task that catches up and waits for the end.
    waker: RefCell<Option<Waker>>,
    outlet: O,
}

/// What somebody subscribes to, and by what right.
pub struct Opening {
    /// Their being there by it, and what they call it by.
    pub arrival: Arrival,
    /// Whose events.
    pub tenant: TenantName,
    /// Which of them.
    pub view: View,
    /// From where on.
    pub start: Start,
    /// Whether marks are wanted.
    pub marks: bool,
    /// Whether it is to be told who is there.
    pub presence: bool,
    /// Until when; `None` is for ever.
    pub expires_at: Option<Timestamp>,
    /// It ends with this.
    pub session: Arc<Session>,
    /// What [`Session::changes`] was before the rights in the view were looked at.
    pub changes: u64,
}

/// From where on a stream is given events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// First the latest of every name.
    Latest,
    /// First everything after a position, which is still kept.
    After(Position),
    /// First the latest of those names that changed after a position: not everything is still kept.
    ChangedAfter(Position),
    /// First the latest of every name, and for a reason not what was missed.
    Reset(Reset),
    /// What comes now; where something was missed, with the reason why it is not given.
    Now(Option<Reset>),
}

/// What is given to a subscription beside what is new, when it wants or may see something else than before.
struct Aside {
    replay: Replay,
    /// Whether it is told that it has lost these names, instead of being given their events.
    is_left: bool,
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
            class: RefCell::new(Rc::clone(&class)),
            own: RefCell::new(own),
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
            asides: RefCell::default(),
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
        let state = if position >= until {
            State::Near
        } else if position == Position::START {
            State::New(until)
        } else if let Start::ChangedAfter(_) = start {
            subscription.behind(position, until)
        } else {
            State::Near
        };
        let subscriber = Rc::clone(&subscription);
        let catch_up = CatchUp { subscription: subscriber, state, aside: None, turns: 0, queue: None, turn: None };
        tokio::task::spawn_local(catch_up);
        subscription
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
        View { filter: class.filter.clone(), rights: class.rights.clone(), own: self.own.borrow().clone() }
    }

    /// Whether it waits for what is new in a room.
    pub(super) fn is_live_in(&self, room: &Room) -> bool {
        self.place.get().is_some() && std::ptr::eq(Rc::as_ptr(&self.class.borrow().room), room)
    }

    /// The reading of what it gets between two positions.
    fn behind(&self, after: Position, until: Position) -> State {
        let wanted = Wanted::Of(Box::new(self.view()));
        State::Behind(Box::new(Replay::new(self.class().room.seat.tenant().clone(), wanted, after, until)), until)
    }

    /// Wants something else from now on; what is new to it is given.
    pub(super) fn change_filter(self: &Rc<Self>, filter: EventFilter) {
        let View { rights, own, .. } = self.view();
        self.turn_to(View { filter, rights, own });
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

    /// May see something else from now on. What is new to it is given, and what it may no longer see it is told.
    pub(super) fn change_rights(self: &Rc<Self>, rights: Rights, own: Own, changes: u64) {
        self.changes.set(changes);
        let filter = self.class().filter.clone();
        self.turn_to(View { filter, rights, own });
    }

    fn turn_to(self: &Rc<Self>, view: View) {
        let before = self.view();
        if before == view || self.is_over() {
            return;
        }
        self.fall_behind();
        let room = Rc::clone(&self.class().room);
        let tenant = room.seat.tenant().clone();
        self.note_own(false);
        let class = room.class(view.filter.clone(), view.rights.clone(), self.class().framing);
        *self.class.borrow_mut() = class;
        *self.own.borrow_mut() = view.own.clone();
        self.note_own(true);
        self.turns.set(self.turns.get().wrapping_add(1));
        let mut asides = self.asides.borrow_mut();
        // What was still to be given of the last change is now part of this one.
        let is_settled = asides.iter().all(|aside| aside.is_left);
        asides.retain(|aside| aside.is_left);
        let (new, old) = (Box::new(view.clone()), Box::new(before.clone()));
        if self.marks && (before.rights != view.rights || before.own != view.own) {
            // Up to the end, and removed ones too: what comes under a lost name is not given any more.
            let lost = Wanted::New(old.clone(), new.clone());
            let replay = Replay::new(tenant.clone(), lost, Position::START, Position::END).with_removals();
            asides.push_back(Aside { replay, is_left: true });
        }
        let wanted = if is_settled { Wanted::New(new, old) } else { Wanted::Of(new) };
        let replay = Replay::new(tenant, wanted, Position::START, self.position.get());
        asides.push_back(Aside { replay, is_left: false });
        self.unsynced.set(self.marks);
        drop(asides);
        self.wake();
    }

    /// Has the room know, or forget, what its user alone may see.
    fn note_own(self: &Rc<Self>, is_there: bool) {
        let own = self.own.borrow();
        if !own.patterns.is_empty() {
            self.class().room.note_own(&own.patterns, &Rc::downgrade(self), is_there);
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
        self.class().remove_live(self);
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
        self.session.remove(self.arrival.id);
        if let Some(local) = self.local.upgrade() {
            local.forget_session(&self.session);
            if self.presence.is_some() {
                local.hub().unwatch(self.class.borrow().room.seat.tenant());
            }
        }
    }
}

/// The task of one subscription: catches up whenever it is not live, and notices when the other side has gone.
struct CatchUp {
    subscription: Rc<Subscription>,
    state: State,
    /// What is being read of the first aside, and whether that is of lost names.
    aside: Option<(JoinHandle<Step<Bytes>>, bool)>,
    /// How often the subscription had changed what it wants or may see at the last look.
    turns: u32,
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
    /// What it is missing, up to a position, must be read from the store.
    Behind(Box<Replay>, Position),
    /// It is being read.
    Reading(JoinHandle<Step<Bytes>>, Position),
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
            if subscription.write_rest() {
                if self.turn.is_some() {
                    // Others on this thread have something to write too.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            self.look_around(&subscription);
            ready!(self.poll_turn(&subscription, context));
            if self.tell_presence(&subscription) {
                continue;
            }
            if subscription.asides.borrow().is_empty() {
                ready!(self.advance(&subscription, context));
            } else {
                ready!(self.advance_aside(&subscription, context));
            }
        }
    }
}

impl CatchUp {
    /// Waits for a turn, where there is something to catch up with.
    fn poll_turn(&mut self, subscription: &Subscription, context: &mut Context<'_>) -> Poll<()> {
        let is_told = subscription.presence.as_ref().is_none_or(|presence| presence.borrow().is_empty());
        let is_near = matches!(self.state, State::Near) && subscription.asides.borrow().is_empty() && is_told;
        if self.turn.is_some() || (is_near && subscription.position.get() >= subscription.class().room.position()) {
            return Poll::Ready(());
        }
        let Some(local) = subscription.local.upgrade() else { return Poll::Ready(()) };
        let queue = self.queue.get_or_insert_with(|| PollSemaphore::new(Arc::clone(local.turns())));
        self.turn = ready!(queue.poll_acquire(context));
        Poll::Ready(())
    }

    /// Forgets what was being read for who the subscription was before it changed what it wants or may see.
    fn look_around(&mut self, subscription: &Rc<Subscription>) {
        if self.turns == subscription.turns.get() {
            return;
        }
        self.turns = subscription.turns.get();
        // What was lost is told all the same.
        self.aside.take_if(|(_, is_left)| !*is_left);
        self.state = match std::mem::replace(&mut self.state, State::Near) {
            State::Behind(_, until) | State::Reading(_, until) => {
                subscription.behind(subscription.position.get(), until)
            }
            // These look at it each time.
            other => other,
        };
    }

    /// Tells of some of those who have come or gone, as it is now; whether there was somebody.
    fn tell_presence(&self, subscription: &Subscription) -> bool {
        let Some(local) = subscription.local.upgrade() else { return false };
        let Some(presence) = &subscription.presence else { return false };
        let class = subscription.class();
        let (tenant, store) = (class.room.seat.tenant(), class.room.seat.store());
        let id = store.event_id(subscription.position.get());
        let mut marks = Vec::new();
        while marks.len() < PRESENCE_AT_ONCE
            && let Some(username) = presence.borrow_mut().pop_first()
        {
            marks.push(mark::presence(&username, local.hub().person(tenant, &username).as_ref(), id));
        }
        if marks.is_empty() {
            return false;
        }
        *subscription.rest.borrow_mut() = class.framing.join(&marks);
        true
    }

    /// Gives the next of what is to be given beside what is new.
    fn advance_aside(&mut self, subscription: &Rc<Subscription>, context: &mut Context<'_>) -> Poll<()> {
        let class = subscription.class();
        let store = class.room.seat.store();
        if self.aside.is_none() {
            let Some(Aside { replay, is_left }) = subscription.asides.borrow_mut().pop_front() else {
                return Poll::Ready(());
            };
            // It stands at the head until it is read to its end.
            let rest = Replay::new(class.room.seat.tenant().clone(), Wanted::All, Position::START, Position::START);
            subscription.asides.borrow_mut().push_front(Aside { replay: rest, is_left });
            let reading = if is_left {
                // Who gets no further than this and comes back is to be given what was to follow, and so everything.
                read_left(store.clone(), replay, class.framing, store.event_id(Position::START))
            } else {
                read_bytes(store.clone(), replay, class.framing)
            };
            self.aside = Some((reading, is_left));
        }
        let Some((reading, _)) = &mut self.aside else { return Poll::Ready(()) };
        let step = ready!(Pin::new(reading).poll(context));
        let Some((_, is_left)) = self.aside.take() else { return Poll::Ready(()) };
        // Where other rights turn it to something else, that takes the place of this.
        if !is_left && !subscription.is_current() && self.turns != subscription.turns.get() {
            return Poll::Ready(());
        }
        let failed = match step {
            Ok(Step { replay, read: Ok(bytes), more }) => {
                *subscription.rest.borrow_mut() = bytes;
                let mut asides = subscription.asides.borrow_mut();
                let is_left = asides.pop_front().is_some_and(|aside| aside.is_left);
                if more {
                    asides.push_front(Aside { replay, is_left });
                }
                return Poll::Ready(());
            }
            Ok(Step { read: Err(error), .. }) => error.to_string(),
            Err(error) => error.to_string(),
        };
        unreadable(subscription, &failed);
        Poll::Ready(())
    }

    /// Takes the next of the latest events from memory; whether they are there.
    fn give_latest(&mut self, subscription: &Subscription, until: Position) -> bool {
        let class = subscription.class();
        let (after, view) = (subscription.position.get(), subscription.view());
        let wanted = |frame: &Frame| view.matches(frame.name.as_str());
        let join = |frames: &[&Frame]| if frames.is_empty() { Bytes::new() } else { class.framing.copy(frames) };
        let Some((bytes, position)) = class.room.seat.channel.latest(after, until, JOINED_BYTES, wanted, join) else {
            return false;
        };
        if !subscription.is_current() {
            self.state = State::New(until);
            return true;
        }
        subscription.position.set(position);
        *subscription.rest.borrow_mut() = bytes;
        if position < until {
            self.state = State::New(until);
        }
        true
    }

    /// Fetches what is to be written next, or goes live.
    fn advance(&mut self, subscription: &Rc<Subscription>, context: &mut Context<'_>) -> Poll<()> {
        let class = subscription.class();
        let room = &class.room;
        match std::mem::replace(&mut self.state, State::Near) {
            State::New(until) => {
                // Who wants a few of them is served from the store, which finds those without looking at the others.
                if subscription.view().candidates().is_some() {
                    self.state = subscription.behind(subscription.position.get(), until);
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
                    self.state = subscription.behind(subscription.position.get(), until);
                }
            }
            State::Near => {
                let (after, until) = (subscription.position.get(), room.position());
                if after >= until {
                    if subscription.unsynced.replace(false) {
                        let synced = mark::synced(room.seat.store().event_id(after));
                        *subscription.rest.borrow_mut() = class.framing.join(&[synced]);
                    } else {
                        class.add_live(subscription);
                    }
                    return Poll::Ready(());
                }
                let view = subscription.view();
                let wanted = |frame: &Frame| view.matches(frame.name.as_str());
                let found = room.seat.channel.between(after, until, JOINED_BYTES, wanted);
                if !subscription.is_current() {
                    return Poll::Ready(());
                }
                match found {
                    Found::Nothing => subscription.position.set(until),
                    Found::Frames(frames, until) => {
                        subscription.position.set(until);
                        if !frames.is_empty() {
                            let frames: Vec<Bytes> = frames.into_iter().map(|frame| frame.bytes).collect();
                            *subscription.rest.borrow_mut() = class.framing.join(&frames);
                        }
                    }
                    Found::Behind => self.state = subscription.behind(after, until),
                }
            }
            State::Behind(replay, until) => {
                self.state = State::Reading(read_bytes(room.seat.store().clone(), *replay, class.framing), until);
            }
            State::Reading(mut reading, until) => {
                let Poll::Ready(step) = Pin::new(&mut reading).poll(context) else {
                    self.state = State::Reading(reading, until);
                    return Poll::Pending;
                };
                if !subscription.is_current() {
                    self.state = subscription.behind(subscription.position.get(), until);
                    return Poll::Ready(());
                }
                let failed = match step {
                    Ok(Step { replay, .. }) if subscription.marks && replay.has_gap() => {
                        // Who asks for marks is told, and given everything, since what was removed cannot be told.
                        let reset = mark::reset(Reset::NotKept, room.seat.store().event_id(Position::START));
                        *subscription.rest.borrow_mut() = class.framing.join(&[reset]);
                        subscription.position.set(Position::START);
                        subscription.unsynced.set(true);
                        self.state = State::New(until);
                        return Poll::Ready(());
                    }
                    Ok(Step { replay, read: Ok(bytes), more }) => {
                        subscription.position.set(replay.position());
                        *subscription.rest.borrow_mut() = bytes;
                        if more {
                            self.state = State::Behind(Box::new(replay), until);
                        }
                        return Poll::Ready(());
                    }
                    Ok(Step { read: Err(error), .. }) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                unreadable(subscription, &failed);
            }
        }
        Poll::Ready(())
    }
}

fn unreadable(subscription: &Subscription, error: &str) {
    let class = subscription.class();
    let tenant = class.room.seat.tenant();
    tracing::error!(%tenant, error, "a stream ends because its events cannot be read");
    subscription.end();
}
