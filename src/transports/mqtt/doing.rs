//! What a client has asked for and is not done yet.

use std::num::NonZeroU16;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::basics::METHOD;
use super::filters::Wanted;
use super::keeping::Keeper;
use super::log;
use super::packet::{AckKind, Encoder, Property, Qos, Reason, Version};
use super::reasons;
use crate::app::{App, Inserting, Keeping};
use crate::domain::FilterChange;
use crate::error::Error;
use crate::events::{Changing, MqttSessionChange, StreamId};
use crate::identity::Principal;

/// Something that a client has asked for. Answers go out in the order of the questions (MQTT 5.0, 4.6.0-2).
pub enum Doing {
    /// A message is on its way to the disk.
    Publish {
        /// How it is acknowledged; a message of QoS 0 is not.
        answer: Option<(AckKind, NonZeroU16)>,
        /// Resolves when it is on disk.
        inserting: Inserting,
        /// The topic, if that is logged of one that is refused.
        topic: Option<Box<str>>,
    },
    /// A message that is not inserted.
    NotInserted {
        /// How it is acknowledged.
        answer: Option<(AckKind, NonZeroU16)>,
        /// Why: it is refused, or has expired.
        reason: Reason,
    },
    /// A message of QoS 2 that came before, and is acknowledged as it was then.
    Again {
        /// Which message.
        id: NonZeroU16,
        /// How it was.
        reason: Reason,
    },
    /// Filters are added.
    Subscribe {
        /// The packet that asked.
        id: NonZeroU16,
        /// For each filter how it went, if the change succeeds.
        results: Vec<Result<Qos, Reason>>,
        /// The change; `None` if none is added.
        change: Option<Refilter>,
        /// The filters that were not there before, to be taken out of what is kept if the stream cannot have them.
        new: Vec<Box<str>>,
        /// The others, as they were before.
        before: Vec<Wanted>,
    },
    /// Filters are taken out.
    Unsubscribe {
        /// The packet that asked.
        id: NonZeroU16,
        /// For each filter how it went.
        reasons: Vec<Reason>,
        /// The change; `None` if none was there.
        change: Option<Refilter>,
    },
    /// The connection goes on by another token, once the stream and the session know of it.
    Renewal {
        /// The change of what the stream may see.
        changing: Changing,
        /// Resolves when the session knows of it, if there is one.
        keeping: Option<Keeping>,
    },
    /// A message of QoS 2 is acknowledged in its second or third step, once the session knows of it.
    Step {
        /// How it is acknowledged.
        kind: AckKind,
        /// Which message.
        id: NonZeroU16,
        /// Whether there is such a message.
        is_known: bool,
        /// Resolves when the session knows of it, if it outlives the connection.
        keeping: Option<Keeping>,
    },
}

/// A change of what a client is subscribed to: first of its session, and then of its stream, so that it is known for good before its
/// client is told, and told before the messages come that it is for. The session changes at once, whatever becomes of the connection;
/// the stream when all that was asked for before is done.
pub enum Refilter {
    /// It is refused, and nothing was done of it.
    Refused,
    /// It is not done, since one before it has failed. It may have been written down.
    Undone,
    /// It is written down.
    Keeping(Option<Keeping>, FilterChange),
    /// The stream changes.
    Changing(Changing),
}

/// What things are done with.
pub struct With<'a> {
    /// The services.
    pub app: &'a App,
    /// Who asks.
    pub principal: &'a Principal,
    /// The stream of the client.
    pub stream: StreamId,
    /// What of the session is on disk.
    pub keeper: &'a Keeper,
    /// The version of the client.
    pub version: Version,
    /// How it is answered.
    pub encoder: Encoder,
}

impl Refilter {
    /// Begins a change of the session that is one of the stream, too.
    pub fn begin(keeper: &Keeper, kept: MqttSessionChange, change: FilterChange) -> Self {
        keeper.change(kept).map_or(Self::Refused, |keeping| Self::Keeping(keeping, change))
    }

    /// Becomes ready when it is done. Returns whether it succeeded.
    fn poll(&mut self, with: &With<'_>, context: &mut Context<'_>) -> Poll<bool> {
        loop {
            match self {
                Self::Refused | Self::Undone => return Poll::Ready(false),
                Self::Keeping(keeping, change) => {
                    // The session may have been forgotten.
                    if let Some(keeping) = keeping
                        && ready!(Pin::new(keeping).poll(context)) != Ok(true)
                    {
                        return Poll::Ready(false);
                    }
                    match with.app.events.change_filter(with.principal, with.stream, change.clone()) {
                        Ok(changing) => *self = Self::Changing(changing),
                        Err(_) => return Poll::Ready(false),
                    }
                }
                Self::Changing(changing) => return Pin::new(changing).poll(context).map(|changed| changed.is_ok()),
            }
        }
    }
}

/// What became of it.
pub enum Done {
    /// It is answered.
    Answered,
    /// A SUBSCRIBE failed.
    NotSubscribed {
        /// These filters were not there before, and are not there now.
        new: Vec<Box<str>>,
        /// These are what they were before.
        before: Vec<Wanted>,
        /// Whether it may have been written down.
        is_begun: bool,
    },
    /// A message of QoS 2 was not taken, so that its identifier is free again.
    NotTaken(NonZeroU16, Reason),
    /// A client must not take the message for delivered, nor for refused for good: the connection ends.
    Ends(Reason),
}

impl Doing {
    /// A message of QoS 2 was not taken. If it came again meanwhile, it is refused again: its client must not go on with either.
    pub fn not_taken(&mut self, not_taken: NonZeroU16, why: Reason) {
        if let Self::Again { id, reason } = self
            && *id == not_taken
        {
            *reason = why;
        }
    }

    /// Has a SUBSCRIBE fail that came after one which has failed, and put these subscriptions back to what they were before.
    pub fn fail(&mut self, restored: &[Wanted]) {
        if let Self::Subscribe { change: Some(change), before, .. } = self {
            if !matches!(change, Refilter::Refused) {
                *change = Refilter::Undone;
            }
            for wanted in before {
                if let Some(restored) = restored.iter().find(|restored| restored.filter == wanted.filter) {
                    *wanted = restored.clone();
                }
            }
        }
    }

    /// Becomes ready when it is done, and appends the answer. Wakes as a future does.
    pub fn poll(&mut self, with: &With<'_>, out: &mut Vec<u8>, context: &mut Context<'_>) -> Poll<Done> {
        let With { version, encoder, .. } = *with;
        Poll::Ready(match self {
            Self::Publish { answer, inserting, topic } => match ready!(Pin::new(inserting).poll(context)) {
                Ok(_) => acknowledge(*answer, Reason::Success, encoder, out),
                Err(error) => {
                    with.app.metrics().refused(error.code());
                    log::not_taken(with.principal, topic.as_deref(), reasons::of_publish(&error));
                    refuse(*answer, &error, version, encoder, out)
                }
            },
            Self::NotInserted { answer, reason } => acknowledge(*answer, *reason, encoder, out),
            Self::Again { id, reason } => {
                encoder.ack(out, AckKind::PubRec, *id, *reason, None);
                Done::Answered
            }
            Self::Subscribe { id, results, change, new, before } => {
                let is_changed = match change {
                    Some(change) => ready!(change.poll(with, context)),
                    None => true,
                };
                if !is_changed {
                    let granted = results.iter_mut().filter(|result| result.is_ok());
                    granted.for_each(|result| *result = Err(Reason::QuotaExceeded));
                }
                encoder.suback(out, *id, results);
                if is_changed {
                    return Poll::Ready(Done::Answered);
                }
                let is_begun = !matches!(change, Some(Refilter::Refused));
                Done::NotSubscribed { new: std::mem::take(new), before: std::mem::take(before), is_begun }
            }
            Self::Unsubscribe { id, reasons, change } => {
                // To take names out of a filter fails only with the stream, which ends the connection.
                if let Some(change) = change
                    && !ready!(change.poll(with, context))
                {
                    return Poll::Ready(Done::Ends(Reason::Unspecified));
                }
                encoder.unsuback(out, *id, reasons);
                Done::Answered
            }
            Self::Renewal { changing, keeping } => {
                if !ready!(poll_kept(keeping, context)) {
                    return Poll::Ready(Done::Ends(Reason::Unspecified));
                }
                // If the stream ends, the connection does.
                let _ = ready!(Pin::new(changing).poll(context));
                encoder.auth(out, Reason::Success, &[Property::AuthenticationMethod(METHOD)]);
                Done::Answered
            }
            Self::Step { kind, id, is_known, keeping } => {
                if !ready!(poll_kept(keeping, context)) {
                    return Poll::Ready(Done::Ends(Reason::Unspecified));
                }
                let reason = if *is_known { Reason::Success } else { Reason::PacketIdNotFound };
                encoder.ack(out, *kind, *id, reason, None);
                Done::Answered
            }
        })
    }
}

/// Becomes ready when something is on disk, if it is to be. Returns whether it is.
fn poll_kept(keeping: &mut Option<Keeping>, context: &mut Context<'_>) -> Poll<bool> {
    match keeping {
        // Whether there was such a message is known without the disk.
        Some(keeping) => Pin::new(keeping).poll(context).map(|kept| kept.is_ok()),
        None => Poll::Ready(true),
    }
}

/// Answers for a message that is not taken.
fn refuse(
    answer: Option<(AckKind, NonZeroU16)>,
    error: &Error,
    version: Version,
    encoder: Encoder,
    out: &mut Vec<u8>,
) -> Done {
    match answer.and_then(|_| reasons::ends(error, version)) {
        Some(reason) => Done::Ends(reason),
        None => acknowledge(answer, reasons::of_publish(error), encoder, out),
    }
}

fn acknowledge(answer: Option<(AckKind, NonZeroU16)>, reason: Reason, encoder: Encoder, out: &mut Vec<u8>) -> Done {
    let Some((kind, id)) = answer else { return Done::Answered };
    encoder.ack(out, kind, id, reason, None);
    if kind == AckKind::PubRec && reason.is_failure() { Done::NotTaken(id, reason) } else { Done::Answered }
}
