//! What the handlers of every transport share.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Clock;
use crate::config::{Limits, Origins};
use crate::domain::{EventFilter, EventId, Position};
use crate::error::Error;
use crate::events::{Condition, Hub, IdempotencyKey, Insert, Inserted, NewEvent, Opening, Outlet, Rates, Relay};
use crate::identity::{Identity, Principal};
use crate::store::Store;
use crate::writer::Writer;

/// The services of the whole server: a cheap clone that may go to any thread.
#[derive(Clone)]
pub struct Services {
    /// Accounts and sign-in.
    pub identity: Identity,
    /// Where every change goes.
    pub writer: Writer,
    /// Who listens.
    pub hub: Hub,
    /// The database, for reading.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// What may be inserted.
    pub limits: Limits,
    /// How often.
    pub rates: Arc<Rates>,
    /// Who may call from a browser.
    pub origins: Arc<Origins>,
}

/// The services as one worker has them: a cheap clone that stays on its thread.
#[derive(Clone)]
pub struct App(Rc<OnWorker>);

struct OnWorker {
    services: Services,
    relay: Relay,
}

impl std::ops::Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0.services
    }
}

impl App {
    /// The services on this thread, which must be a worker's.
    pub fn on_worker(services: Services) -> Self {
        let relay = Relay::start(services.hub.clone(), services.clock.clone());
        Self(Rc::new(OnWorker { services, relay }))
    }

    /// Inserts events for somebody, all of them or none.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where the principal's rights ended meanwhile; [`Error::InsertRateExceeded`]; those of
    /// [`Insert`] and of [`Writer::submit`].
    pub async fn insert(
        &self,
        principal: Principal,
        events: Vec<NewEvent>,
        is_array: bool,
        condition: Condition,
        key: Option<IdempotencyKey>,
    ) -> Result<Inserted, Error> {
        let Principal { username, standing, .. } = principal;
        self.rates.take(&username, &standing.tenant, events.len())?;
        let max_names = self.limits.names;
        self.writer.submit(Insert { username, standing, events, is_array, condition, key, max_names }).await
    }

    /// What somebody's stream is to be: after the event of this id, or from the latest of every name where there is none,
    /// or where it is not one of ours.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where the principal's rights ended meanwhile; [`Error::ShuttingDown`]; [`Error::Storage`].
    pub fn opening(
        &self,
        principal: &Principal,
        filter: EventFilter,
        last_event_id: Option<EventId>,
    ) -> Result<Opening, Error> {
        if self.hub.is_closed() {
            return Err(Error::ShuttingDown);
        }
        // First the session, then the check: a change of the user after the check ends the session.
        let session = self.hub.session(&principal.username);
        self.identity.recheck(principal)?;
        let after = last_event_id
            .and_then(|id| self.store.position_of(id))
            // What somebody saw before they came to this tenant tells nothing of what they know of it.
            .filter(|position| *position > principal.account.tenant_since)
            .unwrap_or(Position::START);
        let tenant = principal.standing.tenant.clone();
        let is_kept = after >= self.store.floor(&tenant)?;
        Ok(Opening { tenant, filter, after, is_kept, expires_at: principal.expires_at, session })
    }

    /// Opens a stream on this worker. `first` is written before its events.
    pub fn open(&self, opening: Opening, outlet: impl Outlet + 'static, first: Bytes) {
        self.0.relay.open(opening, outlet, first);
    }
}
