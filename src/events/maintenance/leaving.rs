//! What leaves a tail is put in the queues of the sessions of MQTT that still need it, before it leaves.
//!
//! This is right however sessions change meanwhile. What a session needs only becomes less, but for new sessions and new subscriptions,
//! and these begin after every event that could be read when they were decided. So whatever is found here may be too much, and never
//! is too little.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::away::{Away, Needed, needed_by};
use super::rounds::Desk;
use crate::domain::{MqttSessionId, Position, TenantName};
use crate::error::Error;
use crate::events::mqtt_sessions::forget;
use crate::store::{Behind, LeavingEvent, MqttNeeds, Oldest, Queued, Store};
use crate::writer::{Batch, Change, Here};

/// How many sessions are looked at in one read.
const SESSIONS_A_STEP: usize = 64;
/// How many bytes of events one change keeps at most, plus one event, and how many events.
const BYTES_A_CHANGE: usize = 1 << 20;
const EVENTS_A_CHANGE: usize = 1024;
/// How many sessions and events of those that are in memory are looked at in a row: some hundred microseconds.
const LOOKED_AT_IN_A_ROW: usize = 1024;

/// The oldest events of a tail, on their way out.
pub struct Leaving {
    pub oldest: Oldest,
    /// What is to be done about them; `None` if nobody has asked yet who may need them.
    asking: Option<Asking>,
}

/// Who may need some events, as far as they have not been looked at.
struct Asking {
    events: Arc<[LeavingEvent]>,
    /// How many of these have been kept for the sessions of which is known what they need.
    kept: usize,
    /// Sessions that are to be read, the last one first.
    unknown: Vec<Behind>,
}

impl Leaving {
    pub fn new(oldest: Oldest) -> Self {
        Self { oldest, asking: None }
    }

    /// Has the sessions that stand before these events keep what they need. Returns whether all have; it ends after a while, and goes on
    /// from there. A session that needs too much ends.
    pub async fn keep(
        &mut self,
        desk: &Desk,
        tenant: &TenantName,
        away: &mut Away,
        within: Duration,
    ) -> Result<bool, Error> {
        let Some(last) = self.oldest.positions().last() else { return Ok(true) };
        let began = Instant::now();
        let asking = match &mut self.asking {
            Some(asking) => asking,
            None => {
                let behind = desk.store.mqtt_cursors().behind(tenant, last);
                let unknown = away.unknown(tenant, &behind);
                // Of a tenant without such sessions this is all.
                if behind.is_empty() {
                    return Ok(true);
                }
                let events = read_events(desk, tenant, self.oldest.positions().collect()).await?;
                self.asking.insert(Asking { events, kept: 0, unknown })
            }
        };
        let Asking { events, kept, unknown } = asking;
        // Those of which is not known yet what they need are read below.
        while *kept < events.len() {
            let (needed, rest) = away.needed(tenant, &events[*kept..], LOOKED_AT_IN_A_ROW);
            queue(desk, needed, events).await?;
            *kept = events.len() - rest.len();
            if began.elapsed() > within {
                return Ok(false);
            }
            // If nothing was to be written, others have waited for this thread.
            tokio::task::yield_now().await;
        }
        while !unknown.is_empty() {
            let some = unknown[unknown.len().saturating_sub(SESSIONS_A_STEP)..].to_vec();
            let (ids, of) = (some.clone(), Arc::clone(events));
            let read = desk.read(move |store| read_sessions(store, ids, &of)).await?;
            let (sessions, needed) = read;
            sessions.into_iter().for_each(|(one, needs)| away.learn(tenant, one, needs));
            queue(desk, needed, events).await?;
            // Not before it is done: a step that fails is tried again.
            unknown.truncate(unknown.len() - some.len());
            if began.elapsed() > within {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

async fn read_events(desk: &Desk, tenant: &TenantName, positions: Vec<Position>) -> Result<Arc<[LeavingEvent]>, Error> {
    let tenant = tenant.clone();
    Ok(desk.read(move |store: &Store| store.leaving(&tenant, positions)).await?.into())
}

/// What some sessions need, and which of some events that are.
type Found = (Vec<(Behind, MqttNeeds)>, Needed);

fn read_sessions(store: &Store, sessions: Vec<Behind>, events: &[LeavingEvent]) -> Result<Found, Error> {
    let read = |one: Behind| Ok(store.mqtt_needs(one.id)?.map(|needs| (one, needs)));
    let found = sessions.into_iter().filter_map(|one| read(one).transpose()).collect::<Result<Vec<_>, Error>>()?;
    let needed = needed_by(&found, events);
    Ok((found, needed))
}

/// Puts events in the queues of the sessions that need them. A session that needs too much ends, in a change of its own: its will may be
/// large, and many may end at once. If something is damaged, what is needed is halved until that is left alone.
async fn queue(desk: &Desk, needed: Needed, events: &[LeavingEvent]) -> Result<(), Error> {
    let mut parts = in_changes(needed, events);
    while let Some(needed) = parts.pop() {
        let queued = desk.writer.submit(Queue(needed.clone())).await;
        if matches!(queued, Err(Error::Damaged(_)))
            && let Some(halves) = halves(needed)
        {
            parts.extend(halves);
            continue;
        }
        let Some(Rest { full, needed }) = desk.store.unless_damaged(queued)? else { continue };
        if let Some(id) = full {
            let forgotten = desk.writer.submit(Forget(id)).await;
            desk.store.unless_damaged(forgotten)?;
        }
        parts.extend((!needed.is_empty()).then_some(needed));
    }
    Ok(())
}

/// What some sessions need, in parts that one change can keep.
fn in_changes(needed: Needed, events: &[LeavingEvent]) -> Vec<Needed> {
    let bytes_of = |position: &Position| {
        let at = events.binary_search_by_key(position, LeavingEvent::position);
        at.ok().and_then(|at| events.get(at)).map_or(0, |event| event.bytes)
    };
    let (mut parts, mut part, mut bytes, mut count) = (Vec::new(), Needed::new(), 0, 0);
    for (id, positions) in needed {
        part.push((id, Vec::new()));
        for position in positions {
            if bytes >= BYTES_A_CHANGE || count >= EVENTS_A_CHANGE {
                parts.push(std::mem::replace(&mut part, vec![(id, Vec::new())]));
                (bytes, count) = (0, 0);
            }
            bytes += bytes_of(&position);
            count += 1;
            if let Some((_, of_session)) = part.last_mut() {
                of_session.push(position);
            }
        }
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

/// What some sessions need, in halves; `None` if it is one event for one session.
fn halves(mut needed: Needed) -> Option<[Needed; 2]> {
    let rest = match &mut needed[..] {
        [] => return None,
        [(id, positions)] if positions.len() > 1 => vec![(*id, positions.split_off(positions.len() / 2))],
        [_] => return None,
        [..] => needed.split_off(needed.len() / 2),
    };
    Some([needed, rest])
}

/// Puts events in the queues of sessions, until one is full: to look through a full queue takes long.
struct Queue(Needed);

/// What is left to do then.
struct Rest {
    /// A session that has no room for what it needs.
    full: Option<MqttSessionId>,
    /// What other sessions need.
    needed: Needed,
}

impl Change for Queue {
    type Outcome = Rest;
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Rest, Error> {
        let (mut needed, mut full) = (self.0.into_iter(), None);
        for (id, positions) in needed.by_ref() {
            match batch.queue_for_mqtt(id, &positions)? {
                Queued::Yes | Queued::Forgotten => continue,
                Queued::Pruned => {}
                Queued::TooMany => full = Some(id),
            }
            break;
        }
        Ok(Rest { full, needed: needed.collect() })
    }
}

/// Ends a session that needs too much.
struct Forget(MqttSessionId);

impl Change for Forget {
    type Outcome = ();
    type Reach = Here;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        forget(batch, self.0)
    }
}
