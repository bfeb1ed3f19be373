//! What of a session is on disk, so that it outlives its connection.

use super::filters::{Filters, Wanted};
use super::outbound::{InFlight, Message, Progress, State, Unnoted};
use super::packet::Qos;
use super::shares::Options;
use crate::app::{Keeping, KeptSession};
use crate::domain::{
    self, AuthContext, KeptSubscription, MqttProgress, MqttSession, Outgoing, OutgoingEvent, OutgoingState, Position,
    SharedFilter, TopicFilter,
};
use crate::error::Error;
use crate::events::{MqttSessionChange, WillFate};

/// The session of a connection.
pub struct Keeper {
    /// `None` of one that the disk does not know.
    session: Option<KeptSession>,
    /// How long it outlives the connection, in seconds.
    expiry: u32,
}

impl Keeper {
    /// For a session that outlives its connection by so many seconds.
    pub fn new(session: Option<KeptSession>, expiry: u32) -> Self {
        Self { session, expiry }
    }

    /// The session, if it outlives its connection.
    pub fn kept(&self) -> Option<&KeptSession> {
        self.session.as_ref().filter(|_| self.expiry > 0)
    }

    /// How long the session outlives the connection, in seconds.
    pub fn expiry(&self) -> u32 {
        self.expiry
    }

    /// Changes the session, if it outlives its connection. What is returned resolves when that is on disk.
    ///
    /// # Errors
    /// Those of [`KeptSession::change`].
    pub fn change(&self, change: MqttSessionChange) -> Result<Option<Keeping>, Error> {
        self.kept().map(|session| session.change(change)).transpose()
    }

    /// Has the right to publish the will rest on a newer token, also of a session that ends with its connection.
    ///
    /// # Errors
    /// Those of [`KeptSession::change`].
    pub fn renew_will(&self, by: AuthContext) -> Result<(), Error> {
        match &self.session {
            Some(session) => session.change(MqttSessionChange::RenewWill(by)).map(drop),
            None => Ok(()),
        }
    }

    /// Changes it without waiting for that: if it comes to nothing, more is kept than need be.
    pub fn change_later(&self, change: MqttSessionChange) {
        let _ = self.change(change);
    }

    /// Notes how far it has come.
    pub fn save(&self, progress: Progress) {
        if let Some(session) = self.kept() {
            let progress = kept_progress(progress);
            session.raise(progress.done_up_to());
            let _ = session.change(MqttSessionChange::Save(progress));
        }
    }

    /// Its connection has ended. It may be for another time from now on.
    pub fn end(&self, progress: Progress, expiry: Option<u32>, will: WillFate) {
        if let Some(session) = &self.session {
            let _ = session.change(MqttSessionChange::End(kept_progress(progress), expiry, will));
        }
    }
}

/// A subscription as it is kept.
pub fn kept_subscription(wanted: &Wanted) -> KeptSubscription {
    let Wanted { filter, qos, no_local, retain_as_published, id, since } = wanted;
    KeptSubscription {
        filter: filter.as_str().into(),
        qos: kept_qos(*qos),
        no_local: *no_local,
        retain_as_published: *retain_as_published,
        id: *id,
        since: *since,
    }
}

/// A shared subscription as it is kept. What members are given is not decided by one of them.
pub fn kept_share(
    text: Box<str>,
    Options { qos, retain_as_published, id }: Options,
    since: Position,
) -> KeptSubscription {
    KeptSubscription { filter: text, qos: kept_qos(qos), no_local: false, retain_as_published, id, since }
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
        });
    }
    (filters, topics)
}

/// How far a session has come, as its connection has it.
pub fn progress(kept: &MqttProgress) -> Progress {
    let MqttProgress { position, exact_position, outgoing, waiting, last_id } = kept;
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
        in_flight: in_flight.collect(),
        waiting: waiting.iter().map(message).collect(),
        last_id: *last_id,
    }
}

fn kept_progress(progress: Progress) -> MqttProgress {
    let Progress { position, exact_position, in_flight, waiting, last_id } = progress;
    let outgoing = in_flight.into_iter().filter_map(|InFlight { id, message, state }| {
        let state = match state {
            State::Sent => OutgoingState::Sent,
            State::SentOnce => OutgoingState::SentOnce,
            State::Released => OutgoingState::Released,
            // It waits.
            State::Unnoted => return None,
        };
        Some(Outgoing { id, event: event(message), state })
    });
    let outgoing = outgoing.collect();
    MqttProgress { position, exact_position, outgoing, waiting: waiting.into_iter().map(event).collect(), last_id }
}

fn event(Message { position, is_from_before }: Message) -> OutgoingEvent {
    OutgoingEvent { position, is_from_before }
}

/// The note of messages of QoS 2 that are to be sent, up to a position.
pub fn note(unnoted: &[Unnoted], exact_position: Position) -> MqttSessionChange {
    let state = OutgoingState::SentOnce;
    let outgoing = unnoted.iter().map(|unnoted| Outgoing { id: unnoted.id, event: event(unnoted.message), state });
    MqttSessionChange::NoteOutgoing(outgoing.collect(), exact_position)
}
