//! Reading from the store what a subscription, or a whole room, has missed: one step at a time, on a thread that may block.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::futures::OwnedNotified;

use super::channel::{Channel, Fill, Filling};
use super::control::ControlEvent;
use super::format::{Content, EventParts, Format, JOINED_BYTES};
use super::hub::{ChannelGuard, Hub};
use super::shared_event::SharedEvent;
use crate::domain::{EventId, EventName, Payload, Position, TenantName, Username};
use crate::error::Error;
use crate::fair::Task;
use crate::store::{Lane, Missing, Names, Replay, Store, StoredEvent, Wanted};

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
pub fn read_bytes(
    guard: &ChannelGuard,
    reader: &Username,
    mut replay: Replay,
    format: &'static dyn Format,
) -> Task<Step<(Bytes, Position)>> {
    let (hub, channel) = (guard.hub().clone(), guard.channel.clone());
    guard.store().read_on(&Lane::of_stream(guard.tenant(), reader), move |store| {
        let mut content = Content::with_capacity(0);
        let more = replay.next(store, JOINED_BYTES, |event| {
            let StoredEvent { position, name, data, is_removal, .. } = event;
            let parts = EventParts { id: store.event_id(position), name, data: &data, is_removal };
            format.event(&parts, content.buffer());
        });
        hub.after_step().pass();
        let is_snapshot = replay.missing() == Missing::Snapshot;
        let mut left_out = Position::START;
        let more = more.and_then(|more| {
            if is_snapshot && !more {
                left_out = left_out_up_to(store, &channel, replay.tenant())?;
            }
            Ok(more)
        });
        step(replay, more, (format.join_or_nothing(content), left_out))
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

/// The next of the names that somebody has lost, as control events; `None` if not all of what they know can be told any more.
pub fn read_lost(
    guard: &ChannelGuard,
    reader: &Username,
    mut lost: Lost,
    format: &'static dyn Format,
    id: EventId,
) -> Task<Step<Option<Bytes>, Lost>> {
    guard.store().read_on(&Lane::of_stream(guard.tenant(), reader), move |store| {
        let Lost { names, known_to } = &mut lost;
        let (tenant, mut content, mut is_untold) = (names.tenant().clone(), Content::with_capacity(0), false);
        let (mut looks, mut told) = (LOOKS_A_STEP, 0);
        let more = names.next(store, |name| {
            match store.was_used(&tenant, name, *known_to, &mut looks)? {
                Some(true) => {
                    format.control(&ControlEvent::Left { name }, id, content.buffer());
                    told += 1;
                }
                Some(false) => {}
                None => is_untold = true,
            }
            Ok(is_untold || told >= LEFT_AT_ONCE || looks < LOOKS_A_STEP / 2)
        });
        // A name that was removed may have been forgotten since.
        let more = more.and_then(|more| {
            is_untold |= !more && store.floor(&tenant)? > *known_to;
            Ok(more && !is_untold)
        });
        step(lost, more, (!is_untold).then(|| format.join_or_nothing(content)))
    })
}

/// The next events as they come from a channel.
pub fn read_events(guard: &ChannelGuard, mut replay: Replay) -> Task<Step<Vec<Arc<SharedEvent>>>> {
    let hub = guard.hub().clone();
    guard.store().read_on(&Lane::of_all_streams(guard.tenant()), move |store| {
        let mut events = Vec::new();
        let more = replay.next(store, JOINED_BYTES, |event| events.extend(shared(store, &event)));
        hub.after_step().pass();
        step(replay, more, events)
    })
}

/// Resolves once it is settled whether the latest event of every name is in a channel's memory.
pub type Settled = Pin<Box<OwnedNotified>>;

/// Has the latest event of every name in a channel's memory, if it is not too much; `None` where that is settled already. Who
/// comes meanwhile waits for the same reading.
///
/// They are encoded by the threads that read, in the format of the stream that asked first: it is about to be given them.
pub fn fill(guard: &ChannelGuard, format: &'static dyn Format) -> Option<Settled> {
    // Before the look, or what is settled in between would never be told.
    let settled = Box::pin(guard.channel.settled());
    match Channel::begin_filling(&guard.channel) {
        Fill::Settled => return None,
        Fill::UnderWay => {}
        Fill::Begun(filling) => {
            let replay = Replay::snapshot(guard.tenant().clone(), Wanted::All, Position::START, filling.until());
            // Of its own, since others wait for it too: whoever was first may go.
            tokio::task::spawn_local(fill_up(guard.hub().clone(), filling, replay, format));
        }
    }
    Some(settled)
}

async fn fill_up(hub: Hub, filling: Filling, replay: Replay, format: &'static dyn Format) {
    let (lane, mut next) = (Lane::of_all_streams(replay.tenant()), Some((filling, replay)));
    while let Some((filling, replay)) = next {
        let after = hub.clone();
        let fill_more = move |store: &Store| fill_more(store, &after, filling, replay, format);
        // Where it cannot be read: whoever waits finds out why.
        next = hub.store().read_on(&lane, fill_more).await.ok().flatten();
    }
}

/// Reads the next of what is filled in; what to go on with.
fn fill_more(
    store: &Store,
    hub: &Hub,
    filling: Filling,
    mut replay: Replay,
    format: &dyn Format,
) -> Option<(Filling, Replay)> {
    let mut is_wanted = true;
    let take = |event: StoredEvent<'_>| {
        let Some(event) = shared(store, &event) else { return };
        event.encoded(format);
        is_wanted &= filling.take(&event);
    };
    let is_more = replay.next(store, JOINED_BYTES, take).ok()?;
    hub.after_step().pass();
    if !is_wanted {
        return None;
    }
    if is_more {
        return Some((filling, replay));
    }
    let left_out = left_out_up_to(store, filling.channel(), replay.tenant()).ok()?;
    filling.finish(left_out);
    None
}

/// An event of the store, to be shared. A name was valid when it was stored.
fn shared(store: &Store, event: &StoredEvent<'_>) -> Option<Arc<SharedEvent>> {
    let name = EventName::parse(event.name).ok()?;
    let (id, data) = (store.event_id(event.position), Payload::from_stored(&event.data));
    Some(Arc::new(SharedEvent::new(id, name, data, event.is_removal)))
}

fn step<T, R>(reading: R, more: Result<bool, Error>, read: T) -> Step<T, R> {
    match more {
        Ok(more) => Step { reading, read: Ok(read), more },
        Err(error) => Step { reading, read: Err(error), more: false },
    }
}
