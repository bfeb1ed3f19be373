//! What the requests of one connection share.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::frames::Frames;
use super::heads::Heads;
use crate::transports::http::limits::KEEP_ALIVE;

/// The minimum rate at which a client must take an answer, in bytes a second.
pub const PACE: u32 = 1 << 10;

/// Timeouts of a connection.
#[derive(Clone, Copy)]
pub struct Times {
    /// Idle time until the connection is closed.
    pub idle: Duration,
    /// Time for one piece of an answer, plus one second for each [`PACE`] bytes taken, until the answer is
    /// given up.
    pub stalled: Duration,
    /// Time without progress of an answer while the connection's answers hold much memory.
    pub crowded: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { idle: KEEP_ALIVE, stalled: Duration::from_secs(30), crowded: Duration::from_secs(2) }
    }
}

/// State shared by all requests of a connection.
pub struct Shared {
    pub from: Option<SocketAddr>,
    pub times: Times,
    pub frames: Rc<Frames>,
    pub heads: Heads,
    /// Bytes of answers that were produced and not yet sent.
    pub in_hand: Cell<usize>,
}
