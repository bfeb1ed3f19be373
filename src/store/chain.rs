//! The events of one name, from the latest back: each knows where the one before it stands.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::codec::EventParts;
use super::{Store, StoredEvent, codec, damaged, keys};
use crate::domain::{Position, TenantName};
use crate::error::Error;

/// How long to wait before looking again for what is about to be revealed, and how often to do so: the writer does nothing that
/// takes time between a commit and that.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const LOOKS: usize = 10_000;

/// An event that was found by its name.
pub struct Link {
    pub position: Position,
    /// Where the event of this name before it stood; before this one, always.
    pub previous: Option<Position>,
    /// How large it is, with its chunks.
    pub bytes: usize,
    value: Arc<[u8]>,
}

impl Link {
    /// How large the row is that was read to find it.
    pub fn row_bytes(&self) -> usize {
        self.value.len()
    }

    /// The event itself, whole; `None` where it has gone since it was found.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails; [`Error::Damaged`].
    pub fn event(&self, store: &Store, tenant: &TenantName) -> Result<Option<StoredEvent<'_>>, Error> {
        let key = keys::event(tenant, self.position);
        let parts = codec::event_parts(&self.value).map_err(|why| damaged(&key, why))?;
        store.whole(&key, self.position, &parts)
    }
}

/// What the row of an event says.
pub(super) fn event_row<'a>(key: &[u8], value: &'a [u8]) -> Result<(Position, EventParts<'a>), Error> {
    let position = keys::position(key).ok_or_else(|| damaged(key, "an event's key is cut short"))?;
    let parts = codec::event_parts(value).map_err(|why| damaged(key, why))?;
    // Or whoever follows the chain would never come to its end.
    if parts.previous.is_some_and(|previous| previous >= position) {
        return Err(damaged(key, "the event before it comes after it"));
    }
    Ok((position, parts))
}

impl Store {
    /// The event at a position, if it is kept and of this name.
    pub(super) fn event_of(&self, tenant: &TenantName, name: &str, at: Position) -> Result<Option<Link>, Error> {
        let key = keys::event(tenant, at);
        let Some(value) = self.get(&key)? else { return Ok(None) };
        let (_, parts) = event_row(&key, &value)?;
        if parts.name != name {
            return Ok(None);
        }
        let (previous, bytes) = (parts.previous, parts.bytes);
        Ok(Some(Link { position: at, previous, bytes, value }))
    }

    /// Where the event of a name stood before the one at a position, and how large the row of that one is; `None` where that one is
    /// not kept, or not of this name. Nothing of it is copied.
    pub(super) fn previous_of(
        &self,
        tenant: &TenantName,
        name: &str,
        at: Position,
    ) -> Result<Option<(Option<Position>, usize)>, Error> {
        let key = keys::event(tenant, at);
        let previous = self.look(&key, |value| {
            let (_, parts) = event_row(&key, value)?;
            Ok((parts.name == name).then_some((parts.previous, value.len())))
        })?;
        Ok(previous.transpose()?.flatten())
    }

    /// The event of a name before one of them, if it is kept.
    pub(super) fn event_before(&self, tenant: &TenantName, name: &str, link: &Link) -> Result<Option<Link>, Error> {
        link.previous.map_or(Ok(None), |previous| self.event_of(tenant, name, previous))
    }

    /// The latest event of a name, be it a removal, as it was by the last commit that was revealed: what a commit that is not
    /// revealed yet put in its place is shown to nobody.
    pub(super) fn latest_event(&self, tenant: &TenantName, name: &str) -> Result<Option<Link>, Error> {
        for _ in 0..LOOKS {
            let head = self.head();
            let Some(latest) = self.latest(tenant, name)? else { return Ok(None) };
            let mut found = self.event_of(tenant, name, latest.position)?;
            if found.is_none() {
                // It had been superseded when it was read: then there is another.
                if self.latest(tenant, name)?.is_some_and(|now| now.position == latest.position) {
                    return Err(damaged(
                        &keys::event(tenant, latest.position),
                        "the latest event of a name is missing",
                    ));
                }
                continue;
            }
            while let Some(hidden) = found.take_if(|link| link.position > head) {
                let Some(previous) = hidden.previous else { return Ok(None) };
                found = self.event_of(tenant, name, previous)?;
            }
            if found.is_some() {
                return Ok(found);
            }
            // Below the floor only the latest is kept, so the commit that is about to be revealed took the one before away.
            thread::sleep(LOOK_AGAIN);
        }
        Err(Error::Storage(format!("{name:?} changed, and that was not revealed")))
    }
}
