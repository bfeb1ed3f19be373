use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::subscription::Subscription;

/// How finely time is told.
pub const TICK: Duration = Duration::from_millis(250);
/// Enough slots for [`super::HEARTBEAT_EVERY`].
const SLOTS: usize = 64;

/// What is due when, for all subscriptions of a worker: a timer of eight bytes each.
pub struct Wheel {
    slots: RefCell<[Vec<Weak<Subscription>>; SLOTS]>,
    /// The slot of now.
    hand: Cell<usize>,
}

impl Wheel {
    pub fn new() -> Self {
        Self { slots: RefCell::new([const { Vec::new() }; SLOTS]), hand: Cell::new(0) }
    }

    /// Has a subscription come up after a time, never before and at most two [`TICK`]s later.
    pub fn arm(&self, subscription: &Rc<Subscription>, after: Duration) {
        // The first tick may come at any moment: it does not count.
        let ticks = (after.as_millis().div_ceil(TICK.as_millis()) + 1).min(SLOTS as u128 - 1) as usize;
        let slot = (self.hand.get() + ticks) % SLOTS;
        self.slots.borrow_mut()[slot].push(Rc::downgrade(subscription));
    }

    /// A tick has gone by: what is due now.
    pub fn permit(&self) -> Vec<Weak<Subscription>> {
        let hand = (self.hand.get() + 1) % SLOTS;
        self.hand.set(hand);
        std::mem::take(&mut self.slots.borrow_mut()[hand])
    }
}
