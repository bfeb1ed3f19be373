//! Reading all events of a user, for an export: those that they inserted, and those of their inbox.

use super::database::Store;
use super::event_data::{EventRow, Step, StoredEvent};
use super::keys;
use super::rows::Rows;
use crate::domain::{Position, TenantName, User, Username, inbox_owner};
use crate::error::Error;

/// A reading of the latest and the retained events that a user inserted, and of those that sessions of MQTT keep, in all tenants that the user has been in, and of the
/// user's inbox in the tenant of now. There is no list of them, so it looks at all events of the tenant.
pub struct UserEvents {
    username: Username,
    tenant: TenantName,
    /// The ranges of keys that are left, the next one last.
    left: Vec<(Vec<u8>, Vec<u8>)>,
    /// Nothing after this is given.
    until: Position,
}

impl UserEvents {
    /// Begins a reading of what there is by now.
    pub fn new(store: &Store, user: &User) -> Self {
        let tenant = &user.tenant;
        // What leaves a tail meanwhile and is kept comes twice, rather than not at all.
        let left = if user.tenant_since == Position::START {
            let range =
                |key: fn(&TenantName, Position) -> Vec<u8>| (key(tenant, Position::START), key(tenant, Position::END));
            vec![range(keys::kept_event), range(keys::event)]
        } else {
            vec![keys::kept_events_of_all(), keys::events_of_tenants_after(None)]
        };
        Self { username: user.username.clone(), tenant: tenant.clone(), left, until: store.head() }
    }

    /// Gives the next events to `each`, about `bytes` together. Returns whether there may be more. Events that cannot be read are
    /// left out, and the log names them. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; the errors of `each`.
    pub fn next(
        &mut self,
        store: &Store,
        bytes: usize,
        mut each: impl FnMut(&TenantName, StoredEvent<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let Some((from, until)) = self.left.pop() else { return Ok(false) };
        let mut given = 0;
        let next = store.step_through_events(&from, &until, |row| {
            let EventRow { key, tenant, position, parts, .. } = row;
            let is_inserted = parts.username == self.username.as_str().as_bytes();
            let is_in_tail =
                || Ok::<_, Error>(keys::is_kept_event(key) && store.get(&keys::event(&tenant, position))?.is_some());
            let is_received = || tenant == self.tenant && inbox_owner(parts.name) == Some(self.username.as_str());
            if position <= self.until
                && (is_inserted || is_received())
                && !is_in_tail()?
                && let Some(event) = store.whole(key, position, &parts)?
            {
                given += parts.bytes;
                each(&tenant, event)?;
            }
            Ok(if given >= bytes { Step::IsEnough } else { Step::Goes })
        })?;
        self.left.extend(next.map(|next| (next, until)));
        Ok(!self.left.is_empty())
    }
}
