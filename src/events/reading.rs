//! Reading from the store what a subscription, or all subscriptions of a tenant, have missed: one step at a time, on a thread that may
//! block.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::futures::OwnedNotified;

use super::channel::{Channel, Fill, Filling};
use super::control::ControlEvent;
use super::format::{Content, EventParts, Format, JOINED_BYTES};
use super::hub::{ChannelGuard, Hub};
use super::shared_event::SharedEvent;
use crate::domain::{Event, EventName, Payload, Position, TenantName, Username, View};
use crate::error::Error;
use crate::fair::Task;
use crate::store::{Lane, Missing, MqttReplay, Names, Replay, Store, StoredEvent, Wanted};

/// How many lost names are told at once.
const LEFT_AT_ONCE: usize = 1024;
/// How many events are looked at in one step to find out which names a client knows: half of them at most for the names before the
/// last one.
const LOOKS_A_STEP: usize = 8192;

/// What is read for one subscription, and how far the reading is.
pub enum Source {
    /// Events.
    Replay(Box<Replay>),
    /// The names of events that may no longer be seen.
    Lost(Box<Lost>),
    /// Events that a session of MQTT needs.
    Session(Box<SessionReplay>),
}

/// What a session of MQTT has missed.
pub struct SessionReplay {
    /// The events of its tenant, from its queue and the tail.
    pub replay: MqttReplay,
    /// Which of them it gets.
    pub view: Box<View>,
}

/// Names that a client may no longer see.
pub struct Lost {
    /// The names that it could see.
    pub names: Names,
    /// It knows everything up to this position. It was never given what came later, not even the name.
    pub known_to: Position,
}

/// The next step of a [`Source`].
pub struct Given {
    /// What is to be written.
    pub bytes: Bytes,
    /// How many events these are.
    pub events: u64,
    /// What is left to be read.
    pub rest: Option<Source>,
    /// The position of a replay: everything up to here was given.
    pub position: Position,
    /// Up to here a snapshot may have left a name out.
    pub left_out: Position,
    /// Whether something was missed, or lost, that cannot be told any more.
    pub is_incomplete: bool,
}

/// Reads the next step for a subscription.
///
/// # Errors
/// [`Error::Storage`] if the database fails; [`Error::Damaged`].
pub fn read(
    guard: &ChannelGuard,
    reader: &Username,
    source: Source,
    format: &'static dyn Format,
) -> Task<Result<Given, Error>> {
    let (hub, channel) = (guard.hub().clone(), guard.channel.clone());
    guard.store().read_on(&Lane::of_stream(guard.tenant(), reader), move |store| match source {
        Source::Replay(replay) => read_replay(store, &hub, &channel, replay, format),
        Source::Lost(lost) => read_lost(store, lost, format),
        Source::Session(session) => read_session(store, session, format),
    })
}

/// The next events of a replay, as the subscription gets them.
fn read_replay(
    store: &Store,
    hub: &Hub,
    channel: &Channel,
    mut replay: Box<Replay>,
    format: &dyn Format,
) -> Result<Given, Error> {
    let (mut content, mut events) = (Content::with_capacity(0), 0);
    let more = replay.next(store, JOINED_BYTES, |event| {
        let before = content.len();
        format.event(&EventParts::of_stored(&event, store), content.buffer());
        events += 1;
        content.len() - before
    });
    hub.after_step().pass();
    let more = more?;
    let is_read_snapshot = replay.missing() == Missing::Snapshot && !more;
    let left_out = if is_read_snapshot { left_out_up_to(store, channel, replay.tenant())? } else { Position::START };
    let (position, is_incomplete) = (replay.position(), replay.has_gap());
    let bytes = match replay.missing() {
        Missing::Snapshot => format.join_latest_or_nothing(content),
        Missing::Events => format.join_or_nothing(content),
    };
    let rest = more.then_some(Source::Replay(replay));
    Ok(Given { bytes, events, rest, position, left_out, is_incomplete })
}

/// The next events that a session of MQTT has missed.
fn read_session(store: &Store, mut session: Box<SessionReplay>, format: &dyn Format) -> Result<Given, Error> {
    let (mut content, mut events) = (Content::with_capacity(0), 0);
    let SessionReplay { replay, view } = &mut *session;
    let more = replay.next(store, JOINED_BYTES, |event| {
        let before = content.len();
        if view.matches(event.name) {
            format.event(&EventParts::of_stored(&event, store), content.buffer());
            events += 1;
        }
        content.len() - before
    })?;
    let (position, bytes) = (replay.position(), format.join_or_nothing(content));
    let rest = more.then_some(Source::Session(session));
    Ok(Given { bytes, events, rest, position, left_out: Position::START, is_incomplete: false })
}

/// The next names that a client has lost, as control events. A client that gets no further than one of them, and comes back with its id,
/// is to be given everything that was to follow: so the id is that of the very beginning.
fn read_lost(store: &Store, mut lost: Box<Lost>, format: &dyn Format) -> Result<Given, Error> {
    let Lost { names, known_to } = &mut *lost;
    let (tenant, id) = (names.tenant().clone(), store.event_id(Position::START));
    let (mut content, mut is_incomplete) = (Content::with_capacity(0), false);
    let (mut looks, mut told) = (LOOKS_A_STEP, 0);
    let more = names.next(store, |name| {
        match store.was_used(&tenant, name, *known_to, &mut looks)? {
            Some(true) => {
                format.control(&ControlEvent::Left { name }, id, content.buffer());
                told += 1;
            }
            Some(false) => {}
            None => is_incomplete = true,
        }
        Ok(is_incomplete || told >= LEFT_AT_ONCE || looks < LOOKS_A_STEP / 2)
    })?;
    // A name that was removed may have been forgotten since.
    is_incomplete |= !more && store.floor(&tenant)? > *known_to;
    let (bytes, rest) = (format.join_or_nothing(content), more.then_some(Source::Lost(lost)));
    Ok(Given { bytes, events: 0, rest, position: Position::START, left_out: Position::START, is_incomplete })
}

/// The position up to which a snapshot may have left out names that were there all along, since they were overwritten as it was read.
/// The events that overwrite them are on their way, and come to a subscription that waits for this position.
///
/// The same holds for a client that comes back in the middle of a snapshot. A commit can be seen in the store before it is revealed, and
/// in the channel only after that. One commit at most is on this way. Events that were published meanwhile may be gone from the store
/// again, but then the channel has come to them.
///
/// # Errors
/// [`Error::Storage`] if the database fails.
pub fn left_out_up_to(store: &Store, channel: &Channel, tenant: &TenantName) -> Result<Position, Error> {
    let newest = store.newest_after(tenant, channel.end())?;
    Ok(newest.max(channel.end()))
}

/// The next events that all subscriptions of a tenant have missed.
pub struct Missed {
    /// The events.
    pub events: Vec<Arc<SharedEvent>>,
    /// Everything up to here is among them.
    pub position: Position,
    /// Whether only the latest event of each name is among them.
    pub has_gap: bool,
}

/// Reads the next events that all subscriptions of a tenant have missed.
///
/// # Errors
/// [`Error::Storage`] if the database fails.
pub fn read_missed(guard: &ChannelGuard, mut replay: Replay) -> Task<Result<Missed, Error>> {
    let hub = guard.hub().clone();
    guard.store().read_on(&Lane::of_all_streams(guard.tenant()), move |store| {
        let (mut events, mut shared) = (Vec::new(), Shared::new(store, replay.tenant()));
        let more = replay.next(store, JOINED_BYTES, |event| {
            events.extend(shared.event(&event));
            events.last().map_or(0, |event| event.bytes())
        });
        hub.after_step().pass();
        more?;
        Ok(Missed { events, position: replay.position(), has_gap: replay.has_gap() })
    })
}

/// Resolves once it is settled whether the latest event of every name is in a channel's memory.
pub type Settled = Pin<Box<OwnedNotified>>;

/// Has the latest event of every name in a channel's memory, if that is not too much; `None` if that is settled already. A stream that
/// is opened meanwhile waits for the same reading.
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
            // A task of its own, since others wait for it too: the stream that was first may go.
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
        // If it cannot be read, each stream that waits finds out why.
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
    let (mut is_wanted, mut shared) = (true, Shared::new(store, replay.tenant()));
    let take = |event: StoredEvent<'_>| {
        let Some(event) = shared.event(&event) else { return 0 };
        let bytes = event.encoded(format).len();
        is_wanted &= filling.take(&event);
        bytes
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

/// Makes events to be shared of those of one step. Their authors are in memory once.
struct Shared<'a> {
    store: &'a Store,
    tenant: TenantName,
    authors: HashSet<Username>,
}

impl<'a> Shared<'a> {
    fn new(store: &'a Store, tenant: &TenantName) -> Self {
        Self { store, tenant: tenant.clone(), authors: HashSet::new() }
    }

    /// A name was valid when it was stored.
    fn event(&mut self, event: &StoredEvent<'_>) -> Option<Arc<SharedEvent>> {
        let StoredEvent { position, name, ref data, kind, timestamp, username, expires_at, by_expiry, ref published } =
            *event;
        let (name, username, data) = (EventName::parse(name).ok()?, self.author(username)?, Payload::from_stored(data));
        let (tenant, published) = (self.tenant.clone(), published.clone());
        let event = Event { position, tenant, name, username, timestamp, data, kind, expires_at, by_expiry, published };
        Some(Arc::new(SharedEvent::new(event, self.store.event_id(position))))
    }

    fn author(&mut self, username: &str) -> Option<Username> {
        let author = Username::from_stored(username).ok()?;
        if let Some(known) = self.authors.get(&author) {
            return Some(known.clone());
        }
        self.authors.insert(author.clone());
        Some(author)
    }
}
