//! Reading from the store what a subscription, or a whole room, has missed: one step at a time, on a thread that may block.

use bytes::{Bytes, BytesMut};
use tokio::task::{JoinHandle, spawn_blocking};

use super::frame::{Frame, JOINED_BYTES, write_frame};
use super::outlet::Framing;
use crate::domain::EventName;
use crate::error::Error;
use crate::store::{Replay, Store};

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

/// The next events as they come from a channel.
pub fn read_frames(store: Store, mut replay: Replay) -> JoinHandle<Step<Vec<Frame>>> {
    spawn_blocking(move || {
        let mut frames = Vec::new();
        let more = replay.next(&store, JOINED_BYTES, |event| {
            let mut bytes = BytesMut::new();
            write_frame(&mut bytes, event.name, event.data, store.event_id(event.position));
            // A name was one when it was stored.
            if let Ok(name) = EventName::parse(event.name) {
                frames.push(Frame { position: event.position, name, bytes: bytes.freeze() });
            }
        });
        step(replay, more, frames)
    })
}

fn step<T>(replay: Replay, more: Result<bool, Error>, read: T) -> Step<T> {
    match more {
        Ok(more) => Step { replay, read: Ok(read), more },
        Err(error) => Step { replay, read: Err(error), more: false },
    }
}
