//! Control events: what a stream says about itself to a client that asks for it. Each has the id of a position up to which everything
//! was given, so that a client that resumes from it misses nothing. While something from before that position is still to come, the id
//! is that of the very beginning.

use super::ending::End;
use super::registry::Person;
use crate::domain::Username;

/// What a stream says about itself. Each [`Format`](super::Format) has its own way to write it.
pub enum ControlEvent<'a> {
    /// Everything up to here was given: what follows is new.
    Synced {
        /// The number of the last change of the filter that its client asked for, if that is why it is said.
        change: Option<u32>,
    },
    /// The latest event of every name follows, in place of the events that were missed.
    Reset(Reset),
    /// Somebody has come or gone.
    Presence {
        /// Their name.
        username: &'a Username,
        /// Since when they have been there, and on how many streams; `None` if they have gone.
        person: Option<&'a Person>,
    },
    /// The events of a name may no longer be seen.
    Left {
        /// The name.
        name: &'a str,
    },
    /// The stream ends, for a reason that [is told](End::is_told). Nothing follows.
    End(End),
}

/// Why a stream does not go on with what came after the last event that its reader saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The last event's id is not of this database, or from after its end: the database was restored, or is another one.
    UnknownId,
    /// The last event is from before its reader came to this tenant.
    OtherTenant,
    /// The last event is from before its reader's scopes changed.
    OtherScopes,
    /// What came after it is no longer kept.
    NotKept,
}
