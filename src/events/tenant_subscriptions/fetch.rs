//! Fetching what is new for the live subscriptions of a tenant, once for all of them.

use std::rc::Rc;
use std::sync::Arc;

use super::{Fetched, State, TenantSubscriptions};
use crate::domain::{Position, Timestamp};
use crate::error::Error;
use crate::events::channel::Found;
use crate::events::format::JOINED_BYTES;
use crate::events::reading::{Missed, read_missed};
use crate::events::shared_event::SharedEvent;
use crate::events::subscriber::Subscriber;
use crate::store::{Replay, Wanted};

impl<S: Subscriber + ?Sized> TenantSubscriptions<S> {
    /// Whether there are fewer new events than are expected to come soon.
    pub fn are_more_expected(&self) -> bool {
        self.guard.channel.count_after(self.position()) < self.expected.get()
    }

    /// Fetches some of what is new for the live subscriptions; `None` if there is nothing, or it must be read first. Only a part of
    /// it, since the other tenants of the worker wait, too, and a busy one may never come to its end.
    pub fn fetch(self: &Rc<Self>, now: Timestamp) -> Option<Fetched> {
        match self.missed.replace(State::Nothing) {
            State::Nothing => match self.guard.channel.between(self.position(), Position::END, JOINED_BYTES, now) {
                Found::Nothing => None,
                Found::Events(events, until) => Some(self.fetched(events, until)),
                // More came than the channel keeps, before this worker had the time for it.
                Found::Behind => {
                    self.read_missed();
                    None
                }
            },
            State::Reading(reading) => {
                self.missed.replace(State::Reading(reading));
                None
            }
            State::Read(read, until) => Some(self.take_missed(*read, until)),
        }
    }

    fn fetched(&self, events: Vec<Arc<SharedEvent>>, until: Position) -> Fetched {
        Fetched { events, until, is_cut: until < self.guard.channel.end() }
    }

    /// Has the next of what the channel no longer keeps read, once for all subscriptions. The end is that of the channel, and not that
    /// of the store, which is further on while events that were revealed are on their way into the channel: a subscription that
    /// stands in between would miss them. The worker is told when it has been read, and serves the other tenants until then.
    fn read_missed(self: &Rc<Self>) {
        let until = self.guard.channel.end();
        let replay = Replay::events(self.guard.tenant().clone(), Wanted::All, self.position(), until);
        let (reading, subscriptions) = (read_missed(&self.guard, replay), Rc::downgrade(self));
        let reading = tokio::task::spawn_local(async move {
            let read = reading.await.and_then(|read| read);
            if let Some(subscriptions) = subscriptions.upgrade() {
                subscriptions.missed.replace(State::Read(Box::new(read), until));
                subscriptions.guard.tell();
            }
        });
        self.missed.replace(State::Reading(reading));
    }

    /// What was read of what was missed. If it cannot be read, the live subscriptions end.
    fn take_missed(&self, read: Result<Missed, Error>, until: Position) -> Fetched {
        match read {
            Ok(Missed { events, position, has_gap }) => {
                if has_gap {
                    self.leave_behind();
                }
                self.fetched(events, position)
            }
            Err(error) => {
                let tenant = self.guard.tenant();
                tracing::error!(%tenant, %error, "the streams of a tenant end because its events cannot be read");
                self.groups.values().iter().for_each(|group| group.end_unreadable());
                self.fetched(Vec::new(), until)
            }
        }
    }

    /// Of what comes next only the latest event of each name is left. Subscriptions with control events are to be told so, and sessions
    /// of MQTT have the rest in their queues: they find out by themselves, from where they stand. The others can be given what is left
    /// together.
    fn leave_behind(&self) {
        for group in self.groups.values() {
            let live = group.live();
            live.iter().filter(|one| one.reads_gaps_alone()).for_each(|one| one.fall_behind());
        }
    }
}
