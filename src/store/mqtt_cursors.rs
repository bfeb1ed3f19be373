//! What retention must know of sessions of MQTT, in memory: how far each has come, by tenant. A tenant without sessions has no entry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::domain::{MqttSessionId, Position, TenantName};

/// How many sessions are looked at before others have the lock.
const SESSIONS_AT_ONCE: usize = 1024;

/// How far one session has come. While it is connected it comes further than the database knows.
#[derive(Clone, Debug, Default)]
pub struct MqttCursor(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    position: AtomicU64,
    /// Which absence of its client this is; 0 while it is connected.
    absence: AtomicU64,
    is_forgotten: AtomicBool,
    /// The connection of the session.
    holder: AtomicWaker,
}

impl MqttCursor {
    /// Says that everything up to here is done: it is not in flight, and does not wait.
    pub fn raise(&self, position: Position) {
        self.0.position.fetch_max(position.get(), Ordering::Relaxed);
    }

    /// Everything up to here is done.
    pub fn position(&self) -> Position {
        Position::new(self.0.position.load(Ordering::Relaxed))
    }

    /// Becomes ready when the session is forgotten, though a connection has it. Wakes as a future does, one task.
    pub fn poll_forgotten(&self, context: &Context<'_>) -> Poll<()> {
        self.0.holder.register(context.waker());
        if self.0.is_forgotten.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn forget(&self) {
        self.0.is_forgotten.store(true, Ordering::Release);
        self.0.holder.wake();
    }
}

/// The cursors of all sessions that outlive their connections, and the sessions whose connections were lost: with the server, or without
/// saying how far they have come.
#[derive(Debug, Default)]
pub struct MqttCursors {
    of_tenants: Mutex<OfTenants>,
    lost: Mutex<BTreeSet<MqttSessionId>>,
    absences: AtomicU64,
}

type OfTenants = HashMap<TenantName, BTreeMap<MqttSessionId, MqttCursor>>;

/// A change that is made when its commit can be read: whoever reads the sessions after that finds what the cursor says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorChange {
    /// The tenant of the session.
    pub tenant: TenantName,
    /// The session.
    pub id: MqttSessionId,
    /// What is so from now on.
    pub now: CursorState,
}

/// What can be said of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorState {
    /// Everything is done up to here.
    DoneUpTo(Position),
    /// The event at a position is not done, even if everything was done up to there.
    NotDone(Position),
    /// Whether it has no connection.
    Away(bool),
    /// It is forgotten.
    Forgotten,
}

/// A session that stands before some event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The session.
    pub id: MqttSessionId,
    /// Which absence of its client this is, of all absences of clients; `None` while it is connected. What a session needs is the same
    /// from the beginning of an absence to its end.
    pub absence: Option<NonZeroU64>,
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

    /// The connection of a session is over, and perhaps nothing is written of that. Called after whatever is to be written, and before
    /// another connection has the session.
    pub fn lose(&self, id: MqttSessionId) {
        self.lost().insert(id);
    }

    /// Some of the sessions whose connections were lost, and that have not gone on since.
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
        for CursorChange { tenant, id, now } in changes {
            match now {
                CursorState::DoneUpTo(position) => {
                    let cursor = of_tenants.entry(tenant).or_default().entry(id).or_default();
                    cursor.0.position.store(position.get(), Ordering::Relaxed);
                }
                CursorState::NotDone(position) => {
                    let Some(cursor) = of_tenants.get(&tenant).and_then(|sessions| sessions.get(&id)) else { continue };
                    cursor.0.position.fetch_min(position.get().saturating_sub(1), Ordering::Relaxed);
                }
                CursorState::Away(is_away) => {
                    let Some(cursor) = of_tenants.get(&tenant).and_then(|sessions| sessions.get(&id)) else { continue };
                    let absence = if is_away { self.absences.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
                    cursor.0.absence.store(absence, Ordering::Relaxed);
                }
                CursorState::Forgotten => {
                    let Some(sessions) = of_tenants.get_mut(&tenant) else { continue };
                    if let Some(cursor) = sessions.remove(&id) {
                        cursor.forget();
                    }
                    if sessions.is_empty() {
                        of_tenants.remove(&tenant);
                    }
                }
            }
        }
    }

    /// The tenant of a session.
    pub(super) fn tenant_of(&self, id: MqttSessionId) -> Option<TenantName> {
        let of_tenants = self.lock();
        of_tenants.iter().find(|(_, sessions)| sessions.contains_key(&id)).map(|(tenant, _)| tenant.clone())
    }

    /// The cursor of a session.
    pub fn of(&self, tenant: &TenantName, id: MqttSessionId) -> Option<MqttCursor> {
        self.lock().get(tenant)?.get(&id).cloned()
    }

    /// The cursor of a session, for its connection. It says so if the session has been forgotten since it began.
    pub fn hold(&self, tenant: &TenantName, id: MqttSessionId) -> MqttCursor {
        self.of(tenant, id).unwrap_or_else(|| {
            let cursor = MqttCursor::default();
            cursor.forget();
            cursor
        })
    }

    /// The sessions of a tenant that stand before a position, in order.
    pub fn behind(&self, tenant: &TenantName, position: Position) -> Vec<Behind> {
        let (mut all, mut after) = (Vec::new(), Bound::Unbounded);
        loop {
            // Workers wait for this lock.
            let of_tenants = self.lock();
            let Some(sessions) = of_tenants.get(tenant) else { return all };
            let mut last = None;
            for (id, cursor) in sessions.range((after, Bound::Unbounded)).take(SESSIONS_AT_ONCE) {
                if cursor.position() < position {
                    let absence = NonZeroU64::new(cursor.0.absence.load(Ordering::Relaxed));
                    all.push(Behind { id: *id, absence });
                }
                last = Some(*id);
            }
            match last {
                Some(last) => after = Bound::Excluded(last),
                None => return all,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sessions_that_stand_before_a_position_are_found_in_order_and_of_those_that_go_nothing_is_left() {
        let (cursors, tenant) = (MqttCursors::default(), TenantName::parse("acme").unwrap());
        let change = |id, now| {
            let (tenant, id) = (tenant.clone(), MqttSessionId(id));
            cursors.apply(vec![CursorChange { tenant, id, now }]);
        };
        let set = |id, position| change(id, CursorState::DoneUpTo(Position::new(position)));
        let behind = |position| -> Vec<_> {
            let behind = cursors.behind(&tenant, Position::new(position));
            behind.into_iter().map(|behind| behind.id.0).collect()
        };
        for (id, position) in [(3, 5), (1, 5), (2, 9)] {
            set(id, position);
        }
        assert_eq!((behind(5), behind(6), behind(10)), (vec![], vec![1, 3], vec![1, 2, 3]));
        // Also of more than are looked at in a row.
        (4..3000).for_each(|id| set(id, 20));
        assert_eq!((behind(20).len(), behind(21).len()), (3, 2999));
        (4..3000).for_each(|id| change(id, CursorState::Forgotten));
        let cursor = cursors.of(&tenant, MqttSessionId(1)).unwrap();
        cursor.raise(Position::new(7));
        cursor.raise(Position::new(4));
        assert_eq!((behind(7), cursor.position().get()), (vec![3], 7));
        // What the database says of it counts, though it were less: more is kept then.
        set(1, 6);
        assert_eq!(behind(7), [1, 3]);
        // No two absences are the same.
        let absences = || cursors.behind(&tenant, Position::END).iter().map(|one| one.absence).collect::<Vec<_>>();
        [1, 2, 2].into_iter().for_each(|id| change(id, CursorState::Away(true)));
        change(1, CursorState::Away(false));
        change(77, CursorState::Away(true));
        assert_eq!(absences(), [None, NonZeroU64::new(3), None]);
        let is_forgotten = || cursor.poll_forgotten(&Context::from_waker(std::task::Waker::noop())).is_ready();
        assert!(!is_forgotten());
        [1, 2, 3, 4].into_iter().for_each(|id| change(id, CursorState::Forgotten));
        assert!(is_forgotten(), "whoever has it is told");
        let late = cursors.hold(&tenant, MqttSessionId(1));
        assert!(
            late.poll_forgotten(&Context::from_waker(std::task::Waker::noop())).is_ready(),
            "and who has it too late"
        );
        assert!(behind(99).is_empty() && cursors.lock().is_empty());
    }
}
