//! Reading all kept events in order, for an export.

use super::database::Store;
use super::event_data::{Step, StoredEvent};
use super::keys;
use crate::domain::{Position, TenantName};
use crate::error::Error;

/// A reading of the latest and the retained events of one tenant or of all: tenant by tenant, those of each in the order of their
/// commits.
pub struct TenantEvents {
    /// The range of keys that is left.
    left: Option<(Vec<u8>, Vec<u8>)>,
    /// Nothing after this is given.
    until: Position,
}

impl TenantEvents {
    /// Begins a reading of what there is by now; of all tenants if none is named.
    pub fn new(store: &Store, tenant: Option<&TenantName>) -> Self {
        let range = match tenant {
            Some(tenant) => (keys::event(tenant, Position::START), keys::event(tenant, Position::END)),
            None => keys::events_of_tenants_after(None),
        };
        Self { left: Some(range), until: store.head() }
    }

    /// Gives the next events to `each`, about `bytes` together. Returns whether there may be more. A step is always short, and may
    /// give none. Events that cannot be read are left out, and the log names them. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; the errors of `each`.
    pub fn next(
        &mut self,
        store: &Store,
        bytes: usize,
        mut each: impl FnMut(&TenantName, StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let Some((from, until)) = self.left.take() else { return Ok(false) };
        let (mut given, last) = (0, self.until);
        let next = store.step_through_events(&from, &until, |row| {
            if row.position <= last
                && let Some(event) = store.whole(row.key, row.position, &row.parts)?
            {
                given += row.parts.bytes;
                each(&row.tenant, event)?;
            }
            Ok(if given >= bytes { Step::IsEnough } else { Step::Goes })
        })?;
        self.left = next.map(|next| (next, until));
        Ok(self.left.is_some())
    }
}
