use std::task::{Context, Poll};

use bytes::Bytes;

use super::ending::Ending;
use super::format::Format;
use crate::domain::{EventFilter, MqttSessionId, Position};

/// The way by which the bytes of a subscription reach its client. A transport brings it, with the [`Format`] of those bytes. It stays on
/// its worker's thread.
pub trait Sink {
    /// How what is written here is encoded.
    fn format(&self) -> &'static dyn Format;

    /// The session of MQTT that it is of, if any: what the tail has lost and the session still needs is read from its queue. Here, so that
    /// other streams have no room for it.
    fn session(&self) -> Option<MqttSessionId> {
        None
    }

    /// Whether its client must not miss an event without being told. Its stream ends if it does.
    fn needs_all(&self) -> bool {
        false
    }

    /// What was asked for over an earlier connection and has not been given.
    fn asked_before(&self) -> Vec<Asked> {
        Vec::new()
    }

    /// The latest events that come from here on were asked for by this.
    fn begin_asked(&self, _: &Asked) {}

    /// All of that has been written.
    fn end_asked(&self, _: &Asked) {}

    /// Takes what fits now, without waiting.
    fn write(&self, bytes: &Bytes) -> Written;

    /// Everything up to here has been given, apart from what its client does not want. Said at each heartbeat of a stream that is live.
    fn passed(&self, _: Position) {}

    /// Becomes ready when more may fit, or when nothing ever will. Wakes as a future does.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Becomes ready when the client has gone. Wakes as a future does.
    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Says that nothing more comes, and why, unless a write was taken in part. It does not wait: a client that takes nothing is not told.
    /// Dropping the sink then closes it.
    fn finish(&self, ending: Ending);
}

/// Latest events that a client asked for, whether or not they are new in its view.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Their names.
    pub filter: EventFilter,
    /// Up to here they have been given.
    pub after: Position,
    /// Up to here they are to be given.
    pub until: Position,
    /// What the client knows by it, with whatever it asked for before.
    pub number: u32,
    /// Whether this was begun, so that what the client asks for next is not given together with it.
    pub is_begun: bool,
}

/// What a [`Sink`] did with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Took them all, and may take more.
    All,
    /// Took so many, and takes no more before it is ready again. The rest must be written next.
    Part(usize),
    /// Took so many, which are whole events, and takes no more before it is ready again.
    Whole(usize),
    /// Nothing can be written ever again.
    Gone,
}
