//! What leaves a tail is put in the queues of the sessions of MQTT that still need it, before it leaves.
//!
//! This is right however sessions change meanwhile. What a session needs only becomes less, but for new sessions and new subscriptions,
//! and these begin after every event that could be read when they were decided. So whatever is found here may be too much, and never
//! is too little.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rounds::Desk;
use crate::domain::{MqttSessionId, Position, TenantName};
use crate::error::Error;
use crate::events::mqtt_sessions::WillRules;
use crate::store::{LeavingEvent, Oldest, Queued, Store};
use crate::writer::{Batch, Change};

/// How many sessions are looked at in one read.
const SESSIONS_A_STEP: usize = 16;
/// How many bytes of events one change keeps at most, plus one event, and how many events.
const BYTES_A_CHANGE: usize = 1 << 20;
const EVENTS_A_CHANGE: usize = 1024;

/// The oldest events of a tail, on their way out.
pub struct Leaving {
    pub oldest: Oldest,
    /// Those that some session may need; read when the first such session is found.
    events: Option<Arc<[LeavingEvent]>>,
    /// The last session that has been looked at.
    after: Option<MqttSessionId>,
}

impl Leaving {
    pub fn new(oldest: Oldest) -> Self {
        Self { oldest, events: None, after: None }
    }

    /// Has the sessions that stand before these events keep what they need. Returns whether all have; it ends after a while, and goes on
    /// from there. A session that needs too much ends.
    pub async fn keep(
        &mut self,
        desk: &Desk,
        tenant: &TenantName,
        rules: WillRules,
        within: Duration,
    ) -> Result<bool, Error> {
        let Some(last) = self.oldest.positions().last() else { return Ok(true) };
        let began = Instant::now();
        loop {
            // Of a tenant without such sessions this is all.
            let behind = desk.store.mqtt_cursors().behind(tenant, last, self.after, SESSIONS_A_STEP);
            let Some(last_of_these) = behind.last().copied() else { return Ok(true) };
            if self.after.is_some() && began.elapsed() > within {
                return Ok(false);
            }
            let events = match &self.events {
                Some(events) => Arc::clone(events),
                None => self.read_events(desk, tenant).await?,
            };
            let of = Arc::clone(&events);
            let needed = desk.read(move |store| needed(store, behind, &of)).await?;
            for needed in in_changes(needed, &events) {
                let queued = desk.writer.submit(Queue { needed, rules }).await;
                desk.store.unless_damaged(queued)?;
            }
            // Not before it is done: a step that fails is tried again.
            self.after = Some(last_of_these);
        }
    }

    async fn read_events(&mut self, desk: &Desk, tenant: &TenantName) -> Result<Arc<[LeavingEvent]>, Error> {
        let (tenant, positions): (_, Vec<_>) = (tenant.clone(), self.oldest.positions().collect());
        let read = move |store: &Store| store.leaving(&tenant, positions);
        let events: Arc<[LeavingEvent]> = desk.read(read).await?.into();
        self.events = Some(Arc::clone(&events));
        Ok(events)
    }
}

/// What each of some sessions needs.
type Needed = Vec<(MqttSessionId, Vec<Position>)>;

fn needed(store: &Store, sessions: Vec<MqttSessionId>, events: &[LeavingEvent]) -> Result<Needed, Error> {
    let mut needed = Vec::new();
    for id in sessions {
        let positions = store.needed_by_mqtt(id, events)?;
        if !positions.is_empty() {
            needed.push((id, positions));
        }
    }
    Ok(needed)
}

/// The same in parts that one change can keep.
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

/// Puts events in the queues of sessions. A session that needs too much ends.
struct Queue {
    needed: Needed,
    rules: WillRules,
}

impl Change for Queue {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        for (id, positions) in self.needed {
            if batch.queue_for_mqtt(id, &positions)? == Queued::TooMany {
                self.rules.forget(batch, id)?;
            }
        }
        Ok(())
    }
}
