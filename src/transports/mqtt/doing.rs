//! What a client has asked for and is not done yet.

use std::num::NonZeroU16;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::keeping::Keeper;
use super::packet::{AckKind, Encoder, Qos, Reason, Version};
use super::reasons;
use crate::app::{App, Inserting, Keeping};
use crate::domain::FilterChange;
use crate::error::Error;
use crate::events::{Changing, MqttSessionChange, StreamId};
use crate::identity::Principal;

/// How much may be in flight on a connection before nothing more is read.
pub const MAX_IN_FLIGHT: usize = 64;
/// How many bytes of a message count as one more.
const BYTES_A_WEIGHT: usize = 32 << 10;

/// Something that a client has asked for. Answers go out in the order of the questions (MQTT 5.0, 4.6.0-2).
pub enum Doing {
    /// A message is on its way to the disk.
    Publish {
        /// How it is acknowledged; a message of QoS 0 is not.
        answer: Option<(AckKind, NonZeroU16)>,
        /// Resolves when it is on disk.
        inserting: Inserting,
        /// How many it counts as.
        weight: usize,
    },
    /// A message that is refused, for a reason that the client is told.
    Refused {
        /// How it is acknowledged.
        answer: Option<(AckKind, NonZeroU16)>,
        /// Why.
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
    /// It is refused.
    Refused,
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
                Self::Refused => return Poll::Ready(false),
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
    /// A SUBSCRIBE failed, so that these filters, which were not there before, are not there now.
    NotSubscribed(Vec<Box<str>>),
    /// A message of QoS 2 was not taken, so that its identifier is free again.
    NotTaken(NonZeroU16),
    /// A client that cannot be told of a refusal must not take the message for delivered: the connection ends.
    Ends(Reason),
}

/// How many a message of so many bytes counts as.
pub fn weight(bytes: usize) -> usize {
    1 + bytes / BYTES_A_WEIGHT
}

impl Doing {
    /// How many it counts as of [`MAX_IN_FLIGHT`].
    pub fn weight(&self) -> usize {
        match self {
            Self::Publish { weight, .. } => *weight,
            Self::Refused { .. } | Self::Subscribe { .. } | Self::Unsubscribe { .. } | Self::Step { .. } => 1,
        }
    }

    /// Has a SUBSCRIBE fail.
    pub fn fail(&mut self) {
        if let Self::Subscribe { change: Some(change), .. } = self {
            *change = Refilter::Refused;
        }
    }

    /// Becomes ready when it is done, and appends the answer. Wakes as a future does.
    pub fn poll(&mut self, with: &With<'_>, out: &mut Vec<u8>, context: &mut Context<'_>) -> Poll<Done> {
        let With { version, encoder, .. } = *with;
        Poll::Ready(match self {
            Self::Publish { answer, inserting, .. } => match ready!(Pin::new(inserting).poll(context)) {
                Ok(_) => acknowledge(*answer, Reason::Success, encoder, out),
                Err(error) => refuse(*answer, &error, version, encoder, out),
            },
            Self::Refused { answer, reason } => acknowledge(*answer, *reason, encoder, out),
            Self::Subscribe { id, results, change, new } => {
                let is_changed = match change {
                    Some(change) => ready!(change.poll(with, context)),
                    None => true,
                };
                if !is_changed {
                    let granted = results.iter_mut().filter(|result| result.is_ok());
                    granted.for_each(|result| *result = Err(Reason::QuotaExceeded));
                }
                encoder.suback(out, *id, results);
                if is_changed { Done::Answered } else { Done::NotSubscribed(std::mem::take(new)) }
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
pub fn refuse(
    answer: Option<(AckKind, NonZeroU16)>,
    error: &Error,
    version: Version,
    encoder: Encoder,
    out: &mut Vec<u8>,
) -> Done {
    let reason = reasons::of_publish(error);
    // Without an answer, the client sends it again over its next connection.
    if version != Version::V5 && reasons::passes(error) && answer.is_some() {
        return Done::Ends(reason);
    }
    acknowledge(answer, reason, encoder, out)
}

fn acknowledge(answer: Option<(AckKind, NonZeroU16)>, reason: Reason, encoder: Encoder, out: &mut Vec<u8>) -> Done {
    let Some((kind, id)) = answer else { return Done::Answered };
    encoder.ack(out, kind, id, reason, None);
    if kind == AckKind::PubRec && reason.is_failure() { Done::NotTaken(id) } else { Done::Answered }
}
