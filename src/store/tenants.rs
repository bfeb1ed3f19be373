//! Listing the tenants that have events.

use super::damage::damaged;
use super::database::Store;
use super::keys;
use crate::domain::TenantName;
use crate::error::Error;

impl Store {
    /// The first tenant with events after this one.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails.
    pub fn next_tenant(&self, after: Option<&TenantName>) -> Result<Option<TenantName>, Error> {
        let (from, until) = keys::events_of_tenants_after(after);
        let mut tenant = None;
        self.scan(&from, &until, &mut |key, _| {
            let of_event = keys::tenant_of_event(key).ok_or_else(|| damaged(key, "an event's tenant is none"));
            tenant = self.unless_damaged(of_event)?;
            Ok(tenant.is_none())
        })?;
        Ok(tenant)
    }
}
