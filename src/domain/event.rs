use super::{EventName, Payload, Position, TenantName, Timestamp, Username};

/// The largest event that can be allowed, name and data together, in bytes of UTF-8 without white space between tokens.
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// The largest that is allowed where nothing is said.
pub const DEFAULT_EVENT_BYTES: usize = 100 << 10;

/// The longest time after which an event may expire, in seconds: a year.
pub const MAX_EXPIRES_IN: u64 = 365 * 24 * 60 * 60;

/// An event that was committed: it is on disk and has its place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order of all events.
    pub position: Position,
    /// Whose users see it.
    pub tenant: TenantName,
    /// What it is called.
    pub name: EventName,
    /// Who inserted it.
    pub username: Username,
    /// When it was committed.
    pub timestamp: Timestamp,
    /// What was inserted; `null` for a removal.
    pub data: Payload,
    /// Whether it says that its name is no more.
    pub is_removal: bool,
}

/// How much there may be of what inserts leave behind.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    /// Names of a tenant.
    pub names: u64,
    /// Events of a user that last while their streams are connected.
    pub bound: u64,
    /// Idempotency keys of a user that are remembered.
    pub keys: u64,
}
