//! Reading from the store what a subscription, or a whole room, has missed: one step at a time, on a thread that may block.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::{JoinHandle, spawn_blocking};

use super::channel::Channel;
use super::frame::{Frame, JOINED_BYTES, write_frame};
use super::mark;
use super::outlet::Framing;
use crate::domain::{EventId, EventName, Position, TenantName};
use crate::error::Error;
use crate::store::{Names, Replay, Store, StoredEvent, Wanted};

/// How many lost names are told at once.
const LEFT_AT_ONCE: usize = 1024;

/// One step, and the reading to go on with.
pub struct Step<T, R = Replay> {
    pub reading: R,
    pub read: Result<T, Error>,
    /// Whether there is more.
    pub more: bool,
}

/// The next events as they are written to a subscription.
pub fn read_bytes(store: Store, mut replay: Replay, framing: Framing) -> JoinHandle<Step<Bytes>> {
    spawn_blocking(move || {
        let mut bytes = BytesMut::new();
        let more = replay.next(&store, JOINED_BYTES, |event| {
            write_frame(&mut bytes, event.name, event.data, store.event_id(event.position));
        });
        let wrap = |bytes: BytesMut| if bytes.is_empty() { Bytes::new() } else { framing.join(&[bytes.freeze()]) };
        step(replay, more, wrap(bytes))
    })
}

/// What somebody may no longer see who knows everything up to a position.
pub struct Lost {
    /// The names of what they could see.
    pub names: Names,
    /// What came later they were never given, not even its name.
    pub known_to: Position,
}

/// The next of the names that somebody has lost, as marks; `None` where not all of what they know can be told any more.
pub fn read_lost(store: Store, mut lost: Lost, framing: Framing, id: EventId) -> JoinHandle<Step<Option<Bytes>, Lost>> {
    spawn_blocking(move || {
        let Lost { names, known_to } = &mut lost;
        let (tenant, mut marks, mut is_untold) = (names.tenant().clone(), Vec::new(), false);
        let more = names.next(&store, |name| {
            match store.was_used(&tenant, name, *known_to)? {
                Some(true) => marks.push(mark::left(name, id)),
                Some(false) => {}
                None => is_untold = true,
            }
            Ok(is_untold || marks.len() >= LEFT_AT_ONCE)
        });
        // A name that was removed may have been forgotten since.
        let more = more.and_then(|more| {
            is_untold |= !more && store.floor(&tenant)? > *known_to;
            Ok(more && !is_untold)
        });
        let bytes = if marks.is_empty() { Bytes::new() } else { framing.join(&marks) };
        step(lost, more, (!is_untold).then_some(bytes))
    })
}

/// The next events as they come from a channel.
pub fn read_frames(store: Store, mut replay: Replay) -> JoinHandle<Step<Vec<Frame>>> {
    spawn_blocking(move || {
        let mut frames = Vec::new();
        let more = replay.next(&store, JOINED_BYTES, |event| frames.extend(frame(&store, &event)));
        step(replay, more, frames)
    })
}

/// Has the latest event of every name in a channel's memory, where it is not there yet.
pub fn fill(store: Store, tenant: TenantName, channel: Arc<Channel>) -> JoinHandle<Result<(), Error>> {
    spawn_blocking(move || {
        channel.fill(|until, take| {
            let mut replay = Replay::new(tenant, Wanted::All, Position::START, until);
            while replay.next(&store, JOINED_BYTES, |event| frame(&store, &event).into_iter().for_each(&mut *take))? {}
            Ok(())
        })
    })
}

/// An event of the store as it goes over the wire. A name was one when it was stored.
fn frame(store: &Store, event: &StoredEvent<'_>) -> Option<Frame> {
    let name = EventName::parse(event.name).ok()?;
    let mut bytes = BytesMut::new();
    write_frame(&mut bytes, event.name, event.data, store.event_id(event.position));
    Some(Frame { position: event.position, name, bytes: bytes.freeze(), is_removal: event.is_removal })
}

fn step<T, R>(reading: R, more: Result<bool, Error>, read: T) -> Step<T, R> {
    match more {
        Ok(more) => Step { reading, read: Ok(read), more },
        Err(error) => Step { reading, read: Err(error), more: false },
    }
}
