//! The chain of a name: its events from the newest back, transient ones too. Each event holds the position of the
//! previous one of its name. Only the latest event of a name outlives the events around it: then no chain leads to it
//! any more, but the index entry of the name does.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::codec::{self, NameRow, StoredData};
use super::damage::damaged;
use super::database::Store;
use super::event_data::StoredEvent;
use super::keys;
use super::rows::{Rows, event_row};
use crate::domain::{EventKind, Position, TenantName};
use crate::error::Error;

/// How long to wait before looking again for an event that is about to be revealed, and how often. The writer does
/// nothing slow between a commit and the reveal.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const LOOKS: usize = 10_000;
/// How many events one such look follows back. If there are more, the event that is about to be revealed is awaited.
const STEPS_A_LOOK: usize = 1024;
/// How large an event may be for one look, if only its position is needed. A larger event costs more looks.
const BYTES_A_LOOK: usize = 4 << 10;

/// An event that was found by its name.
pub struct Link {
    pub position: Position,
    /// The position of the previous event of this name, which is always lower.
    pub previous: Option<Position>,
    /// How large the event is, with its chunks.
    pub bytes: usize,
    /// Whether it is a transient event that has expired: it has no content any more.
    pub is_expired: bool,
    kind: EventKind,
    value: Arc<[u8]>,
}

impl Link {
    /// The size of the row that was read to find it.
    pub fn row_bytes(&self) -> usize {
        self.value.len()
    }

    /// The whole event; `None` if it was removed since it was found, or has expired.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn event(&self, store: &Store, tenant: &TenantName) -> Result<Option<StoredEvent<'_>>, Error> {
        let key = keys::event(tenant, self.position);
        let parts = codec::event_parts(&self.value).map_err(|why| damaged(&key, why))?;
        store.whole(&key, self.position, &parts)
    }
}

impl Store {
    /// The event at a position, if it is kept and has this name.
    pub(super) fn event_of(&self, tenant: &TenantName, name: &str, at: Position) -> Result<Option<Link>, Error> {
        let key = keys::event(tenant, at);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        let (_, parts) = event_row(&key, &value)?;
        if parts.name != name {
            return Ok(None);
        }
        let (previous, bytes, kind) = (parts.previous, parts.bytes, parts.kind);
        let is_expired = parts.data == StoredData::Expired;
        Ok(Some(Link { position: at, previous, bytes, is_expired, kind, value }))
    }

    /// The position of the event of this name before the one at a position, and the size of the latter's row. `None` if
    /// no event of this name is kept at that position. It copies nothing.
    pub(super) fn previous_of(
        &self,
        tenant: &TenantName,
        name: &str,
        at: Position,
    ) -> Result<Option<(Option<Position>, usize)>, Error> {
        let key = keys::event(tenant, at);
        let previous = self.look(&key, |value| {
            event_row(&key, value).map(|(_, parts)| (parts.name == name).then_some((parts.previous, value.len())))
        })?;
        Ok(previous.transpose()?.flatten())
    }

    /// The event of a name before this one, if it is kept.
    pub(super) fn event_before(&self, tenant: &TenantName, name: &str, link: &Link) -> Result<Option<Link>, Error> {
        let Some(previous) = link.previous else { return Ok(None) };
        match self.event_of(tenant, name, previous)? {
            None => self.latest_before(tenant, name, link.position),
            found => Ok(found),
        }
    }

    /// The latest event of a name, if it comes before a position: of what the chain has lost, only that one may be left.
    pub(super) fn latest_before(
        &self,
        tenant: &TenantName,
        name: &str,
        before: Position,
    ) -> Result<Option<Link>, Error> {
        let latest = self.latest_row(&keys::name(tenant, name))?.filter(|latest| latest.position < before);
        latest.map_or(Ok(None), |latest| self.event_of(tenant, name, latest.position))
    }

    /// The latest event of a name, which may be a removal, as of the last commit that was revealed. An event of a
    /// commit that is not revealed yet is shown to nobody.
    pub(super) fn latest_event(&self, tenant: &TenantName, name: &str) -> Result<Option<Link>, Error> {
        let latest = |row: NameRow| row.latest.map(|latest| latest.position);
        self.revealed(tenant, name, latest, |link| link.kind != EventKind::Transient)
    }

    /// The newest event of a name, of any kind, in the same way. It may have expired.
    pub(super) fn newest_event(&self, tenant: &TenantName, name: &str) -> Result<Option<Link>, Error> {
        self.revealed(tenant, name, |row| Some(row.tip), |_| true)
    }

    /// The first event back from a position in the index entry of a name that is sought and revealed.
    fn revealed(
        &self,
        tenant: &TenantName,
        name: &str,
        from: impl Fn(NameRow) -> Option<Position>,
        is_sought: impl Fn(&Link) -> bool,
    ) -> Result<Option<Link>, Error> {
        let name_key = keys::name(tenant, name);
        for _ in 0..LOOKS {
            let head = self.head();
            let Some(at) = self.name_row(&name_key)?.and_then(&from) else { return Ok(None) };
            let mut found = self.event_of(tenant, name, at)?;
            if found.is_none() {
                // If it was superseded before it was read, the index entry has changed.
                if self.name_row(&name_key)?.and_then(&from) == Some(at) {
                    return Err(damaged(&keys::event(tenant, at), "the latest event of a name is missing"));
                }
                continue;
            }
            for _ in 0..STEPS_A_LOOK {
                let Some(passed) = found.take_if(|link| link.position > head || !is_sought(link)) else { break };
                let Some(previous) = passed.previous else { return Ok(None) };
                found = self.event_of(tenant, name, previous)?;
            }
            if found.as_ref().is_some_and(|link| link.position <= head && is_sought(link)) {
                return Ok(found);
            }
            // Up to the floor only the latest event is kept, so the commit that is about to be revealed removed the
            // one before it.
            thread::sleep(LOOK_AGAIN);
        }
        Err(Error::Storage(format!("{name:?} changed, and that was not revealed")))
    }

    /// Whether a name had been used by a position; transient events count, too. `None` if that is no longer known, or if
    /// it needs more looks than are left: one for each event of the name since then, and more for large events. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; [`Error::Damaged`].
    pub fn was_used(
        &self,
        tenant: &TenantName,
        name: &str,
        by: Position,
        looks: &mut usize,
    ) -> Result<Option<bool>, Error> {
        let mut position = self.name_row(&keys::name(tenant, name))?.map(|row| row.tip);
        while let Some(later) = position.filter(|position| *position > by) {
            if *looks == 0 {
                return Ok(None);
            }
            *looks -= 1;
            // If an event of the name cannot be read, it is not known either.
            let link = self.unless_damaged(self.previous_of(tenant, name, later))?.flatten();
            let Some((previous, bytes)) = link else { return Ok(None) };
            *looks = looks.saturating_sub(bytes / BYTES_A_LOOK);
            position = previous;
        }
        Ok(Some(position.is_some()))
    }
}
