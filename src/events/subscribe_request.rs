use super::control::Reset;
use super::registry::PresenceGuard;
use crate::domain::{EventFilter, Position, TenantName, View};

/// What a stream gives its client. Every transport calls these options by the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// The stream tells its state in control events: that it is in sync, and that it begins anew.
    pub marks: bool,
    /// The stream tells which users of the tenant are present.
    pub presence: bool,
    /// The stream gives transient events, too.
    pub transient: bool,
    /// A stream that gets another view is given the latest events that are new in it.
    pub backfill: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { marks: false, presence: false, transient: true, backfill: true }
    }
}

/// A stream that is about to be opened, and the rights that it is opened by.
pub struct SubscribeRequest {
    /// Counts the user as present, and carries the id of the stream and when it ends.
    pub presence_guard: PresenceGuard,
    /// The tenant of the user.
    pub tenant: TenantName,
    /// The events that are wanted and may be seen.
    pub view: View,
    /// Where the stream begins.
    pub start: Start,
    /// What the stream gives.
    pub options: StreamOptions,
    /// What [`UserStreams::changes`](super::UserStreams::changes) was before the rights in the view were looked at.
    pub changes: u64,
    /// How many changes of the filter were asked for before, by a stream that this one takes over.
    pub filter_changes: u32,
}

/// Where a stream stands that another one takes over, on another connection of the same client.
pub struct HandOver {
    /// Everything up to this position has been given.
    pub position: Position,
    /// The filter, with what was added and taken out.
    pub filter: EventFilter,
    /// How many changes of the filter were asked for. All are in force.
    pub changes: u32,
}

/// Where a stream begins. This is decided once, when the stream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Nothing up to this position is given any more, except by a snapshot.
    pub after: Position,
    /// What is given first.
    pub first: First,
    /// Why the stream cannot resume where its client left off, if it cannot.
    pub reset: Option<Reset>,
    /// The client may know names up to this position, though they are not given to it.
    pub known_to: Position,
}

/// What a stream is given first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The latest event of every name.
    Snapshot,
    /// The latest event of every name that has changed since: not every event since is retained.
    Changed,
    /// Every event since.
    Events,
}

impl Start {
    /// With a snapshot.
    pub fn snapshot(reset: Option<Reset>) -> Self {
        Self { after: Position::START, first: First::Snapshot, reset, known_to: Position::START }
    }

    /// After a position since which every event is retained. `head` is the newest event that the client can have seen.
    ///
    /// The id of the very beginning is that of control events that stand before what they announce, so a client that resumes
    /// there may know every name up to the head.
    pub fn after(position: Position, head: Position) -> Self {
        let known_to = if position == Position::START { head } else { Position::START };
        Self { after: position, first: First::Events, reset: None, known_to }
    }

    /// After a position since which only the latest event of each name is retained.
    pub fn changed_after(position: Position) -> Self {
        Self { after: position, first: First::Changed, reset: None, known_to: Position::START }
    }

    /// With what is new. `reset` says why the client is not given what it missed.
    pub fn now(head: Position, reset: Option<Reset>) -> Self {
        Self { after: head, first: First::Events, reset, known_to: Position::START }
    }
}
