//! What MQTT alone asks of events.

use bytes::Bytes;

use super::events::Events;
use super::reader::ReadScope;
use crate::clock::Clock;
use crate::domain::{EventFilter, EventName, Payload, Position, Published, TenantName, TopicFilter};
use crate::error::Error;
use crate::events::{EventParts, Format, Lifetime, NewEvent};
use crate::identity::Principal;
use crate::store::Store;

impl Events {
    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The position of the newest event that can be seen.
    pub fn head(&self) -> Position {
        self.store().head()
    }

    /// How many bytes an event may have.
    pub fn max_event_bytes(&self) -> usize {
        self.limits.max_event_bytes
    }

    /// An event that is to be inserted as it is published over MQTT.
    ///
    /// # Errors
    /// Those of [`NewEvent::published`].
    pub fn published_event(
        &self,
        name: EventName,
        (data, published): (Payload, Published),
        lifetime: Lifetime,
    ) -> Result<NewEvent, Error> {
        NewEvent::published(name, data, published, lifetime, self.limits.max_event_bytes)
    }

    /// How many names of a tenant have a value, if that can be read.
    pub(super) fn names(&self, tenant: &TenantName) -> Option<u64> {
        self.store().names(tenant).ok()
    }

    /// Whether a principal may subscribe to a filter: a user if it shows them anything, and a guest if it is within what they may see.
    pub fn may_subscribe(&self, principal: &Principal, filter: &TopicFilter) -> bool {
        let Ok(account) = self.identity.recheck(principal) else { return false };
        let (rights, own) = account.scopes.to_see(self.authorize(), &principal.username);
        if principal.is_guest() { rights.covers(filter, &own) } else { rights.overlaps(filter, &own) }
    }

    /// The events at some positions as a format writes them, of those that the principal may see and that are still there.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; [`Error::Storage`].
    pub async fn at(
        &self,
        principal: Principal,
        positions: Vec<Position>,
        format: &'static (dyn Format + Send),
    ) -> Result<Bytes, Error> {
        let read = move |store: &Store, scope: &ReadScope| {
            let mut written = Vec::new();
            for position in &positions {
                let give = |event: &crate::store::StoredEvent<'_>| {
                    if scope.view.allows(event.name) {
                        format.event(&EventParts::of_stored(event, store), &mut written);
                    }
                };
                store.unless_damaged(store.event_at(&scope.tenant, *position, give))?;
            }
            Ok(Bytes::from(written))
        };
        self.reader(principal, EventFilter::ALL)?.read(read).await.map(|(_, written)| written)
    }
}
