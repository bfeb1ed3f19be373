use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::catch_up::CatchUp;
use super::reads::{Reads, What};
use super::state::{Grant, Phase, Subscription};
use crate::domain::{Position, View};
use crate::events::control::ControlEvent;
use crate::events::pending_presence::PendingPresence;
use crate::events::reading::left_out_up_to;
use crate::events::sink::{Asked, Sink};
use crate::events::subscribe_request::{First, Start, SubscribeRequest};
use crate::events::worker::Worker;

impl Subscription {
    /// Begins as the request says, after the bytes in `first`. It goes on as long as the returned task is run.
    pub(in crate::events) fn start(
        worker: &Rc<Worker<Subscription>>,
        request: SubscribeRequest,
        sink: impl Sink + 'static,
        first: Bytes,
    ) -> (Rc<Subscription>, CatchUp) {
        let SubscribeRequest { presence_guard, tenant, view, start, options, changes, filter_changes } = request;
        let Start { after, first: first_given, reset, known_to } = start;
        let View { filter, rights, own } = view;
        let (subscriptions, holder) = (worker.subscriptions(&tenant), filter.holder());
        let group = subscriptions.group(filter, rights, sink.format(), options.transient);
        let begins = match reset.filter(|_| options.marks) {
            // A client that gets no further than this and comes back is to be given it all again.
            Some(reason) => {
                let id = subscriptions.guard.store().event_id(after);
                group.format.controls([ControlEvent::Reset(reason)], id)
            }
            // Every stream begins with a write: a client may learn only from the first byte that its stream is open, and the first
            // event may be long in coming.
            None => group.format.joined_heartbeat(),
        };
        let subscription: Rc<Subscription> = Rc::new(Subscription {
            presence_guard,
            grant: RefCell::new(Grant { group, own: own.patterns, holder, changes }),
            options,
            worker: Rc::downgrade(worker),
            phase: Cell::new(Phase::CatchingUp),
            position: Cell::new(after),
            known_to: Cell::new(known_to),
            unsynced: Cell::new(options.marks.then_some(Position::START)),
            changes_asked: Cell::new(filter_changes),
            changes_told: Cell::new(filter_changes),
            reads: RefCell::new(Self::first_read(first_given, after, subscriptions.position(), sink.asked_before())),
            // The head of an answer stands there, without which nothing can be said.
            is_within: Cell::new(!first.is_empty()),
            rest: RefCell::new([first, begins].concat().into()),
            presence: options.presence.then(|| Box::new(RefCell::new(PendingPresence::all()))),
            waker: Cell::new(None),
            sink,
        });
        subscription.count(|metrics| metrics.begins(subscription.group().format.transport()));
        subscription.attach();
        // Before it looks which users are present: it is told of those that go from now on.
        if options.presence {
            subscription.group().subscriptions.watch(subscription.presence_guard.serial());
        }
        worker.wheel().arm(subscription.presence_guard.serial(), subscription.next_beat(worker.clock().now()));
        if first_given != First::Snapshot {
            subscription.note_left_out_before();
        }
        let task = CatchUp::new(Rc::clone(&subscription));
        (subscription, task)
    }

    /// What it is given first, of the events up to a position. A client is new by what it asked for, and not by standing at the very
    /// beginning: there it may also have been told that there is nothing.
    fn first_read(first: First, after: Position, until: Position, asked: Vec<Asked>) -> Reads {
        let mut reads = Reads::default();
        asked.into_iter().for_each(|asked| reads.add_asked(asked));
        if after < until {
            match first {
                First::Snapshot => reads.push(What::Snapshot(until)),
                First::Changed => reads.push(What::Missed(until)),
                First::Events => {}
            }
        }
        reads
    }

    /// Its client may have come back in the middle of a snapshot, which left something out.
    fn note_left_out_before(&self) {
        if self.unsynced.get().is_none() {
            return;
        }
        let group = self.group();
        let guard = &group.subscriptions.guard;
        match left_out_up_to(guard.store(), &guard.channel, guard.tenant()) {
            Ok(left_out) => self.unsynced.set(Some(left_out)),
            Err(error) => self.end_unreadable(&error),
        }
    }
}
