//! Why a subscription ends, and what its client is told of that.

use crate::domain::EventId;

/// The end of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why it ends.
    pub why: End,
    /// What a client that is told so in a [control event](super::ControlEvent::End) resumes from; `None` if it did not ask for control
    /// events, or if there is nothing to tell.
    pub told: Option<EventId>,
}

impl Ending {
    /// An end that a client without control events has.
    pub fn untold(why: End) -> Self {
        Self { why, told: None }
    }
}

/// Why a subscription ends: every way in which one can end is one of these. A transport tells its client so if its protocol has words for
/// it, and if the client asked for control events: some clients may come back at once, and others only with another sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its sign-in has expired.
    Expired,
    /// Its sign-in was ended: its user was revoked, or signs in by another password or with a code from now on.
    Revoked,
    /// Another connection of the same user has taken its id.
    Replaced,
    /// Its user has opened more streams than they may have, and it was the oldest.
    TooManyStreams,
    /// The server stops.
    Stopping,
    /// Its events cannot be read.
    Unreadable,
    /// It has fallen so far behind that events are gone which its client needs.
    Behind,
    /// The client has gone.
    Gone,
}

impl End {
    /// How the metrics call each of them, in their order.
    pub const NAMES: &'static [&'static str] =
        &["expired", "revoked", "replaced", "too_many_streams", "stopping", "unreadable", "behind", "gone"];

    /// Whether a control event says it. The client has to know what to do next; after any other end it comes back as after a lost
    /// connection.
    pub fn is_told(self) -> bool {
        match self {
            Self::Expired | Self::Revoked | Self::Replaced | Self::TooManyStreams | Self::Stopping => true,
            Self::Unreadable | Self::Behind | Self::Gone => false,
        }
    }
}
