use super::database::Store;
use super::event_data::StoredEvent;
use super::names::Names;
use super::replay::Wanted;
use crate::domain::{EventKind, TenantName, View};
use crate::error::Error;

/// A reading of the latest event of each name that a view contains. Each name comes once, as it is when the reading
/// reaches it. No event after [`Store::head`] is given.
pub struct LatestEvents(Names);

impl LatestEvents {
    /// Begins a reading of a tenant's events through a view.
    pub fn new(tenant: TenantName, view: View) -> Self {
        Self(Names::new(tenant, Wanted::Of(Box::new(view))))
    }

    /// Begins a reading of all events of a tenant, those of inboxes too.
    pub fn of_all(tenant: TenantName) -> Self {
        Self(Names::new(tenant, Wanted::All))
    }

    /// Skips all names up to this one, in the order of their bytes.
    pub fn start_after(&mut self, name: &str) {
        self.0.start_after(name);
    }

    /// Gives the next events to `each`, about `bytes` together, until `each` returns true. Returns whether there may be
    /// more. A step is always short, and may give none. Events that cannot be read are left out, and the log names
    /// them. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; the errors of `each`.
    pub fn next(
        &mut self,
        store: &Store,
        bytes: usize,
        mut each: impl FnMut(StoredEvent<'_>) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let (tenant, mut size, mut is_enough) = (self.0.tenant().clone(), 0, false);
        self.0.next(store, |name| {
            while let Some(latest) = store.unless_damaged(store.latest_event(&tenant, name))?.flatten() {
                let Some(event) = store.unless_damaged(latest.event(store, &tenant))? else { break };
                // It was removed since, and another has taken its place.
                let Some(event) = event else { continue };
                if event.kind == EventKind::Value {
                    size += latest.bytes;
                    is_enough = each(event)?;
                }
                break;
            }
            Ok(is_enough || size >= bytes)
        })
    }
}
