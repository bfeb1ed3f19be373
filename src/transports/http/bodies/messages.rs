//! The memory of unfinished messages on WebSocket connections, which is a part of that of bodies.

use std::task::{Context, Poll};

use super::shares::{Bodies, Held, Sender};
use crate::domain::ClientAddress;
use crate::identity::Principal;
use crate::transports::ws::Memory;

/// Counts unfinished messages among unfinished bodies: a cheap clone.
#[derive(Clone)]
pub struct MessageMemory(Bodies);

impl MessageMemory {
    /// Those messages count as bodies.
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
        Box::new(Messages { bodies: self.0.clone(), sender, held: None })
    }
}

/// The unfinished message of a connection.
struct Messages {
    bodies: Bodies,
    sender: Sender,
    /// In a box, since most connections have none most of the time.
    held: Option<Box<Held>>,
}

impl Memory for Messages {
    fn hold(&mut self, bytes: usize) -> bool {
        if bytes == 0 {
            self.held = None;
            return true;
        }
        let held = self.held.get_or_insert_with(|| Box::new(self.bodies.hold(self.sender.clone())));
        held.hold(bytes).is_ok()
    }

    fn poll_displaced(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.held.as_mut().map_or(Poll::Pending, |held| held.poll_displaced(context))
    }
}
