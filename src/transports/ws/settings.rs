//! Limits and times.

use std::time::Duration;

use super::extension::Compression;

/// Bytes of own replies that may wait to be sent before nothing more is read.
pub const MAX_REPLY_BYTES: usize = 64 << 10;
/// Bytes of own replies at which a connection is cut when more are sent.
pub const MAX_QUEUED_BYTES: usize = 1 << 20;
/// Memory of own replies that a client does not take is counted in whole steps of this.
pub const REPLY_STEP: usize = 4 << 10;
/// How much is read at once. Beside an unfinished message, a connection has at most this much in memory that has not been looked at.
pub const READ_BYTES: usize = 16 << 10;
/// How many frames and reads of a connection are looked at for a message before others on its thread have their turn.
pub const ITEMS_A_TURN: usize = 32;
/// How many bytes of messages, inflated, the application is given before others on the thread have their turn. Some KiB of a client can
/// become 64 large messages.
pub const BYTES_A_TURN: usize = 64 << 10;

/// What holds for a connection.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How large a message may be, in bytes, inflated. [`Inlet::set_max_message_bytes`](super::Inlet::set_max_message_bytes) changes it.
    pub max_message_bytes: usize,
    /// What was agreed upon: [`Handshake::compression`](super::Handshake::compression) if the answer has its extensions.
    pub compression: Compression,
    /// How long things take.
    pub times: Times,
    /// Whether messages have frames. Without, a connection is bytes: each read of them is a message, what is sent goes out as it is,
    /// and there are neither pings nor close frames. That is for a protocol that is spoken over TCP as well as over WebSocket.
    pub has_frames: bool,
}

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The time between two pings.
    pub ping_every: Duration,
    /// A client that sends nothing for so long has gone, unless something waits to be sent to it: see [`Duplex`](super::Duplex).
    pub silent_for: Duration,
    /// How long it may take until a close frame is sent, and before it the rest of what a stream has begun.
    pub close_within: Duration,
    /// How long the client may take to answer a close frame.
    pub answer_within: Duration,
    /// How long the client may take to close the connection, after both have sent a close frame.
    pub linger: Duration,
}

impl Times {
    /// Those of every connection, apart from tests.
    pub(super) const USUAL: Self = Self {
        ping_every: Duration::from_secs(12),
        silent_for: Duration::from_secs(30),
        close_within: Duration::from_secs(30),
        answer_within: Duration::from_secs(5),
        linger: Duration::from_secs(1),
    };
}

impl Default for Times {
    fn default() -> Self {
        Self::USUAL
    }
}
