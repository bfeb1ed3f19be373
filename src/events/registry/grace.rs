use std::time::{Duration, Instant};

use crate::domain::{Position, TenantName, Username};
use crate::events::stream_id::{Serial, StreamId};

/// How long a stream that has ended may be taken over, and its user counts as there. After that events that were to last while it was
/// connected are removed.
pub const GRACE: Duration = Duration::from_secs(5);

/// Which stream a new one takes over, of those of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoesOnFor {
    /// The one that ended last, within the grace.
    Last,
    /// This one, if it ended within the grace. If it did not, none: the last may be another page's.
    This(StreamId),
    /// This one, also if it is open: that one ends.
    Replaces(StreamId),
    /// None: the request named something that is no stream.
    None,
}

/// A stream whose grace is over: events that were to last while it was connected are to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneStream {
    /// The stream.
    pub stream: StreamId,
    /// Only events of this tenant that were bound up to this position. The stream's user went to another tenant with it then, and
    /// may have come back. `None` is all.
    pub only: Option<(TenantName, Position)>,
}

/// That a stream was in a tenant that its user has moved out of: for the grace it counts as there.
pub struct Left {
    /// The user.
    pub username: Username,
    /// When the grace is over.
    pub until: Instant,
    /// The last position by then. Events that were bound to the stream later were bound by a user who has come back.
    pub moved_at: Position,
}

/// When a grace is over.
pub struct Due {
    /// Then.
    pub at: Instant,
    /// Of this stream.
    pub stream: StreamId,
    /// Which grace it is.
    pub of: DueOf,
}

/// What a grace is of.
pub enum DueOf {
    /// Of a stream that has ended with this serial. If it has another one by then, it was taken over.
    Ended(Serial),
    /// Of a stream that has left this tenant.
    Left(TenantName),
}
