//! What MQTT alone asks of events.

use bytes::Bytes;

use super::events::Events;
use super::reader::ReadScope;
use crate::clock::Clock;
use crate::domain::{EventFilter, EventName, Own, Payload, Position, Published, Rights, TenantName, TopicFilter};
use crate::error::Error;
use crate::events::{EventParts, Format, JOINED_BYTES, Lifetime, NewEvent};
use crate::identity::Principal;
use crate::store::Store;

/// Events that were read by their positions.
#[derive(Debug)]
pub struct EventsAt {
    /// Those that are still there.
    pub written: Bytes,
    /// Of how many positions they are: the reading ends early when there are 64 KiB.
    pub looked_at: usize,
    /// What was published up to here may be gone because it was too old.
    pub floor: Position,
}

/// What a principal may subscribe to. It is asked for once for many filters, since it is read.
#[derive(Debug)]
pub struct Readable {
    rights: Rights,
    own: Own,
    is_guest: bool,
}

impl Readable {
    /// Whether the principal may subscribe to a filter: a user if it shows them anything, and a guest if it is within what they may see.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> bool {
        let Self { rights, own, is_guest } = self;
        if *is_guest { rights.covers(filter, own) } else { rights.overlaps(filter, own) }
    }
}

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
        self.rules.get().limits.max_event_bytes
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
        NewEvent::published(name, data, published, lifetime, self.rules.get().limits.max_event_bytes)
    }

    /// How many names of a tenant have a value, if that can be read.
    pub(super) fn names(&self, tenant: &TenantName) -> Option<u64> {
        self.store().names(tenant).ok()
    }

    /// What a principal may subscribe to; `None` if their rights ended meanwhile.
    pub fn readable(&self, principal: &Principal) -> Option<Readable> {
        let account = self.identity.recheck(principal).ok()?;
        let (rights, own) = account.scopes.to_see(self.authorize(), &principal.username);
        Some(Readable { rights, own, is_guest: principal.is_guest() })
    }

    /// The events at the first of some positions as a format writes them, of those that the principal may see.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; [`Error::Storage`].
    pub async fn at(
        &self,
        principal: Principal,
        positions: Vec<Position>,
        format: &'static (dyn Format + Send),
    ) -> Result<EventsAt, Error> {
        let read = move |store: &Store, scope: &ReadScope| {
            let (mut written, mut looked_at) = (Vec::new(), 0);
            for position in &positions {
                if written.len() >= JOINED_BYTES {
                    break;
                }
                looked_at += 1;
                let give = |event: &crate::store::StoredEvent<'_>| {
                    if scope.view.allows(event.name) {
                        format.event(&EventParts::of_stored(event, store), &mut written);
                    }
                };
                store.unless_damaged(store.event_at(&scope.tenant, *position, give))?;
            }
            Ok(EventsAt { written: written.into(), looked_at, floor: store.floor(&scope.tenant)? })
        };
        self.reader(principal, EventFilter::ALL)?.read(read).await.map(|(_, written)| written)
    }
}
