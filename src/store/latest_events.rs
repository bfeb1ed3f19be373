use super::names::Names;
use super::replay::Wanted;
use super::{Store, StoredEvent, codec, damaged, keys, replay};
use crate::domain::{TenantName, View};
use crate::error::Error;

/// A reading of the latest event of each name that somebody gets, each name once, as it is when it is come to.
pub struct LatestEvents(Names);

impl LatestEvents {
    /// Of a tenant, what somebody gets.
    pub fn new(tenant: TenantName, view: View) -> Self {
        Self(Names::new(tenant, Wanted::Of(Box::new(view))))
    }

    /// Gives the next events, of about `bytes` together; whether there may be more. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails or an event is damaged.
    pub fn next(&mut self, store: &Store, bytes: usize, mut each: impl FnMut(StoredEvent<'_>)) -> Result<bool, Error> {
        let (tenant, mut size) = (self.0.tenant().clone(), 0);
        self.0.next(store, |name| {
            size += give(store, &tenant, name, &mut each)?;
            Ok(size >= bytes)
        })
    }
}

/// Gives the latest event of a name, if there is one; its size.
fn give(
    store: &Store,
    tenant: &TenantName,
    name: &str,
    each: &mut impl FnMut(StoredEvent<'_>),
) -> Result<usize, Error> {
    while let Some(latest) = store.latest(tenant, name)?.filter(|latest| !latest.is_removal) {
        let key = keys::event(tenant, latest.position);
        // Where it is gone another has taken its place since.
        let Some(value) = store.get(&key)? else { continue };
        let parts = codec::event_parts(&value).map_err(|why| damaged(&key, why))?;
        each(replay::stored(latest.position, &parts));
        return Ok(value.len());
    }
    Ok(0)
}
