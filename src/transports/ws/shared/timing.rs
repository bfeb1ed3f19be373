//! What is done when its time has come: pings, and the ends of silent and of slow clients.

use std::time::Duration;

use tokio::time::Instant;

use super::{Phase, Shared};
use crate::transports::ws::frame::{Opcode, append};

/// For what is never due.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Shared {
    /// When [`Shared::on_time`] has something to do.
    pub fn due(&self) -> Instant {
        let times = self.times();
        match self.phase.get() {
            // Without frames, it is the application that knows what its client has to say, and how often.
            Phase::Open if !self.has_frames() => Instant::now() + DAY,
            Phase::Open => self.due.get().min(self.reader.borrow().heard() + times.silent_for),
            _ => self.due.get(),
        }
    }

    /// Does what is due.
    pub fn on_time(&self) {
        let (now, times) = (Instant::now(), self.times());
        if self.phase.get() != Phase::Open {
            if now >= self.due.get() {
                self.end_now();
            }
            return;
        }
        if !self.has_frames() {
            return;
        }
        if now >= self.reader.borrow().heard() + times.silent_for {
            // While something waits to be sent, it is the system that finds out whether the client takes any of it.
            if self.is_awaited.get() && !self.writer.borrow().is_blocked() {
                return self.end_now();
            }
            // Nothing was read from it, or it is busy reading.
            self.reader.borrow_mut().excuse();
        }
        if now >= self.due.get() {
            self.due.set(now + times.ping_every);
            // A client that has something to read already is not asked once more.
            if self.writer.borrow().waiting() == 0 {
                self.send(|queue| append(queue, Opcode::Ping, false, &[]));
            }
        }
    }
}
