//! What of a session is on disk, so that it outlives its connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::filters::{Filters, Wanted};
use super::outbound::{InFlight, Message, Progress, State, Unnoted};
use super::packet::Qos;
use super::shares::Options;
use crate::app::{Keeping, KeptSession};
use crate::domain::{
    self, AuthContext, KeptSubscription, MqttAsk, MqttAsked, MqttProgress, MqttSession, Outgoing, OutgoingEvent,
    OutgoingState, Position, SharedFilter, TopicFilter,
};
use crate::error::Error;
use crate::events::{MqttSessionBefore, MqttSessionChange, WillFate};

/// The session of a connection.
pub struct Keeper {
    /// `None` of one that the disk does not know.
    session: Option<KeptSession>,
    /// How long it outlives the connection, in seconds.
    expiry: u32,
    /// Whether it has outlived another one.
    is_present: bool,
    /// What is being written of how far it has come.
    saving: Option<Keeping>,
}

/// How often it is written down how far a session has come, at most. What was acknowledged since then comes again after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(10);

impl Keeper {
    /// For a session that outlives its connection by so many seconds, and may have outlived another one.
    pub fn new(session: Option<KeptSession>, expiry: u32, is_present: bool) -> Self {
        Self { session, expiry, is_present, saving: None }
    }

    /// The session, if it outlives its connection, or has outlived another one: then what there was is on disk, and the disk keeps for it
    /// what it is subscribed to, also while it goes on for the last time.
    pub fn kept(&self) -> Option<&KeptSession> {
        self.session.as_ref().filter(|_| self.expiry > 0 || self.is_present)
    }

    /// Becomes ready when the session is forgotten although its connection has it: retention could not wait for it, or its user is gone.
    /// Wakes as a future does.
    pub fn poll_forgotten(&self, context: &Context<'_>) -> Poll<()> {
        self.session.as_ref().map_or(Poll::Pending, |session| session.poll_forgotten(context))
    }

    /// How long the session outlives the connection, in seconds.
    pub fn expiry(&self) -> u32 {
        self.expiry
    }

    /// Changes the session, if it is [kept](Keeper::kept). What is returned resolves when that is on disk.
    ///
    /// # Errors
    /// Those of [`KeptSession::change`].
    pub fn change(&self, change: MqttSessionChange) -> Result<Option<Keeping>, Error> {
        self.kept().map(|session| session.change(change)).transpose()
    }

    /// Has the right to publish the will rest on a newer token, also of a session that is not [kept](Keeper::kept). What is returned
    /// resolves when that is on disk.
    ///
    /// # Errors
    /// Those of [`KeptSession::change`].
    pub fn renew_will(&self, by: AuthContext) -> Result<Option<Keeping>, Error> {
        self.session.as_ref().map(|session| session.change(MqttSessionChange::RenewWill(by))).transpose()
    }

    /// Changes it without waiting for that: if it comes to nothing, more is kept than need be.
    pub fn change_later(&self, change: MqttSessionChange) {
        let _ = self.change(change);
    }

    /// Everything up to here is done, so that retention keeps nothing of it for the session. It goes ahead of what is on disk.
    pub fn raise(&self, done_up_to: Position) {
        if let Some(session) = &self.session {
            session.raise(done_up_to);
        }
    }

    /// How long after its first change it is saved. Sessions that change in one moment, since an event is for all of them, are not all
    /// saved in one.
    pub fn saves_after(&self) -> Duration {
        let half = SAVE_EVERY / 2;
        let millis = u64::try_from(half.as_millis()).unwrap_or(1);
        half + Duration::from_millis(self.session.as_ref().map_or(0, |session| session.id().0 % millis))
    }

    /// Whether the last [`Keeper::save`] is not on disk yet.
    pub fn is_saving(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.saving.take_if(|saving| Pin::new(saving).poll(&mut context).is_ready());
        self.saving.is_some()
    }

    /// Notes how far it has come.
    pub fn save(&mut self, progress: Progress) {
        self.saving = self.change(MqttSessionChange::Save(kept_progress(progress))).ok().flatten();
    }

    /// Its connection has ended. It may be for another time from now on.
    pub fn end(&self, progress: Progress, expiry: Option<u32>, will: WillFate) {
        if let Some(session) = &self.session {
            session.end(kept_progress(progress), expiry, will);
        }
    }

    /// The client is not let in after all, to a session that was this before; `None` if it is new.
    pub fn refuse(&self, before: Option<Box<MqttSessionBefore>>) {
        if let Some(session) = &self.session {
            session.refuse(before);
        }
    }
}

/// A subscription as it is kept.
pub fn kept_subscription(wanted: &Wanted) -> KeptSubscription {
    let Wanted { filter, qos, no_local, retain_as_published, id, since, asked } = wanted;
    KeptSubscription {
        filter: filter.as_str().into(),
        qos: kept_qos(*qos),
        no_local: *no_local,
        retain_as_published: *retain_as_published,
        id: *id,
        since: *since,
        asked: *asked,
    }
}

/// A shared subscription as it is kept. What members are given is not decided by one of them.
pub fn kept_share(
    text: Box<str>,
    Options { qos, retain_as_published, id }: Options,
    since: Position,
) -> KeptSubscription {
    KeptSubscription {
        filter: text,
        qos: kept_qos(qos),
        no_local: false,
        retain_as_published,
        id,
        since,
        asked: MqttAsk::default(),
    }
}

/// A quality of service as events have it.
pub fn kept_qos(qos: Qos) -> domain::Qos {
    match qos {
        Qos::AtMostOnce => domain::Qos::AtMostOnce,
        Qos::AtLeastOnce => domain::Qos::AtLeastOnce,
        Qos::ExactlyOnce => domain::Qos::ExactlyOnce,
    }
}

/// The shared subscriptions of a session.
pub fn shares(session: &MqttSession) -> Vec<(SharedFilter, Options)> {
    let share = |kept: &KeptSubscription| {
        let options = Options { qos: sent_qos(kept.qos), retain_as_published: kept.retain_as_published, id: kept.id };
        Some((SharedFilter::parse(&kept.filter)?, options))
    };
    session.subscriptions.iter().filter_map(share).collect()
}

fn sent_qos(qos: domain::Qos) -> Qos {
    Qos::of(qos.number()).unwrap_or_default()
}

/// The subscriptions of a session, but those that it shares with others; and their filters.
pub fn subscriptions(session: &MqttSession) -> (Filters, Vec<TopicFilter>) {
    let (mut filters, mut topics) = (Filters::default(), Vec::new());
    for kept in &session.subscriptions {
        let Some(filter) = kept.topics() else { continue };
        topics.push(filter.clone());
        filters.put(Wanted {
            filter,
            qos: sent_qos(kept.qos),
            no_local: kept.no_local,
            retain_as_published: kept.retain_as_published,
            id: kept.id,
            since: kept.since,
            asked: kept.asked,
        });
    }
    (filters, topics)
}

/// How far a session has come, as its connection has it.
pub fn progress(kept: &MqttProgress) -> Progress {
    let MqttProgress { position, exact_position, exact_asked, asked, outgoing, waiting, last_id } = kept;
    let message = |event: &OutgoingEvent| Message { position: event.position, is_from_before: event.is_from_before };
    let in_flight = outgoing.iter().map(|outgoing| InFlight {
        id: outgoing.id,
        message: message(&outgoing.event),
        state: match outgoing.state {
            OutgoingState::Sent => State::Sent,
            OutgoingState::SentOnce => State::SentOnce,
            OutgoingState::Released => State::Released,
        },
    });
    Progress {
        position: *position,
        exact_position: *exact_position,
        exact_asked: *exact_asked,
        asked: *asked,
        in_flight: in_flight.collect(),
        waiting: waiting.iter().map(message).collect(),
        last_id: *last_id,
    }
}

fn kept_progress(progress: Progress) -> MqttProgress {
    let Progress { position, exact_position, exact_asked, asked, in_flight, waiting, last_id } = progress;
    let outgoing = in_flight.into_iter().map(|InFlight { id, message, state }| {
        let state = match state {
            State::Sent => OutgoingState::Sent,
            // What is being noted is noted with this.
            State::SentOnce | State::Unnoted => OutgoingState::SentOnce,
            State::Released => OutgoingState::Released,
        };
        Outgoing { id, event: event(message), state }
    });
    let outgoing = outgoing.collect();
    let waiting = waiting.into_iter().map(event).collect();
    MqttProgress { position, exact_position, exact_asked, asked, outgoing, waiting, last_id }
}

fn event(Message { position, is_from_before }: Message) -> OutgoingEvent {
    OutgoingEvent { position, is_from_before }
}

/// The note of messages of QoS 2 that are to be sent, up to a position, and of retained ones that were asked for.
pub fn note(unnoted: &[Unnoted], exact: (Position, MqttAsked)) -> MqttSessionChange {
    let state = OutgoingState::SentOnce;
    let outgoing = unnoted.iter().map(|unnoted| Outgoing { id: unnoted.id, event: event(unnoted.message), state });
    MqttSessionChange::NoteOutgoing(outgoing.collect(), exact)
}
