//! The memory of WebSocket connections, unfinished messages and replies that nobody reads, which is a part of that of bodies.

use std::task::{Context, Poll};

use super::shares::{Bodies, Held, Sender};
use crate::domain::ClientAddress;
use crate::identity::Principal;
use crate::transports::ws::Memory;

/// Counts what connections hold among unfinished bodies: a cheap clone.
#[derive(Clone)]
pub struct MessageMemory(Bodies);

impl MessageMemory {
    /// What connections hold counts as bodies.
    pub fn new(bodies: Bodies) -> Self {
        Self(bodies)
    }

    /// For the connection of a client that has not signed in.
    pub fn of_stranger(&self, from: ClientAddress) -> Box<dyn Memory> {
        self.of(Sender::stranger(from))
    }

    /// For the connection of a user.
    pub fn of_user(&self, principal: &Principal) -> Box<dyn Memory> {
        self.of(Sender::user(principal))
    }

    fn of(&self, sender: Sender) -> Box<dyn Memory> {
        Box::new(Connection { bodies: self.0.clone(), sender, held: None })
    }
}

/// A connection.
struct Connection {
    bodies: Bodies,
    sender: Sender,
    /// In a box, since most connections hold nothing most of the time.
    held: Option<Box<(Held, usize)>>,
}

impl Memory for Connection {
    fn hold(&mut self, bytes: usize) -> bool {
        // A body only grows: one that holds less is another one.
        self.held.take_if(|held| bytes < held.1);
        if bytes == 0 {
            return true;
        }
        let held = self.held.get_or_insert_with(|| Box::new((self.bodies.hold(self.sender.clone()), 0)));
        held.1 = bytes;
        held.0.hold(bytes).is_ok()
    }

    fn poll_displaced(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.held.as_mut().map_or(Poll::Pending, |held| held.0.poll_displaced(context))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::shares::UNCOUNTED;
    use super::*;

    #[test]
    fn a_connection_counts_what_it_holds_now_and_its_oldest_one_gives_way_to_others() {
        let bodies = Bodies::of(100_000, 100_000);
        let of = |address: &str| {
            let from = ClientAddress::of(address.parse().unwrap());
            (Sender::stranger(from), MessageMemory::new(bodies.clone()).of_stranger(from))
        };
        let (here, mut one) = of("192.0.2.1");
        for bytes in [20_000, 60_000, 30_000, 30_000, 0, 50_000] {
            assert!(one.hold(bytes));
            assert_eq!(bodies.held(&here), bytes.saturating_sub(UNCOUNTED));
        }
        let (_, mut other) = of("198.51.100.1");
        let mut is_displaced = || one.poll_displaced(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(other.hold(40_000) && !is_displaced());
        let (_, mut another) = of("203.0.113.1");
        assert!(another.hold(40_000) && is_displaced());
        assert!(!one.hold(60_000) && one.hold(0));
    }
}
