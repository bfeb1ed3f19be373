//! What the writer tells maintenance: which tenants have new events, and when something is due next.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::{Event, Position, TenantName, Timestamp};

/// The events that were inserted since maintenance last asked, and the earliest moment at which one of the new rows is
/// due.
#[derive(Default)]
pub struct Activity {
    positions: Mutex<HashMap<TenantName, Vec<Position>>>,
    due: Mutex<Due>,
}

/// The earliest moments at which something is due.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// An event expires.
    pub expiry: Timestamp,
    /// A remembered answer may be forgotten.
    pub answer: Timestamp,
}

impl Default for Due {
    /// Nothing is ever due.
    fn default() -> Self {
        Self { expiry: Timestamp::from_millis(u64::MAX), answer: Timestamp::from_millis(u64::MAX) }
    }
}

impl Activity {
    /// Notes events: after they can be counted, and before anybody can see them. So whoever has heard of one counts it.
    pub(super) fn add(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut of_tenants = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            match of_tenants.get_mut(&event.tenant) {
                Some(positions) => positions.push(event.position),
                None => drop(of_tenants.insert(event.tenant.clone(), vec![event.position])),
            }
        }
    }

    /// The positions of the events that were inserted since the last call.
    pub fn take(&self) -> HashMap<TenantName, Vec<Position>> {
        std::mem::take(&mut *self.positions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes when something is due, after it can be found.
    pub(super) fn add_due(&self, due: Due) {
        let mut known = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        known.expiry = known.expiry.min(due.expiry);
        known.answer = known.answer.min(due.answer);
    }

    /// The earliest moments of the rows that were written since the last call.
    pub fn take_due(&self) -> Due {
        std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
