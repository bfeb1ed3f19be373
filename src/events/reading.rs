//! Reading from the store what a subscription, or a whole room, has missed: one step at a time, on a thread that may block.

use bytes::{Bytes, BytesMut};
use tokio::task::{JoinHandle, spawn_blocking};

use super::channel::Channel;
use super::frame::{Frame, JOINED_BYTES, write_frame};
use super::hub::Seat;
use super::mark;
use super::outlet::Framing;
use crate::domain::{EventId, EventName, Position, TenantName};
use crate::error::Error;
use crate::store::{Missing, Names, Replay, Store, StoredEvent, Wanted};

/// How many lost names are told at once.
const LEFT_AT_ONCE: usize = 1024;
/// How many events are looked at in one step to find out which names somebody knows: half of them at most for the names before
/// the last one.
const LOOKS_A_STEP: usize = 8192;

/// One step, and the reading to go on with.
pub struct Step<T, R = Replay> {
    pub reading: R,
    pub read: Result<T, Error>,
    /// Whether there is more.
    pub more: bool,
}

/// The next events as they are written to a subscription, and up to where a snapshot, once it is read, may have left a name
/// out.
pub fn read_bytes(seat: &Seat, mut replay: Replay, framing: Framing) -> JoinHandle<Step<(Bytes, Position)>> {
    let (hub, store, channel) = (seat.hub().clone(), seat.store().clone(), seat.channel.clone());
    spawn_blocking(move || {
        let mut bytes = BytesMut::new();
        let more = replay.next(&store, JOINED_BYTES, |event| {
            write_frame(&mut bytes, event.name, event.data, store.event_id(event.position));
        });
        hub.after_step().pass();
        let is_snapshot = replay.missing() == Missing::Snapshot;
        let mut left_out = Position::START;
        let more = more.and_then(|more| {
            if is_snapshot && !more {
                left_out = left_out_up_to(&store, &channel, replay.tenant())?;
            }
            Ok(more)
        });
        let bytes = if bytes.is_empty() { Bytes::new() } else { framing.join(&[bytes.freeze()]) };
        step(replay, more, (bytes, left_out))
    })
}

/// Up to where a snapshot may have left out names that were there all along, since they were overwritten as it was read. What
/// overwrites them is on its way, and comes to whoever waits for this position.
///
/// The same holds for whoever comes back in the middle of a snapshot. A commit can be met with in the store before it is
/// revealed, and in the channel only after that. One at most is on this way; what was published meanwhile may be gone from the
/// store again, but the channel has come to it then.
///
/// # Errors
/// [`Error::Storage`] where the database fails.
pub fn left_out_up_to(store: &Store, channel: &Channel, tenant: &TenantName) -> Result<Position, Error> {
    let newest = store.newest_after(tenant, channel.end())?;
    Ok(newest.max(channel.end()))
}

/// What somebody may no longer see who knows everything up to a position.
pub struct Lost {
    /// The names of what they could see.
    pub names: Names,
    /// What came later they were never given, not even its name.
    pub known_to: Position,
}

/// The next of the names that somebody has lost, as marks; `None` where not all of what they know can be told any more.
pub fn read_lost(seat: &Seat, mut lost: Lost, framing: Framing, id: EventId) -> JoinHandle<Step<Option<Bytes>, Lost>> {
    let store = seat.store().clone();
    spawn_blocking(move || {
        let Lost { names, known_to } = &mut lost;
        let (tenant, mut marks, mut is_untold) = (names.tenant().clone(), Vec::new(), false);
        let mut looks = LOOKS_A_STEP;
        let more = names.next(&store, |name| {
            match store.was_used(&tenant, name, *known_to, &mut looks)? {
                Some(true) => marks.push(mark::left(name, id)),
                Some(false) => {}
                None => is_untold = true,
            }
            Ok(is_untold || marks.len() >= LEFT_AT_ONCE || looks < LOOKS_A_STEP / 2)
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
pub fn read_frames(seat: &Seat, mut replay: Replay) -> JoinHandle<Step<Vec<Frame>>> {
    let (hub, store) = (seat.hub().clone(), seat.store().clone());
    spawn_blocking(move || {
        let mut frames = Vec::new();
        let more = replay.next(&store, JOINED_BYTES, |event| frames.extend(frame(&store, &event)));
        hub.after_step().pass();
        step(replay, more, frames)
    })
}

/// Has the latest event of every name in a channel's memory, where it is not there yet.
pub fn fill(seat: &Seat) -> JoinHandle<Result<(), Error>> {
    let (store, tenant, channel) = (seat.store().clone(), seat.tenant().clone(), seat.channel.clone());
    spawn_blocking(move || {
        channel.fill(|until, take| {
            let mut replay = Replay::snapshot(tenant, Wanted::All, Position::START, until);
            while replay.next(&store, JOINED_BYTES, |event| frame(&store, &event).into_iter().for_each(&mut *take))? {}
            left_out_up_to(&store, &channel, replay.tenant())
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
