//! What a connection holds, as it is counted.

use std::task::Context;

use super::{Phase, Shared};
use crate::transports::ws::settings::REPLY_STEP;

impl Shared {
    /// Counts the memory of an unfinished message, and of own replies that the client does not take. Whether or not anything is read: a
    /// client that reads no answers is not read from, and still holds what it has sent.
    pub fn count_memory(&self, context: &mut Context<'_>) {
        if self.phase.get() == Phase::Ended {
            return;
        }
        let replies = if self.counts_replies.get() { self.stuck() } else { 0 };
        let mut reader = self.reader.borrow_mut();
        if !self.had_stuck.replace(replies > 0) && replies > 0 {
            // It is what holds memory for the longest that goes first, and an answer is not as old as the message that it is for.
            reader.release();
        }
        let counted = reader.count(replies, context);
        drop(reader);
        match counted {
            Ok(()) => {}
            // A close frame would wait behind the replies that others need the memory of.
            Err(_) if replies > 0 => self.end_now(),
            Err(violation) => self.fail(violation),
        }
    }

    /// The application counts the memory of own replies.
    pub fn leave_replies_uncounted(&self) {
        self.counts_replies.set(false);
    }

    /// How much memory own replies take that the client does not take, as it is counted.
    pub fn stuck(&self) -> usize {
        // Rounded down, so that an answer takes no more than the message that it is as long as.
        self.writer.borrow().stuck() / REPLY_STEP * REPLY_STEP
    }

    /// Whether the application has yet to be told that so much is stuck, and not what it was told.
    pub fn has_to_tell(&self, told: usize) -> bool {
        !self.counts_replies.get() && self.stuck() != told
    }
}
