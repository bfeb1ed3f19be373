use std::sync::Arc;

use super::control::Reset;
use super::hub::PresenceGuard;
use super::user_streams::UserStreams;
use crate::domain::{Position, TenantName, Timestamp, View};

/// What somebody subscribes to, and by what right.
pub struct SubscribeRequest {
    /// Their being there by it, and what they call it by.
    pub presence_guard: PresenceGuard,
    /// Whose events.
    pub tenant: TenantName,
    /// Which of them.
    pub view: View,
    /// From where on.
    pub start: Start,
    /// Up to here everything had been revealed before the rights in the view were looked at.
    pub head: Position,
    /// Whether marks are wanted.
    pub marks: bool,
    /// Whether it is to be told who is there.
    pub presence: bool,
    /// Until when; `None` is for ever.
    pub expires_at: Option<Timestamp>,
    /// It ends with this.
    pub user_streams: Arc<UserStreams>,
    /// What [`UserStreams::changes`] was before the rights in the view were looked at.
    pub changes: u64,
}

/// From where on a stream is given events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// First the latest of every name.
    Snapshot,
    /// First everything after a position, which is still kept.
    After(Position),
    /// First the latest of those names that changed after a position: not everything is still kept.
    ChangedAfter(Position),
    /// First the latest of every name, and for a reason not what was missed.
    Reset(Reset),
    /// What comes now; where something was missed, with the reason why it is not given.
    Now(Option<Reset>),
}
