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
    /// The server stops. Its client may come back after so many milliseconds.
    Stopping {
        /// How many: different for each, so that not all come back at once.
        back_in: u32,
    },
    /// Its events cannot be read.
    Unreadable,
    /// It has fallen so far behind that events are gone which its client needs.
    Behind,
    /// The client has gone.
    Gone,
}

/// How long a server that stops is away, at the least, in milliseconds.
const AWAY: u32 = 1000;

impl End {
    /// How the metrics call each of them, in their order.
    pub const NAMES: &'static [&'static str] =
        &["expired", "revoked", "replaced", "too_many_streams", "stopping", "unreadable", "behind", "gone"];

    /// Which of [`Self::NAMES`] is its name.
    pub fn number(self) -> usize {
        match self {
            Self::Expired => 0,
            Self::Revoked => 1,
            Self::Replaced => 2,
            Self::TooManyStreams => 3,
            Self::Stopping { .. } => 4,
            Self::Unreadable => 5,
            Self::Behind => 6,
            Self::Gone => 7,
        }
    }

    /// The server stops. Clients are to come back within so many milliseconds of each other.
    pub fn stopping(spread: u32) -> Self {
        let drawn = u64::from(u32::from_le_bytes(crate::random::bytes()));
        // The upper half of the product is evenly below the spread.
        let jitter = (drawn * (u64::from(spread) + 1)) >> 32;
        Self::Stopping { back_in: AWAY.saturating_add(u32::try_from(jitter).unwrap_or(spread)) }
    }

    /// Whether a control event says it. The client has to know what to do next; after any other end it comes back as after a lost
    /// connection.
    pub fn is_told(self) -> bool {
        match self {
            Self::Expired | Self::Revoked | Self::Replaced | Self::TooManyStreams | Self::Stopping { .. } => true,
            Self::Unreadable | Self::Behind | Self::Gone => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_a_server_that_stops_come_back_after_a_second_and_spread_over_a_time() {
        let back = |spread| {
            (0..1000).map(move |_| match End::stopping(spread) {
                End::Stopping { back_in } => back_in,
                other => panic!("{other:?}"),
            })
        };
        assert!(back(0).all(|back_in| back_in == AWAY));
        let (least, most) = (back(5000).min().unwrap(), back(5000).max().unwrap());
        assert!((1000..1500).contains(&least) && (5500..=6000).contains(&most), "{least} to {most}");
    }
}
