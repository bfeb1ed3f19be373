//! The steps by which a subscription catches up. Each fetches what is written next, into `rest`.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::reads::{Next, What, Work};
use super::state::{Group, Phase, Subscription};
use crate::domain::{Position, View};
use crate::events::channel::Found;
use crate::events::control::{ControlEvent, Reset};
use crate::events::ending::End;
use crate::events::format::JOINED_BYTES;
use crate::events::reading::{Given, SessionReplay, Source, fill, read};
use crate::events::shared_event::{SharedEvent, join, join_latest};
use crate::events::sink::Asked;
use crate::events::subscriber::Subscriber;
use crate::store::{Missing, MqttReplay, Replay, Wanted};

impl Subscription {
    /// Whether the next step is taken on this thread.
    pub(super) fn is_step_here(&self) -> bool {
        let reads = self.reads.borrow();
        if reads.is_running() {
            return false;
        }
        let has_presence = self.presence.as_ref().is_some_and(|presence| !presence.borrow().is_empty());
        has_presence
            || match reads.next() {
                Next::Nothing => self.position.get() < self.group().subscriptions.position(),
                Next::Memory(..) => true,
                Next::Anew(_) | Next::Store(_) | Next::Asked | Next::Wait => false,
            }
    }

    /// Tells of some of the users that have come or gone, as it is now. Returns whether there was one to look at.
    pub(super) fn tell_presence(&self) -> bool {
        let Some(worker) = self.worker.upgrade() else { return false };
        let Some(presence) = self.presence.as_ref().filter(|presence| !presence.borrow().is_empty()) else {
            return false;
        };
        let group = self.group();
        let guard = &group.subscriptions.guard;
        // A client that gets no further than this and comes back is to be given what was still to follow.
        let given_to = if self.reads.borrow().is_switching() { Position::START } else { self.position.get() };
        let told = worker.hub().registry().look(|people| presence.borrow_mut().tell(people, guard.tenant()));
        let controls =
            told.iter().map(|(username, person)| ControlEvent::Presence { username, person: person.as_ref() });
        *self.rest.borrow_mut() = group.format.controls(controls, guard.store().event_id(given_to));
        true
    }

    /// Has its client drop everything, and gives it everything: what it missed, or has lost, cannot be told.
    pub(super) fn begin_anew(&self, reason: Reset) {
        let group = self.group();
        let id = group.subscriptions.guard.store().event_id(Position::START);
        *self.rest.borrow_mut() = group.format.controls([ControlEvent::Reset(reason)], id);
        self.position.set(Position::START);
        self.known_to.set(Position::START);
        self.unsynced.set(Some(self.unsynced.get().unwrap_or(Position::START)));
        let mut reads = self.reads.borrow_mut();
        reads.clear();
        reads.push(What::Snapshot(group.subscriptions.position()));
    }

    /// Goes on with the latest events from memory. If they are not there, has memory filled, or goes on with the store.
    pub(super) fn give_from_memory(&self, until: Position, is_filled: bool) {
        // A client that wants a few of them is served from the store, which finds those without looking at the others.
        let wants_few = self.view().candidates().is_some();
        if !wants_few && self.take_from_memory(until) {
            return;
        }
        let group = self.group();
        let work = if wants_few || is_filled {
            // There are too many for memory, or they cannot be read: the store finds out why.
            Work::Next(self.source(Missing::Snapshot, until))
        } else {
            // Without a reading to wait for, they were being filled in when it looked, or are too many.
            fill(&group.subscriptions.guard, group.format).map_or(Work::Filled, Work::Filling)
        };
        self.go_on(Some(work));
    }

    /// Takes the next of the latest events from memory. Returns whether they are there.
    fn take_from_memory(&self, until: Position) -> bool {
        let (group, view) = (self.group(), self.view());
        let wanted = |event: &SharedEvent| view.matches(event.name.as_str());
        let found = group.subscriptions.guard.channel.latest(self.position.get(), until, JOINED_BYTES, wanted);
        let Some((events, position, left_out)) = found else { return false };
        if self.is_current() {
            self.note_left_out(left_out);
            self.position.set(position);
            *self.rest.borrow_mut() = join_latest(group.format, &events);
            self.count(|metrics| metrics.deliveries.add(events.len() as u64));
            // Memory is looked at again.
            self.go_on((position < until).then_some(Work::Due));
        }
        true
    }

    /// Waits for what is read for it: the store, or what fills the channel's memory. Then takes what was read.
    pub(super) fn poll_read(&self, context: &mut Context<'_>) -> Poll<()> {
        self.begin_read();
        let polled = match self.reads.borrow_mut().front() {
            Some(front) => ready!(front.work.poll(context)),
            None => return Poll::Ready(()),
        };
        match polled {
            Ok(()) => self.take_read(),
            Err(error) => self.end_unreadable(&error),
        }
        Poll::Ready(())
    }

    /// Has the next step of the read at the front taken by a thread of the store, if it is not being taken.
    fn begin_read(&self) {
        let mut reads = self.reads.borrow_mut();
        let Some(front) = reads.front() else { return };
        let Some(source) = front.work.take_next() else { return };
        let (group, reader) = (self.group(), self.user_streams().username().clone());
        // Not the group: if this subscription alone has it, that may change its filter.
        let (subscriptions, format) = (Rc::clone(&group.subscriptions), group.format);
        front.work = Work::Running(Box::pin(async move {
            // Its user has the permit until the subscription takes what was read.
            let _permit = subscriptions.readings.wait(&reader).await;
            read(&subscriptions.guard, &reader, source, format).await?
        }));
    }

    /// Has the events read that it has missed up to a position.
    pub(super) fn read_missed(&self, until: Position) {
        self.go_on(Some(Work::Next(self.source(Missing::Events, until))));
    }

    /// Has the latest events read that its client asked for, as far as it may see them.
    pub(super) fn read_asked(&self) {
        let Some(asked) = self.reads.borrow().asked().cloned() else { return };
        if asked.after >= asked.until {
            // What was read last has been written by now.
            self.sink.end_asked(&asked);
            return self.go_on(None);
        }
        let Asked { filter, after, until, .. } = asked;
        let tenant = self.group().subscriptions.guard.tenant().clone();
        let view = View { filter, ..self.view() };
        let replay = Replay::snapshot(tenant, Wanted::Of(Box::new(view)), after, until);
        self.go_on(Some(Work::Next(Source::Replay(Box::new(replay)))));
    }

    /// What it is missing from its position on, by its present view.
    fn source(&self, missing: Missing, until: Position) -> Source {
        let tenant = self.group().subscriptions.guard.tenant().clone();
        let (view, after) = (Box::new(self.view()), self.position.get());
        if let (Missing::Events, Some(session)) = (missing, self.sink.session()) {
            let replay = MqttReplay::new(session, tenant, after, until);
            return Source::Session(Box::new(SessionReplay { replay, view }));
        }
        let wanted = Wanted::Of(view);
        let replay = match missing {
            Missing::Snapshot => Replay::snapshot(tenant, wanted, after, until),
            Missing::Events => Replay::events(tenant, wanted, after, until),
        };
        Source::Replay(Box::new(replay.with_transient(self.options.transient)))
    }

    /// Gives what was read, unless the view has changed meanwhile so that it is read again.
    fn take_read(&self) {
        // If it is not, the new view has been put in place by now, and what was read for the one before is forgotten.
        self.is_current();
        if self.phase.get() == Phase::Ended {
            return;
        }
        let read = self.reads.borrow_mut().front().and_then(|front| {
            let given = front.work.take_done()?;
            if let Some(asked) = &mut front.asked {
                asked.is_begun = true;
                asked.after = if given.rest.is_some() { given.position } else { asked.until };
                self.sink.begin_asked(asked);
            }
            Some((front.what, given))
        });
        let Some((what, Given { bytes, events, rest, position, left_out, is_incomplete })) = read else { return };
        if is_incomplete && self.sink.needs_all() {
            return self.end(End::Behind);
        }
        // A client with control events is told, and given everything.
        if is_incomplete && self.options.marks {
            return self.begin_anew(Reset::NotKept);
        }
        self.note_left_out(left_out);
        if !what.is_of_switch() {
            self.position.set(position);
        }
        *self.rest.borrow_mut() = bytes;
        self.count(|metrics| metrics.deliveries.add(events));
        self.go_on(rest.map(Work::Next).or((what == What::Asked).then_some(Work::Due)));
    }

    /// The read at the front goes on with this, or has been given.
    fn go_on(&self, work: Option<Work>) {
        let mut reads = self.reads.borrow_mut();
        match (reads.front(), work) {
            (Some(front), Some(work)) => front.work = work,
            _ => reads.pop(),
        }
    }

    /// Gives what is new from the channel, or goes live.
    pub(super) fn give_new(self: &Rc<Self>) {
        let group = self.group();
        let (after, until) = (self.position.get(), group.subscriptions.position());
        if after >= until {
            return self.go_live(&group);
        }
        let now = self.worker.upgrade().map(|worker| worker.clock().now());
        let Some(now) = now else { return self.end(End::stopping(0)) };
        let found = group.subscriptions.guard.channel.between(after, until, JOINED_BYTES, now);
        if !self.is_current() {
            return;
        }
        match found {
            Found::Nothing => self.position.set(until),
            Found::Events(mut events, until) => {
                self.position.set(until);
                let view = self.view();
                events.retain(|event| self.gets(&view, event));
                *self.rest.borrow_mut() = join(group.format, &events);
                self.count(|metrics| metrics.deliveries.add(events.len() as u64));
            }
            Found::Behind => self.reads.borrow_mut().push(What::Missed(until)),
        }
    }

    /// Goes into the list of its group, after it has said that it is in sync.
    fn go_live(self: &Rc<Self>, group: &Rc<Group>) {
        let position = self.position.get();
        if let Some(left_out) = self.unsynced.get() {
            if position >= left_out {
                self.unsynced.set(None);
                let id = group.subscriptions.guard.store().event_id(position);
                *self.rest.borrow_mut() =
                    group.format.controls([ControlEvent::Synced { change: self.change_to_tell() }], id);
                return;
            }
            group.subscriptions.add_unsynced(self);
        }
        self.phase.set(Phase::Live(group.add_live(self)));
        self.count(|metrics| metrics.catching_up.decrement());
    }

    /// The number of the last change that its client asked for, unless it has been told that.
    fn change_to_tell(&self) -> Option<u32> {
        let asked = self.changes_asked.get();
        (self.changes_told.replace(asked) < asked).then_some(asked)
    }

    /// What a snapshot has left out is on its way up to here.
    fn note_left_out(&self, left_out: Position) {
        self.unsynced.set(self.unsynced.get().map(|known| known.max(left_out)));
    }
}
