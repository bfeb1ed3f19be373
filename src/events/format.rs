use std::ops::Range;

use bytes::{Buf, Bytes};

use super::control::ControlEvent;
use super::ending::Ending;
use crate::domain::{Event, EventId, EventKind, Published, Timestamp};
use crate::store::{Store, StoredEvent};

/// How much is joined into one write at most, apart from one more event and from what a format adds to each.
pub const JOINED_BYTES: usize = 64 << 10;

/// How a transport writes what its streams are given. The core knows no bytes of any protocol: it decides which events a stream
/// gets and in which order, and asks the format of the stream for the bytes.
pub trait Format: Sync {
    /// Tells formats apart: streams of one group have equal keys, and get the same bytes.
    fn key(&self) -> FormatKey;

    /// The transport, as operators know it.
    fn transport(&self) -> &'static str;

    /// Appends an event to a buffer. Returns where in the buffer the event's data stands, if it is there as JSON of the same meaning:
    /// then that takes the place of the data in memory, and other formats are given it.
    fn event(&self, event: &EventParts<'_>, buffer: &mut Vec<u8>) -> Option<Range<usize>>;

    /// Appends a control event to a buffer. `id` is what its reader resumes from.
    fn control(&self, control: &ControlEvent<'_>, id: EventId, buffer: &mut Vec<u8>);

    /// What keeps a quiet stream alive. A stream begins with it, too.
    fn heartbeat(&self) -> &'static [u8];

    /// Makes one write of events or control events that stand one after another. By default nothing is added around them.
    fn join(&self, content: Content) -> Bytes {
        content.wrap(b"", b"")
    }

    /// The same, of the latest events of their names that are given because they are there, and not because they are new.
    fn join_latest(&self, content: Content) -> Bytes {
        self.join(content)
    }

    /// Makes one write of a single event without copying it, if this format adds nothing around it.
    fn alone(&self, _event: &Bytes) -> Option<Bytes> {
        None
    }
}

/// What tells one [`Format`] from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FormatKey {
    /// The form of a single event. Formats that have it in common share encoded events.
    pub encoding: &'static str,
    /// How several events are joined.
    pub framing: &'static str,
}

/// An event as a [`Format`] gets it.
pub struct EventParts<'a> {
    /// Its position, as clients see it.
    pub id: EventId,
    /// What it is called.
    pub name: &'a str,
    /// What was inserted, as JSON on one line; `null` for a removal.
    pub data: &'a str,
    /// What it does to its name.
    pub kind: EventKind,
    /// When it was inserted.
    pub timestamp: Timestamp,
    /// The user that inserted it.
    pub username: &'a str,
    /// When it expires, if it does. Not known of values that are in the database since format 4.
    pub expires_at: Option<Timestamp>,
    /// Whether it is the removal of a value that had expired, rather than by somebody.
    pub by_expiry: bool,
    /// What it has beside its data if it was published over MQTT.
    pub published: Option<&'a Published>,
}

impl<'a> EventParts<'a> {
    /// Those of an event that was committed, and has this id.
    pub fn of(event: &'a Event, id: EventId) -> Self {
        let Event { ref name, ref username, timestamp, ref data, kind, expires_at, by_expiry, ref published, .. } =
            *event;
        let (name, data, username) = (name.as_str(), data.as_str(), username.as_str());
        Self { id, name, data, kind, timestamp, username, expires_at, by_expiry, published: published.as_deref() }
    }

    /// Those of an event that was read from the store.
    pub fn of_stored(event: &'a StoredEvent<'_>, store: &Store) -> Self {
        let StoredEvent { position, name, ref data, kind, timestamp, username, expires_at, by_expiry, ref published } =
            *event;
        let (id, published) = (store.event_id(position), published.as_deref());
        Self { id, name, data, kind, timestamp, username, expires_at, by_expiry, published }
    }
}

/// Events or control events one after another, on their way into one write.
pub struct Content {
    /// Begins with [`Content::ROOM`] free bytes, so that a length can be put before the content without moving it.
    bytes: Vec<u8>,
}

impl Content {
    /// How much fits before the content.
    const ROOM: usize = 24;
    /// How much is expected to be put after it.
    const AFTER: usize = 8;

    /// Nothing yet, with memory for so many bytes.
    pub(super) fn with_capacity(length: usize) -> Self {
        let mut bytes = Vec::with_capacity(Self::ROOM + length + Self::AFTER);
        bytes.resize(Self::ROOM, 0);
        Self { bytes }
    }

    /// Where more is appended.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What there is, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[Self::ROOM..]
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len() - Self::ROOM
    }

    /// The content between two pieces.
    pub fn wrap(mut self, before: &[u8], after: &[u8]) -> Bytes {
        self.bytes.extend_from_slice(after);
        // A reader that stalls keeps this in memory, and not what it grew into beside it.
        if self.bytes.capacity() > self.bytes.len() / 4 * 5 {
            self.bytes = self.bytes.as_slice().into();
        }
        match Self::ROOM.checked_sub(before.len()) {
            Some(start) => {
                self.bytes[start..Self::ROOM].copy_from_slice(before);
                let mut bytes = Bytes::from(self.bytes);
                bytes.advance(start);
                bytes
            }
            None => [before, &self.bytes[Self::ROOM..]].concat().into(),
        }
    }
}

impl dyn Format + '_ {
    /// Control events as one write.
    pub fn controls<'a>(&self, controls: impl IntoIterator<Item = ControlEvent<'a>>, id: EventId) -> Bytes {
        let mut content = Content::with_capacity(128);
        controls.into_iter().for_each(|control| self.control(&control, id, content.buffer()));
        self.join_or_nothing(content)
    }

    /// What is written of the end of a stream: nothing, if its client is not to be told.
    pub fn ending(&self, Ending { why, told }: Ending) -> Bytes {
        told.map_or_else(Bytes::new, |id| self.controls([ControlEvent::End(why)], id))
    }

    /// A heartbeat as one write.
    pub fn joined_heartbeat(&self) -> Bytes {
        let heartbeat = self.heartbeat();
        let mut content = Content::with_capacity(heartbeat.len());
        content.buffer().extend_from_slice(heartbeat);
        self.join_or_nothing(content)
    }

    /// Joins the content if there is any: an empty write means the end in some protocols.
    pub(super) fn join_or_nothing(&self, content: Content) -> Bytes {
        if content.is_empty() { Bytes::new() } else { self.join(content) }
    }

    /// The same, of latest events.
    pub(super) fn join_latest_or_nothing(&self, content: Content) -> Bytes {
        if content.is_empty() { Bytes::new() } else { self.join_latest(content) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_wrapped_between_what_stands_before_and_after_it_however_long_that_is() {
        for before in [0, 1, Content::ROOM, Content::ROOM + 1, 100].map(|length| vec![b'<'; length]) {
            let mut content = Content::with_capacity(3);
            content.buffer().extend_from_slice(b"abc");
            assert_eq!(content.len(), 3);
            assert_eq!(content.wrap(&before, b">"), [&before, b"abc>".as_slice()].concat());
        }
    }
}
