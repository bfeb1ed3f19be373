use std::time::Duration;

use crate::domain::{Position, TenantName};
use crate::events::stream_id::StreamId;

/// How long a stream that has ended may be taken over, and its user counts as there. After that events that were to last while it was
/// connected are removed.
pub const GRACE: Duration = Duration::from_secs(5);

/// Which stream a new one takes over, of those of its user that ended within the grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoesOnFor {
    /// The one that ended last.
    Last,
    /// This one. If it is not among them, none: the last may be another page's.
    This(StreamId),
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
