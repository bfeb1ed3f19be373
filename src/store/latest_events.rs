use super::database::Store;
use super::event_data::StoredEvent;
use super::names::Names;
use super::replay::Wanted;
use crate::domain::{TenantName, View};
use crate::error::Error;

/// A reading of the latest event of each name that somebody gets, each name once, as it is when it is come to. Nothing after
/// [`Store::head`] is given.
pub struct LatestEvents(Names);

impl LatestEvents {
    /// Of a tenant, what somebody gets.
    pub fn new(tenant: TenantName, view: View) -> Self {
        Self(Names::new(tenant, Wanted::Of(Box::new(view))))
    }

    /// Leaves out all names up to this one, in the order of their bytes.
    pub fn start_after(&mut self, name: &str) {
        self.0.start_after(name);
    }

    /// Gives the next events, of about `bytes` together, until `each` says that it is enough; whether there may be more. A step may
    /// give none, and is short all the same. What cannot be read is left out, and the log names it. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails; those of `each`.
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
                // Gone since: another has come in its place.
                let Some(event) = event else { continue };
                if !event.is_removal {
                    size += latest.bytes;
                    is_enough = each(event)?;
                }
                break;
            }
            Ok(is_enough || size >= bytes)
        })
    }
}
