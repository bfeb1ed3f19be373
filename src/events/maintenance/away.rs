//! What sessions of MQTT need whose clients are away, in memory: nobody reads each of them again whenever some events leave the tail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;

use crate::domain::{MqttSessionId, Position, TenantName};
use crate::events::topic_index::TopicIndex;
use crate::store::{Behind, LeavingEvent, MqttNeeds};

/// How many bytes all of this takes at most, roughly. Sessions beyond that are read whenever some events leave.
const MAX_BYTES: usize = 64 << 20;
/// What a session takes beside its filters, a filter beside its text and its levels, and a level, roughly: they are in several maps.
const BYTES_A_SESSION: usize = 256;
const BYTES_A_FILTER: usize = 192;
const BYTES_A_LEVEL: usize = 40;

/// What each of some sessions needs.
pub type Needed = Vec<(MqttSessionId, Vec<Position>)>;

/// The sessions whose clients are away, by tenant.
pub struct Away {
    of_tenants: HashMap<TenantName, Sessions>,
    bytes: usize,
    max_bytes: usize,
}

impl Default for Away {
    fn default() -> Self {
        Self { of_tenants: HashMap::new(), bytes: 0, max_bytes: MAX_BYTES }
    }
}

/// Those of a tenant.
struct Sessions {
    of: HashMap<MqttSessionId, (NonZeroU64, MqttNeeds)>,
    by: HashMap<By, BTreeSet<MqttSessionId>>,
    /// By their filters that have a wildcard.
    by_filter: TopicIndex<MqttSessionId, ()>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { of: HashMap::new(), by: HashMap::new(), by_filter: TopicIndex::new() }
    }
}

/// What an event must have so that a session can need it which no filter with a wildcard says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum By {
    Position(Position),
    Name(Box<str>),
}

fn of_needs(needs: &MqttNeeds) -> impl Iterator<Item = By> {
    let names = needs.topics().filter(|topics| !topics.has_wildcard()).map(|topics| By::Name(topics.as_str().into()));
    names.chain(needs.named().iter().map(|position| By::Position(*position)))
}

fn bytes_of(needs: &MqttNeeds) -> usize {
    let of_filter = |filter: &str| BYTES_A_FILTER + filter.len() * 2 + filter.split('/').count() * BYTES_A_LEVEL;
    let of_filters: usize = needs.topics().map(|topics| of_filter(topics.as_str())).sum();
    BYTES_A_SESSION + of_filters + needs.named().len() * BYTES_A_FILTER
}

impl Away {
    /// Of the sessions of a tenant that stand before some events, those of which is not known here what they need. Those that are not
    /// among them are forgotten here.
    pub fn unknown(&mut self, tenant: &TenantName, behind: &[Behind]) -> Vec<Behind> {
        let Some(sessions) = self.of_tenants.get_mut(tenant) else { return behind.to_vec() };
        let is_known = |one: &&Behind| {
            let known = sessions.of.get(&one.id).map(|(absence, _)| *absence);
            known.is_some() && known == one.absence
        };
        let (known, unknown): (Vec<Behind>, Vec<Behind>) = behind.iter().partition(is_known);
        if known.len() < sessions.of.len() {
            let known: BTreeSet<_> = known.iter().map(|one| one.id).collect();
            let gone: Vec<_> = sessions.of.keys().filter(|id| !known.contains(id)).copied().collect();
            let bytes: usize = gone.into_iter().map(|id| sessions.forget(id)).sum();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        if sessions.of.is_empty() {
            self.of_tenants.remove(tenant);
        }
        unknown
    }

    /// Remembers what a session needs from the beginning of an absence of its client on, if there is room.
    pub fn learn(&mut self, tenant: &TenantName, Behind { id, absence }: Behind, needs: MqttNeeds) {
        let (Some(absence), bytes) = (absence, bytes_of(&needs)) else { return };
        let sessions = self.of_tenants.entry(tenant.clone()).or_default();
        self.bytes = self.bytes.saturating_sub(sessions.forget(id));
        if self.bytes + bytes <= self.max_bytes {
            self.bytes += bytes;
            sessions.add(id, absence, needs);
        }
    }

    /// Which of some events the sessions need that are known here. It ends when it has looked at about so many sessions and events,
    /// whether it found something or not; the events that are left over have their turn next.
    pub fn needed<'a>(
        &self,
        tenant: &TenantName,
        events: &'a [LeavingEvent],
        about: usize,
    ) -> (Needed, &'a [LeavingEvent]) {
        match self.of_tenants.get(tenant) {
            Some(sessions) => sessions.needed(events, about),
            None => (Needed::new(), &[]),
        }
    }
}

/// Which of some events each of some sessions needs. To ask each session of each event takes far longer.
pub fn needed_by(sessions: &[(Behind, MqttNeeds)], events: &[LeavingEvent]) -> Needed {
    let mut all = Sessions::default();
    for (one, needs) in sessions {
        all.add(one.id, NonZeroU64::MIN, needs.clone());
    }
    all.needed(events, usize::MAX).0
}

impl Sessions {
    fn add(&mut self, id: MqttSessionId, absence: NonZeroU64, needs: MqttNeeds) {
        for by in of_needs(&needs) {
            self.by.entry(by).or_default().insert(id);
        }
        needs.topics().for_each(|topics| self.by_filter.add(topics, id, ()));
        self.of.insert(id, (absence, needs));
    }

    fn needed<'a>(&self, mut events: &'a [LeavingEvent], about: usize) -> (Needed, &'a [LeavingEvent]) {
        let mut needed: BTreeMap<MqttSessionId, Vec<Position>> = BTreeMap::new();
        let mut looked_at = 0;
        while let Some((event, rest)) = events.split_first()
            && looked_at < about
        {
            looked_at += 1;
            for id in self.that_may_need(event) {
                looked_at += 1;
                if self.of.get(&id).is_some_and(|(_, needs)| needs.needs(event)) {
                    let positions = needed.entry(id).or_default();
                    // Several of its filters may match.
                    if positions.last() != Some(&event.position()) {
                        positions.push(event.position());
                    }
                }
            }
            events = rest;
        }
        (needed.into_iter().collect(), events)
    }

    /// The sessions that are asked whether they need an event, once for each reason why they might.
    fn that_may_need(&self, event: &LeavingEvent) -> impl Iterator<Item = MqttSessionId> {
        let by = [By::Position(event.position()), By::Name(event.name().into())];
        let listed = by.into_iter().filter_map(|by| self.by.get(&by)).flatten().copied();
        listed.chain(self.by_filter.wanting(event.name()).map(|(id, ())| id))
    }

    /// Forgets a session. Returns how many bytes that was counted as.
    fn forget(&mut self, id: MqttSessionId) -> usize {
        let Some((_, needs)) = self.of.remove(&id) else { return 0 };
        for by in of_needs(&needs) {
            if let Some(ids) = self.by.get_mut(&by)
                && ids.remove(&id)
                && ids.is_empty()
            {
                self.by.remove(&by);
            }
        }
        needs.topics().for_each(|topics| self.by_filter.remove(topics, id));
        bytes_of(&needs)
    }
}

#[cfg(test)]
mod tests;
