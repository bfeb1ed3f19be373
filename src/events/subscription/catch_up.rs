use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::state::{Reading, State, read, with_permit};
use super::{Backfill, Subscription};
use crate::domain::{Position, TenantName};
use crate::events::channel::Found;
use crate::events::control::{ControlEvent, Reset};
use crate::events::format::JOINED_BYTES;
use crate::events::permits::{Permit, Waiting};
use crate::events::reading::{Lost, Step, fill, read_lost};
use crate::events::shared_event::{SharedEvent, join};
use crate::store::Missing;

/// The task of one subscription: catches up whenever it is not live, and notices when the other side has gone.
///
/// A step on this thread is taken in a turn of its tenant's, which is given back in the same poll. A step that others take, those who
/// read or who fill a channel's memory, is waited for without one.
#[must_use = "the stream ends where it is not run"]
pub struct CatchUp {
    subscription: Rc<Subscription>,
    state: State,
    /// The aside that is being read.
    backfill: Option<ReadingBackfill>,
    /// How often the subscription had changed what it wants or may see at the last look.
    view_version: u32,
    /// Its place in the queue for a turn, while it stands in it: in a box, since there is one of these for each stream.
    queue: Option<Box<Waiting<TenantName>>>,
}

enum ReadingBackfill {
    Lost(Reading<Option<Bytes>, Lost>),
    New(Reading<(Bytes, Position)>),
}

impl Future for CatchUp {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let subscription = Rc::clone(&self.subscription);
        subscription.keep(context.waker());
        if subscription.sink.poll_gone(context).is_ready() {
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
                self.queue = None;
                return Poll::Pending;
            }
            if subscription.blocked.get() {
                if subscription.sink.poll_ready(context).is_pending() {
                    // It is for the reader now, who may take for ever.
                    self.queue = None;
                    return Poll::Pending;
                }
                subscription.blocked.set(false);
            }
            if subscription.write_rest() {
                // Others on this thread have something to write too.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.look_around(&subscription);
            ready!(self.step(&subscription, context));
            if subscription.rest.borrow().is_empty() && subscription.place.get().is_none() {
                // It may have looked at much of which it wants nothing, and others on this thread have something to do too.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        // However it ends: nobody else would notice that its reader has gone.
        self.subscription.end();
    }
}

impl CatchUp {
    pub(super) fn new(subscription: Rc<Subscription>, state: State) -> Self {
        Self { subscription, state, backfill: None, view_version: 0, queue: None }
    }

    /// Whether there is something to be given beside what is new.
    fn has_backfill(&self, subscription: &Subscription) -> bool {
        self.backfill.is_some() || !subscription.backfills.borrow().is_empty()
    }

    /// Whether something is being read for it. That comes first: until it has been taken, others of the tenant wait.
    fn is_reading(&self) -> bool {
        self.backfill.is_some() || matches!(self.state, State::Reading(..))
    }

    /// Whether the next step is one of this thread.
    fn is_here(&self, subscription: &Subscription) -> bool {
        if self.is_reading() {
            return false;
        }
        if subscription.has_pending_presence() {
            return true;
        }
        if self.has_backfill(subscription) {
            return false;
        }
        match self.state {
            State::New(_) | State::Filled(_) => true,
            State::Near => subscription.position.get() < subscription.group().subscriptions.position(),
            State::Filling(..) | State::Behind(..) | State::Reading(..) => false,
        }
    }

    /// Takes the next step.
    fn step(&mut self, subscription: &Rc<Subscription>, context: &mut Context<'_>) -> Poll<()> {
        // Given back when this returns, whatever comes of it.
        let _turn = if self.is_here(subscription) {
            ready!(self.poll_permit(subscription, context))
        } else {
            self.queue = None;
            None
        };
        if !self.is_reading() && Self::tell_presence(subscription) {
            return Poll::Ready(());
        }
        if self.has_backfill(subscription) {
            return self.advance_backfill(subscription, context);
        }
        self.advance(subscription, context)
    }

    /// Waits for a turn; `None` where the worker has ended.
    fn poll_permit(
        &mut self,
        subscription: &Subscription,
        context: &mut Context<'_>,
    ) -> Poll<Option<Permit<TenantName>>> {
        let Some(worker) = subscription.worker.upgrade() else { return Poll::Ready(None) };
        let mut waiting = match self.queue.take() {
            Some(waiting) => waiting,
            None => match worker.permits().take(subscription.group().subscriptions.guard.tenant()) {
                Ok(permit) => return Poll::Ready(Some(permit)),
                Err(waiting) => Box::new(waiting),
            },
        };
        let permit = Pin::new(&mut *waiting).poll(context);
        if permit.is_pending() {
            self.queue = Some(waiting);
        }
        permit.map(Some)
    }

    /// Forgets what was being read for who the subscription was before it changed what it wants or may see.
    fn look_around(&mut self, subscription: &Rc<Subscription>) {
        if self.view_version == subscription.view_version.get() {
            return;
        }
        self.view_version = subscription.view_version.get();
        // What was lost is told all the same.
        self.backfill.take_if(|backfill| matches!(backfill, ReadingBackfill::New(_)));
        self.state = match std::mem::replace(&mut self.state, State::Near) {
            // It went to another tenant, and is past that.
            State::New(until)
            | State::Filling(_, until)
            | State::Filled(until)
            | State::Behind(_, until)
            | State::Reading(_, _, until)
                if until <= subscription.position.get() =>
            {
                State::Near
            }
            State::Behind(replay, until) => State::behind(subscription, replay.missing(), until),
            State::Reading(_, missing, until) => State::behind(subscription, missing, until),
            // These look at it each time.
            other => other,
        };
    }

    /// Tells of some of those who have come or gone, as it is now; whether there was somebody to look at.
    fn tell_presence(subscription: &Subscription) -> bool {
        let Some(worker) = subscription.worker.upgrade() else { return false };
        let Some(presence) = subscription.presence.as_ref().filter(|presence| !presence.borrow().is_empty()) else {
            return false;
        };
        let group = subscription.group();
        let (tenant, store) = (group.subscriptions.guard.tenant(), group.subscriptions.guard.store());
        // Who gets no further than this and comes back is to be given what of before was still to follow.
        let given_to = if subscription.is_switching.get() { Position::START } else { subscription.position.get() };
        let id = store.event_id(given_to);
        let told = worker.hub().registry().look(|people| presence.borrow_mut().tell(people, tenant));
        let controls =
            told.iter().map(|(username, person)| ControlEvent::Presence { username, person: person.as_ref() });
        *subscription.rest.borrow_mut() = group.format.controls(controls, id);
        true
    }

    /// Gives the next of what is to be given beside what is new.
    fn advance_backfill(&mut self, subscription: &Rc<Subscription>, context: &mut Context<'_>) -> Poll<()> {
        let group = subscription.group();
        let store = group.subscriptions.guard.store();
        if self.backfill.is_none() {
            let backfill = subscription.backfills.borrow_mut().pop_front();
            let Some(backfill) = backfill else { return Poll::Ready(()) };
            self.backfill = Some(match backfill {
                Backfill::Reset(reason) => {
                    self.state = Self::reset(subscription, reason);
                    return Poll::Ready(());
                }
                // Who gets no further than this and comes back is to be given what was to follow, and so everything.
                Backfill::Lost(lost) => {
                    let id = store.event_id(Position::START);
                    ReadingBackfill::Lost(with_permit(subscription, move |group, reader| {
                        read_lost(&group.subscriptions.guard, reader, lost, group.format, id)
                    }))
                }
                Backfill::New(replay) => ReadingBackfill::New(read(subscription, replay)),
            });
        }
        let read = match &mut self.backfill {
            None => return Poll::Ready(()),
            Some(ReadingBackfill::Lost(reading)) => match ready!(reading.as_mut().poll(context)) {
                Ok(Step { reading, read: Ok(Some(bytes)), more }) => {
                    Ok((bytes, more.then_some(Backfill::Lost(reading))))
                }
                Ok(Step { read: Ok(None), .. }) => {
                    self.backfill = None;
                    self.state = Self::reset(subscription, Reset::NotKept);
                    return Poll::Ready(());
                }
                Ok(Step { read: Err(error), .. }) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            },
            Some(ReadingBackfill::New(reading)) => {
                let step = ready!(reading.as_mut().poll(context));
                // Where other rights turn it to something else, that takes the place of this.
                if !subscription.is_current() && self.view_version != subscription.view_version.get() {
                    self.backfill = None;
                    return Poll::Ready(());
                }
                match step {
                    Ok(Step { reading, read: Ok((bytes, left_out)), more }) => {
                        note_left_out(subscription, left_out);
                        Ok((bytes, more.then_some(Backfill::New(reading))))
                    }
                    Ok(Step { read: Err(error), .. }) => Err(error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        self.backfill = None;
        match read {
            Ok((bytes, rest)) => {
                *subscription.rest.borrow_mut() = bytes;
                if let Some(rest) = rest {
                    subscription.backfills.borrow_mut().push_front(rest);
                }
                if !self.has_backfill(subscription) {
                    subscription.is_switching.set(false);
                }
            }
            Err(error) => subscription.end_unreadable(&error),
        }
        Poll::Ready(())
    }

    /// Has it drop what it has, and get everything: what it missed, or has lost, cannot be told.
    fn reset(subscription: &Subscription, reason: Reset) -> State {
        let group = subscription.group();
        let id = group.subscriptions.guard.store().event_id(Position::START);
        *subscription.rest.borrow_mut() = group.format.controls([ControlEvent::Reset(reason)], id);
        subscription.backfills.borrow_mut().clear();
        subscription.is_switching.set(false);
        subscription.position.set(Position::START);
        subscription.known_to.set(Position::START);
        subscription.unsynced.set(true);
        State::New(group.subscriptions.position())
    }

    /// Takes the next of the latest events from memory; whether they are there.
    fn give_latest(&mut self, subscription: &Subscription, until: Position) -> bool {
        let group = subscription.group();
        let (after, view) = (subscription.position.get(), subscription.view());
        let wanted = |event: &SharedEvent| view.matches(event.name.as_str());
        let found = group.subscriptions.guard.channel.latest(after, until, JOINED_BYTES, wanted);
        let Some((events, position, left_out)) = found else { return false };
        if !subscription.is_current() {
            self.state = State::New(until);
            return true;
        }
        note_left_out(subscription, left_out);
        subscription.position.set(position);
        *subscription.rest.borrow_mut() = join(group.format, &events);
        if position < until {
            self.state = State::New(until);
        }
        true
    }

    /// Fetches what is to be written next, or goes live.
    fn advance(&mut self, subscription: &Rc<Subscription>, context: &mut Context<'_>) -> Poll<()> {
        let group = subscription.group();
        let subscriptions = &group.subscriptions;
        match std::mem::replace(&mut self.state, State::Near) {
            State::New(until) => {
                // Who wants a few of them is served from the store, which finds those without looking at the others.
                if subscription.view().candidates().is_some() {
                    self.state = State::behind(subscription, Missing::Snapshot, until);
                } else if !self.give_latest(subscription, until) {
                    self.state = match fill(&subscriptions.guard, group.format) {
                        Some(settled) => State::Filling(settled, until),
                        // They were being filled in when it looked, or are too many.
                        None => State::Filled(until),
                    };
                }
            }
            State::Filling(mut filling, until) => {
                self.state = if filling.as_mut().poll(context).is_pending() {
                    State::Filling(filling, until)
                } else {
                    State::Filled(until)
                };
                if matches!(self.state, State::Filling(..)) {
                    return Poll::Pending;
                }
            }
            State::Filled(until) => {
                // Where there are too many, or they cannot be read: this finds out why.
                if !self.give_latest(subscription, until) {
                    self.state = State::behind(subscription, Missing::Snapshot, until);
                }
            }
            State::Near => {
                let (after, until) = (subscription.position.get(), subscriptions.position());
                if after >= until {
                    let is_unsynced = subscription.unsynced.get();
                    if is_unsynced && after >= subscription.left_out.get() {
                        subscription.unsynced.set(false);
                        let id = subscriptions.guard.store().event_id(after);
                        *subscription.rest.borrow_mut() = group.format.controls([ControlEvent::Synced], id);
                    } else {
                        if is_unsynced {
                            subscriptions.add_unsynced(subscription);
                        }
                        group.add_live(subscription);
                    }
                    return Poll::Ready(());
                }
                let found = subscriptions.guard.channel.between(after, until, JOINED_BYTES);
                if !subscription.is_current() {
                    return Poll::Ready(());
                }
                match found {
                    Found::Nothing => subscription.position.set(until),
                    Found::Events(mut events, until) => {
                        subscription.position.set(until);
                        let view = subscription.view();
                        events.retain(|event| view.matches(event.name.as_str()));
                        *subscription.rest.borrow_mut() = join(group.format, &events);
                    }
                    Found::Behind => self.state = State::behind(subscription, Missing::Events, until),
                }
            }
            State::Behind(replay, until) => {
                let missing = replay.missing();
                self.state = State::Reading(read(subscription, *replay), missing, until);
                return self.advance(subscription, context);
            }
            State::Reading(mut reading, missing, until) => {
                let Poll::Ready(step) = reading.as_mut().poll(context) else {
                    self.state = State::Reading(reading, missing, until);
                    return Poll::Pending;
                };
                if !subscription.is_current() {
                    self.state = State::behind(subscription, missing, until);
                    return Poll::Ready(());
                }
                let failed = match step {
                    // Who asks for marks is told, and given everything.
                    Ok(Step { reading, .. }) if subscription.options.marks && reading.has_gap() => {
                        self.state = Self::reset(subscription, Reset::NotKept);
                        return Poll::Ready(());
                    }
                    Ok(Step { reading, read: Ok((bytes, left_out)), more }) => {
                        note_left_out(subscription, left_out);
                        subscription.position.set(reading.position());
                        *subscription.rest.borrow_mut() = bytes;
                        if more {
                            self.state = State::Behind(Box::new(reading), until);
                        }
                        return Poll::Ready(());
                    }
                    Ok(Step { read: Err(error), .. }) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                subscription.end_unreadable(&failed);
            }
        }
        Poll::Ready(())
    }
}

/// What a snapshot left out is on its way up to there.
fn note_left_out(subscription: &Subscription, left_out: Position) {
    subscription.left_out.set(subscription.left_out.get().max(left_out));
}
