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
use crate::store::{Replay, Store, StoredEvent, Wanted};

/// One step, and the reading to go on with.
pub struct Step<T> {
    pub replay: Replay,
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

/// The names of the next events, as marks that they may no longer be seen.
pub fn read_left(store: Store, mut replay: Replay, framing: Framing, id: EventId) -> JoinHandle<Step<Bytes>> {
    spawn_blocking(move || {
        let mut marks = Vec::new();
        let more = replay.next(&store, JOINED_BYTES, |event| marks.push(mark::left(event.name, id)));
        let bytes = if marks.is_empty() { Bytes::new() } else { framing.join(&marks) };
        step(replay, more, bytes)
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

fn step<T>(replay: Replay, more: Result<bool, Error>, read: T) -> Step<T> {
    match more {
        Ok(more) => Step { replay, read: Ok(read), more },
        Err(error) => Step { replay, read: Err(error), more: false },
    }
}
