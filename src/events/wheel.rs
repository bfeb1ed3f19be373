use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::stream_id::Serial;

/// How finely time is told.
pub const TICK: Duration = Duration::from_millis(250);
/// Enough slots for [`super::HEARTBEAT_EVERY`].
const SLOTS: usize = 64;

/// The timers of all subscriptions of a worker, with eight bytes for each. A subscription that has ended is noticed when it is due.
pub struct Wheel {
    slots: RefCell<[Vec<Serial>; SLOTS]>,
    /// The slot of now.
    hand: Cell<usize>,
}

impl Wheel {
    /// A wheel without timers.
    pub fn new() -> Self {
        Self { slots: RefCell::new([const { Vec::new() }; SLOTS]), hand: Cell::new(0) }
    }

    /// Has a subscription come up after a time, never before and at most two [`TICK`]s later.
    pub fn arm(&self, subscription: Serial, after: Duration) {
        // The first tick may come at any moment: it does not count.
        let ticks = (after.as_millis().div_ceil(TICK.as_millis()) + 1).min(SLOTS as u128 - 1) as usize;
        let slot = (self.hand.get() + ticks) % SLOTS;
        self.slots.borrow_mut()[slot].push(subscription);
    }

    /// A tick has gone by: the subscriptions that are due now.
    pub fn tick(&self) -> Vec<Serial> {
        let hand = (self.hand.get() + 1) % SLOTS;
        self.hand.set(hand);
        std::mem::take(&mut self.slots.borrow_mut()[hand])
    }
}
