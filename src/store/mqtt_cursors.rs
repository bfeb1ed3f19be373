//! What retention must know of sessions of MQTT, in memory: how far each has come, by tenant. A tenant without sessions has no entry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{MqttSessionId, Position, TenantName};

/// How far one session has come. While it is connected it comes further than the database knows.
#[derive(Clone, Debug)]
pub struct MqttCursor(Arc<AtomicU64>);

impl MqttCursor {
    fn at(position: Position) -> Self {
        Self(Arc::new(AtomicU64::new(position.get())))
    }

    /// Says that everything up to here is done: it is not in flight, and does not wait.
    pub fn raise(&self, position: Position) {
        self.0.fetch_max(position.get(), Ordering::Relaxed);
    }

    /// Everything up to here is done.
    pub fn position(&self) -> Position {
        Position::new(self.0.load(Ordering::Relaxed))
    }
}

/// The cursors of all sessions that outlive their connections, and the sessions whose connections were lost with the server.
#[derive(Debug, Default)]
pub struct MqttCursors {
    of_tenants: Mutex<OfTenants>,
    lost: Mutex<BTreeSet<MqttSessionId>>,
}

type OfTenants = HashMap<TenantName, BTreeMap<MqttSessionId, MqttCursor>>;

/// A change that is made when its commit can be read: whoever reads the sessions after that finds what the cursor says of them.
#[derive(Clone, Debug)]
pub struct CursorChange {
    /// The tenant of the session.
    pub tenant: TenantName,
    /// The session.
    pub id: MqttSessionId,
    /// Up to where everything is done; `None` if the session is forgotten.
    pub done_up_to: Option<Position>,
}

impl MqttCursors {
    fn lock(&self) -> MutexGuard<'_, OfTenants> {
        self.of_tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<MqttSessionId>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_lost(&self, lost: BTreeSet<MqttSessionId>) {
        *self.lost() = lost;
    }

    /// Some of the sessions that had a connection when the server stopped without ending them, and have not gone on since.
    pub fn some_lost(&self, at_most: usize) -> Vec<MqttSessionId> {
        self.lost().iter().take(at_most).copied().collect()
    }

    /// Whether a session is among those.
    pub(super) fn is_lost(&self, id: MqttSessionId) -> bool {
        self.lost().contains(&id)
    }

    /// The session has gone on, or its connection has been ended.
    pub fn find_again(&self, id: MqttSessionId) {
        self.lost().remove(&id);
    }

    pub(super) fn apply(&self, changes: Vec<CursorChange>) {
        if changes.is_empty() {
            return;
        }
        let mut of_tenants = self.lock();
        for CursorChange { tenant, id, done_up_to } in changes {
            match done_up_to {
                Some(position) => match of_tenants.entry(tenant).or_default().entry(id) {
                    std::collections::btree_map::Entry::Occupied(entry) => {
                        entry.get().0.store(position.get(), Ordering::Relaxed);
                    }
                    std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(MqttCursor::at(position))),
                },
                None => {
                    let sessions = of_tenants.get_mut(&tenant);
                    if sessions.is_some_and(|sessions| sessions.remove(&id).is_some() && sessions.is_empty()) {
                        of_tenants.remove(&tenant);
                    }
                }
            }
        }
    }

    /// The cursor of a session.
    pub fn of(&self, tenant: &TenantName, id: MqttSessionId) -> Option<MqttCursor> {
        self.lock().get(tenant)?.get(&id).cloned()
    }

    /// Some sessions of a tenant that stand before a position, in order, after one of them.
    pub fn behind(
        &self,
        tenant: &TenantName,
        position: Position,
        after: Option<MqttSessionId>,
        at_most: usize,
    ) -> Vec<MqttSessionId> {
        let of_tenants = self.lock();
        let Some(sessions) = of_tenants.get(tenant) else { return Vec::new() };
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = sessions.range((after, Bound::Unbounded)).filter(|(_, cursor)| cursor.position() < position);
        behind.map(|(id, _)| *id).take(at_most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sessions_that_stand_before_a_position_are_found_in_order_and_of_those_that_go_nothing_is_left() {
        let (cursors, tenant) = (MqttCursors::default(), TenantName::parse("acme").unwrap());
        let change = |id, position: Option<u64>| {
            let (tenant, id) = (tenant.clone(), MqttSessionId(id));
            cursors.apply(vec![CursorChange { tenant, id, done_up_to: position.map(Position::new) }]);
        };
        let behind = |position, after: Option<u64>, at_most| -> Vec<_> {
            let behind = cursors.behind(&tenant, Position::new(position), after.map(MqttSessionId), at_most);
            behind.into_iter().map(|id| id.0).collect()
        };
        for (id, position) in [(3, 5), (1, 5), (2, 9)] {
            change(id, Some(position));
        }
        assert_eq!((behind(5, None, 9), behind(6, None, 9), behind(10, None, 2)), (vec![], vec![1, 3], vec![1, 2]));
        assert_eq!(behind(10, Some(2), 2), [3]);
        let cursor = cursors.of(&tenant, MqttSessionId(1)).unwrap();
        cursor.raise(Position::new(7));
        cursor.raise(Position::new(4));
        assert_eq!((behind(7, None, 9), cursor.position().get()), (vec![3], 7));
        // What the database says of it counts, though it were less: more is kept then.
        change(1, Some(6));
        assert_eq!(behind(7, None, 9), [1, 3]);
        [1, 2, 3, 4].into_iter().for_each(|id| change(id, None));
        assert!(behind(99, None, 9).is_empty() && cursors.lock().is_empty());
    }
}
