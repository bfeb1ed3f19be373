//! The query for a page, and how much one page and one step may read.

use crate::domain::{EventName, Position, TenantName};

/// How many bytes of events are on one page, plus one event. Then the page ends, whatever its limit.
pub const MAX_BYTES: usize = 4 << 20;
/// How many events are looked at for one page, and how many bytes of them. A query for a rare name gets its answer in
/// parts.
pub const MAX_LOOKED_AT: usize = 20_000;
pub const MAX_LOOKED_AT_BYTES: usize = 64 << 20;
/// The same for one step of a page. Other reads wait for it.
pub const STEP_LOOKS: usize = 1024;
pub const STEP_LOOKED_AT_BYTES: usize = 1 << 20;

/// A query for the kept events of a name.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// The tenant.
    pub tenant: TenantName,
    /// The name.
    pub name: EventName,
    /// Only events after this position.
    pub after: Position,
    /// Only events before this position.
    pub before: Position,
    /// How many events at most.
    pub limit: usize,
    /// Whether the oldest come first.
    pub oldest_first: bool,
}

/// How much may still be given and looked at.
#[derive(Clone, Copy)]
pub struct Allowance {
    pub events: usize,
    pub bytes: usize,
    pub looks: usize,
    pub looked_at_bytes: usize,
}

impl Allowance {
    /// Whether nothing is left for another event.
    pub fn is_spent(&self, is_wanted: bool) -> bool {
        let is_full = is_wanted && (self.events == 0 || self.bytes == 0);
        is_full || self.looks == 0 || self.looked_at_bytes == 0
    }

    fn spend(&mut self, is_wanted: bool, bytes: usize) {
        self.looks = self.looks.saturating_sub(1);
        self.looked_at_bytes = self.looked_at_bytes.saturating_sub(bytes);
        if is_wanted {
            self.events = self.events.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

/// The allowance of a page, and of the current step.
pub struct Budget {
    pub page: Allowance,
    pub step: Allowance,
}

impl Budget {
    pub fn is_spent(&self, is_wanted: bool) -> bool {
        self.page.is_spent(is_wanted) || self.step.is_spent(is_wanted)
    }

    pub fn spend(&mut self, is_wanted: bool, bytes: usize) {
        self.page.spend(is_wanted, bytes);
        self.step.spend(is_wanted, bytes);
    }
}
