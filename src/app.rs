//! What the handlers of every transport share.

mod reader;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Clock;
use crate::config::{Callers, Limits};
use crate::domain::{Account, Authorize, BasePath, EventFilter, EventId, Position, TrustedProxies, View};
use crate::error::Error;
use crate::events::{
    CatchUp, Condition, GoesOnFor, Hub, IdempotencyKey, Insert, Inserted, NewEvent, Rates, Reset, Sink, Start,
    StreamId, SubscribeRequest, WorkerHandle,
};
use crate::identity::{Admin, Identity, Principal};
use crate::store::Store;
use crate::writer::Writer;

pub use reader::{AdminReader, ReadScope, Reader};

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
    /// What decides who sees and inserts what.
    pub authorize: Authorize,
    /// What may be inserted.
    pub limits: Limits,
    /// How often.
    pub rates: Arc<Rates>,
    /// Who may call.
    pub callers: Arc<Callers>,
    /// Who is believed about where a request comes from.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// The path below which browsers see it.
    pub base_path: BasePath,
}

/// The services as one worker has them: a cheap clone that stays on its thread.
#[derive(Clone)]
pub struct App(Rc<OnWorker>);

struct OnWorker {
    services: Services,
    worker: WorkerHandle,
}

/// What an insert depends on.
pub struct InsertOptions {
    /// What must be so.
    pub condition: Condition,
    /// By what a repetition is known.
    pub key: Option<IdempotencyKey>,
    /// With which stream that goes which is to last while it is connected.
    pub stream: Option<StreamId>,
}

/// What somebody asks of a stream.
pub struct StreamOptions {
    /// Which events.
    pub filter: EventFilter,
    /// Whether it begins with the latest of every name.
    pub snapshot: bool,
    /// Whether it says how it stands.
    pub marks: bool,
    /// What was seen last.
    pub seen: LastSeen,
    /// Whether it is told who is there.
    pub presence: bool,
    /// The stream that it is to go on for, where that ended a moment ago.
    pub goes_on: GoesOnFor,
}

/// The last event that a client saw.
#[derive(Clone, Copy, Debug)]
pub enum LastSeen {
    /// It says nothing of one.
    Nothing,
    /// One whose id no Broker can have written.
    Unknown,
    /// This one.
    Id(EventId),
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
        let worker = WorkerHandle::start(services.hub.clone(), services.clock.clone());
        Self(Rc::new(OnWorker { services, worker }))
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
        options: InsertOptions,
    ) -> Result<Inserted, Error> {
        let InsertOptions { condition, key, stream } = options;
        let Principal { username, account, auth_context, .. } = principal;
        self.rates.take(&username, &account.tenant, events.len())?;
        let (authorize, quotas) = (self.authorize, self.limits.quotas);
        let stream = stream.map(|stream| (stream, self.hub.clone()));
        let insert = Insert { username, auth_context, events, is_array, condition, key, stream, authorize, quotas };
        self.writer.submit(insert).await
    }

    /// Reads what is kept for somebody.
    ///
    /// # Errors
    /// Those of [`Hub::keep_filter`].
    pub fn reader(&self, principal: Principal, filter: EventFilter) -> Result<Reader, Error> {
        let filter = self.hub.keep_filter(&principal.account.tenant, &principal.username, filter)?;
        Ok(Reader::new(self.identity.clone(), self.store.clone(), self.authorize, principal, filter))
    }

    /// Reads what is kept for an admin.
    pub fn admin_reader(&self, admin: &Admin) -> AdminReader {
        AdminReader::new(admin, self.store.clone())
    }

    /// What somebody's stream is to be.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] where the principal's rights ended meanwhile; [`Error::ShuttingDown`]; [`Error::Storage`]; those of
    /// [`Hub::keep_filter`].
    pub fn subscribe_request(&self, principal: &Principal, options: StreamOptions) -> Result<SubscribeRequest, Error> {
        if self.hub.is_closed() {
            return Err(Error::ShuttingDown);
        }
        // What was there by then may have been seen by these rights; of what comes later nothing is told to who loses them first.
        let head = self.store.head();
        // First the session, then the check: a change of the user after the check ends the session, or changes it.
        let user_streams = self.hub.user_streams(&principal.username);
        let changes = user_streams.changes();
        let account = self.identity.recheck(principal)?;
        let (rights, own) = self.authorize.to_see(&principal.username, &account.scopes);
        let tenant = account.tenant.clone();
        let start = self.start(&account, &options)?;
        let StreamOptions { filter, marks, presence, goes_on, .. } = options;
        let filter = self.hub.keep_filter(&tenant, &principal.username, filter)?;
        let (view, expires_at) = (View { filter, rights, own }, principal.expires_at);
        let presence_guard = self.hub.arrive(&tenant, &principal.username, goes_on, self.clock.now());
        Ok(SubscribeRequest {
            presence_guard,
            tenant,
            view,
            start,
            head,
            marks,
            presence,
            expires_at,
            user_streams,
            changes,
        })
    }

    /// From where on a stream is given events.
    fn start(&self, account: &Account, options: &StreamOptions) -> Result<Start, Error> {
        let Account { tenant, tenant_since, scopes_since, .. } = account;
        let reset = |reason| if options.snapshot { Start::Reset(reason) } else { Start::Now(Some(reason)) };
        let after = match options.seen {
            LastSeen::Nothing => return Ok(if options.snapshot { Start::Snapshot } else { Start::Now(None) }),
            LastSeen::Unknown => None,
            LastSeen::Id(id) => self.store.position_of(id),
        };
        let Some(after) = after else { return Ok(reset(Reset::UnknownId)) };
        // The very beginning is a position like others: of before a change, where there was one. It is the id of marks that come
        // before what they announce, so whoever has it may know much.
        let is_from_before = |since: Position| since > Position::START && after <= since;
        // What somebody saw before they came to this tenant tells nothing of what they know of it.
        if is_from_before(*tenant_since) {
            return Ok(reset(Reset::OtherTenant));
        }
        // Whose scopes changed meanwhile may see older events now, and has some that they may no longer see.
        if self.authorize == Authorize::Scopes && is_from_before(*scopes_since) {
            return Ok(reset(Reset::OtherScopes));
        }
        if after >= self.store.floor(tenant)? {
            return Ok(Start::After(after));
        }
        // Who asks for marks drops what they have, and gets everything; others get what changed, if all of that can be told.
        let all_told = after >= self.store.forgotten(tenant)?;
        Ok(if options.marks || !all_told { reset(Reset::NotKept) } else { Start::ChangedAfter(after) })
    }

    /// Opens a stream on this worker. `first` is written before its events. It goes on as long as what comes back is run.
    pub fn open(&self, opening: SubscribeRequest, outlet: impl Sink + 'static, first: Bytes) -> CatchUp {
        self.0.worker.open(opening, outlet, first)
    }
}
