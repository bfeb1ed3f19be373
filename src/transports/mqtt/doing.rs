//! What a client has asked for and is not done yet.

use std::num::NonZeroU16;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::keeping::Keeper;
use super::packet::{AckKind, Encoder, Qos, Reason, Version};
use super::reasons;
use crate::app::{Inserting, Keeping};
use crate::error::Error;
use crate::events::{Changing, MqttSessionChange};

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
        /// Resolves when they are in force; `None` if none was added.
        changing: Option<Changing>,
        /// What is kept of them then, if the session outlives the connection.
        kept: Option<MqttSessionChange>,
        /// Resolves when that is on disk.
        keeping: Option<Keeping>,
    },
    /// Filters are taken out.
    Unsubscribe {
        /// The packet that asked.
        id: NonZeroU16,
        /// For each filter how it went.
        reasons: Vec<Reason>,
        /// Resolves when they are gone; `None` if none was there.
        changing: Option<Changing>,
        /// Resolves when they are gone from the disk.
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

/// What became of it.
pub enum Done {
    /// It is answered.
    Answered,
    /// A message of QoS 2 was not taken, so that its identifier is free again.
    NotTaken(NonZeroU16),
    /// Filters that were asked for could not be added.
    NotSubscribed,
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

    /// Becomes ready when it is done, and appends the answer. Wakes as a future does.
    pub fn poll(
        &mut self,
        (version, encoder): (Version, Encoder),
        keeper: &Keeper,
        out: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) -> Poll<Done> {
        Poll::Ready(match self {
            Self::Publish { answer, inserting, .. } => match ready!(Pin::new(inserting).poll(context)) {
                Ok(_) => acknowledge(*answer, Reason::Success, encoder, out),
                Err(error) => refuse(*answer, &error, version, encoder, out),
            },
            Self::Refused { answer, reason } => acknowledge(*answer, *reason, encoder, out),
            Self::Subscribe { id, results, changing, kept, keeping } => {
                let mut is_changed = true;
                if let Some(asked) = changing {
                    is_changed = ready!(Pin::new(asked).poll(context)).is_ok();
                    *changing = None;
                    // Only what can be given is kept.
                    match kept.take().filter(|_| is_changed).map(|kept| keeper.change(kept)) {
                        Some(Ok(kept)) => *keeping = kept,
                        Some(Err(_)) => is_changed = false,
                        None => {}
                    }
                }
                let is_changed = is_changed && ready!(poll_kept(keeping, context));
                if !is_changed {
                    let granted = results.iter_mut().filter(|result| result.is_ok());
                    granted.for_each(|result| *result = Err(Reason::QuotaExceeded));
                }
                encoder.suback(out, *id, results);
                if is_changed { Done::Answered } else { Done::NotSubscribed }
            }
            Self::Unsubscribe { id, reasons, changing, keeping } => {
                if let Some(changing) = changing {
                    // To take names out of a filter fails only with the stream, which ends the connection.
                    let _ = ready!(Pin::new(changing).poll(context));
                }
                *changing = None;
                if !ready!(poll_kept(keeping, context)) {
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

/// Becomes ready when something is on disk, if it is to be. Returns whether it is: the session may have been forgotten.
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
