use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::event_object::event_object;
use super::export::ExportRows;
use super::last_seen::LastSeen;
use super::listing::{self, Form, Listing};
use super::reader::{ReadScope, Reader};
use super::rows::{HistoryRows, LatestRows, PresentUsers};
use crate::central::{Central, Rate};
use crate::clock::Clock;
use crate::config::{Limits, Live};
use crate::domain::{
    Account, Authorize, Event, EventFilter, EventId, EventName, FilterChange, Own, Payload, Position, Rights,
    Timestamp, View,
};
use crate::error::Error;
use crate::events::{
    Changing, Condition, EventParts, GoesOnFor, HandOver, Hub, IdempotencyKey, Insert, Inserted, Lease, Lifetime,
    NewEvent, Reset, Start, StreamId, StreamOptions, SubscribeRequest, WorkerHandle,
};
use crate::identity::{Identity, Principal};
use crate::store::{History, HistoryQuery, LatestEvents, Store};
use crate::writer::{Outcome, Rules, Writer};

/// The entry point to events, as [`Identity`] is that to accounts: a cheap clone.
///
/// Whatever a principal reads or changes goes through it, so that a transport cannot forget to look at their rights.
#[derive(Clone)]
pub struct Events {
    pub(super) identity: Identity,
    pub(super) writer: Writer,
    pub(super) hub: Hub,
    pub(super) clock: Clock,
    /// What changes are decided by, with the limits that a reload changes.
    pub(super) rules: Live<Rules>,
    pub(super) central: Central,
    /// Held by the one import that is under way.
    pub(super) imports: Arc<Semaphore>,
}

/// An insert that was asked for. Resolves when its events are on disk.
pub type Inserting = Outcome<Inserted>;

/// The preconditions of an insert, and what belongs to it.
pub struct InsertOptions {
    /// The state that the name must be in.
    pub condition: Condition,
    /// The key that a repetition is known by.
    pub key: Option<IdempotencyKey>,
    /// The stream that events with `while_connected` end with.
    pub stream: Option<StreamId>,
}

/// A stream as a client asks for it.
pub struct StreamQuery {
    /// The events that are wanted.
    pub filter: EventFilter,
    /// The last event that the client saw.
    pub last_seen: LastSeen,
    /// The stream that this one continues, if that ended a moment ago.
    pub goes_on: GoesOnFor,
    /// A stream that does not resume begins with the latest event of every name.
    pub snapshot: bool,
    /// What the stream gives.
    pub options: StreamOptions,
}

/// A page of the history of a name, as a client asks for it.
pub struct HistoryPage {
    /// The name of the events.
    pub name: EventName,
    /// Only events after this position.
    pub after: Position,
    /// Only events before this position.
    pub before: Position,
    /// How many events the page may have.
    pub limit: usize,
    /// The oldest event stands first.
    pub oldest_first: bool,
}

impl Events {
    /// Puts the services together.
    pub fn new(
        identity: Identity,
        writer: Writer,
        hub: Hub,
        central: Central,
        clock: Clock,
        rules: Live<Rules>,
    ) -> Self {
        let limits = &rules.get().limits;
        central.set_rate(Rate::Inserts, limits.insert_rate, limits.tenant_insert_rate);
        let imports = Arc::new(Semaphore::new(1));
        Self { identity, writer, hub, clock, rules, central, imports }
    }

    /// Goes by other limits from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.central.set_rate(Rate::Inserts, limits.insert_rate, limits.tenant_insert_rate);
        self.hub.allow_streams(limits.streams_per_user);
        let rules = Rules::clone(&self.rules.get());
        self.rules.set(Rules { limits, ..rules });
    }

    /// Starts the part of the hub that serves the streams of this thread.
    pub(super) fn start_worker(&self) -> WorkerHandle {
        WorkerHandle::start(self.hub.clone(), self.clock.clone())
    }

    /// The store that streams and lists are read from.
    pub(super) fn store(&self) -> &Store {
        self.hub.store()
    }

    /// How it is decided which events a user may see: the same for lists as for streams.
    pub(super) fn authorize(&self) -> Authorize {
        self.hub.rules().authorize
    }

    /// The id of the event at a position.
    pub fn id_at(&self, position: Position) -> EventId {
        self.store().event_id(position)
    }

    /// The position that an id stands for; `None` if it is not an id of this database.
    pub fn position_of(&self, id: EventId) -> Option<Position> {
        self.store().position_of(id)
    }

    /// The ids of inserted events, in order.
    pub fn ids_of(&self, inserted: &Inserted) -> impl Iterator<Item = EventId> {
        let first = inserted.first.get();
        (0..inserted.count).map(move |number| self.id_at(Position::new(first + number)))
    }

    /// An event as it is shown to a client that may see it.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its data is no JSON.
    pub fn view(&self, event: &Event) -> Result<Box<RawValue>, Error> {
        event_object(&EventParts::of(event, self.id_at(event.position)))
    }

    /// An event that is to be inserted.
    ///
    /// # Errors
    /// Those of [`NewEvent::new`].
    pub fn new_event(&self, name: EventName, data: Payload, lifetime: Lifetime) -> Result<NewEvent, Error> {
        NewEvent::new(name, data, lifetime, self.rules.get().limits.max_event_bytes)
    }

    /// Inserts or removes events, all of them or none, after every insert that was asked for before on this thread. What is returned
    /// resolves when they are on disk; they are inserted whether that is awaited or not.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; [`Error::InsertRateExceeded`]; later those of [`Insert`] and
    /// of [`Writer::submit`].
    pub fn insert(
        &self,
        principal: &Principal,
        events: Vec<NewEvent>,
        is_array: bool,
        options: InsertOptions,
    ) -> Result<Inserting, Error> {
        // The request took its time, or the sign-in is that of a connection. The writer looks at the account once more.
        let account = self.identity.recheck(principal)?;
        let InsertOptions { condition, key, stream } = options;
        let (username, auth_context) = (principal.username.clone(), principal.auth_context.clone());
        self.central.take_here(Rate::Inserts, (&username, &account.tenant), events.len())?;
        self.writer.post(Insert { username, auth_context, events, is_array, condition, key, stream, packet: None })
    }

    /// Lists the latest event of each name, those after a name, or at most so many.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; those of [`Hub::keep_filter`]; [`Error::Storage`].
    pub async fn latest(
        &self,
        principal: Principal,
        filter: EventFilter,
        after: Option<String>,
        limit: Option<usize>,
    ) -> Result<Listing, Error> {
        let rows = move |scope: &ReadScope| {
            let mut events = LatestEvents::new(scope.tenant.clone(), scope.view.clone());
            if let Some(after) = &after {
                events.start_after(after);
            }
            LatestRows::new(events, limit)
        };
        listing::read(self.reader(principal, filter)?, Form::with_limit(limit, "events"), rows).await
    }

    /// Lists the retained events of one name.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; [`Error::Storage`].
    pub async fn history(&self, principal: Principal, page: HistoryPage) -> Result<Listing, Error> {
        let HistoryPage { name, after, before, limit, oldest_first } = page;
        let rows = move |scope: &ReadScope| {
            let (tenant, name) = (scope.tenant.clone(), name.clone());
            let is_seen = scope.view.allows(name.as_str());
            HistoryRows::new(
                is_seen.then(|| History::new(HistoryQuery { tenant, name, after, before, limit, oldest_first })),
            )
        };
        listing::read(self.reader(principal, EventFilter::ALL)?, Form::Page("events"), rows).await
    }

    /// Exports everything that is kept of the principal, who is a user.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a guest, and if the principal's rights ended meanwhile; [`Error::Storage`]; [`Error::Damaged`].
    pub async fn export(&self, principal: Principal) -> Result<Listing, Error> {
        if principal.is_guest() {
            return Err(Error::Unauthorized);
        }
        let (by, now) = (principal.clone(), self.clock.now());
        let rows = move |_: &ReadScope| ExportRows::new(&by, now);
        listing::read(self.reader(principal, EventFilter::ALL)?, Form::Lines, rows).await
    }

    /// Lists the users of the principal's tenant who are present.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile.
    pub async fn presence(&self, principal: Principal) -> Result<Listing, Error> {
        let hub = self.hub.clone();
        let users = move |scope: &ReadScope| PresentUsers::new(hub.clone(), scope.tenant.clone());
        listing::read(self.reader(principal, EventFilter::ALL)?, Form::Array, users).await
    }

    /// Changes the filter of an open stream of the principal's, after every change that was asked for before. What is returned resolves
    /// when the change is in force, with its number: the first of a stream is 1, and the stream's `$synced` says which it covers.
    ///
    /// # Errors
    /// [`Error::StreamUnknown`] if they have no such stream; [`Error::Unauthorized`] if their rights ended meanwhile; later those of
    /// [`Hub::change_filter`].
    pub fn change_filter(
        &self,
        principal: &Principal,
        stream: StreamId,
        change: FilterChange,
    ) -> Result<Changing, Error> {
        // The request took its time. Meanwhile the user may have been shut out, and have come back by another sign-in.
        let account = self.identity.recheck(principal)?;
        // A user's stream is told of the rights that the user gets. What a guest has been permitted since is in the principal.
        let guest = principal.is_guest().then(|| account.scopes.to_see(self.authorize(), &principal.username));
        self.hub.change_filter(&principal.username, stream, change, guest)
    }

    /// What a principal with an account may see, as far as a filter wants it.
    fn to_see(&self, account: &Account, principal: &Principal, filter: &EventFilter) -> (Rights, Own) {
        let (rights, own) = account.scopes.to_see(self.authorize(), &principal.username);
        let rights = if principal.is_guest() { rights.for_filter(filter) } else { rights };
        (rights, own)
    }

    /// Takes from the allowances of a principal what a change of their own user takes: as much as an insert of one event.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; [`Error::InsertRateExceeded`].
    pub async fn take_for_update(&self, principal: &Principal) -> Result<(), Error> {
        let account = self.identity.recheck(principal)?;
        self.central.take(Rate::Inserts, (&principal.username, &account.tenant), 1).await
    }

    /// Has an open stream go on until a newer token expires, if that is later than what was said before. It must be of the session that
    /// the stream was opened by, or both of none. Returns when the stream ends now; `None` is never.
    ///
    /// # Errors
    /// [`Error::StreamUnknown`] if they have no such stream, or if only one of the two sign-ins expires; [`Error::Unauthorized`] if their
    /// rights ended meanwhile.
    pub fn renew(&self, principal: &Principal, stream: StreamId) -> Result<Option<Timestamp>, Error> {
        self.identity.recheck(principal)?;
        self.hub.renew(&principal.username, stream, lease_of(principal))
    }

    /// Whether the sign-in of a principal has expired.
    pub fn has_expired(&self, principal: &Principal) -> bool {
        principal.expires_at.is_some_and(|expires_at| expires_at <= self.clock.now())
    }

    /// Prepares a stream: checks the principal's rights, and decides where the stream begins.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the principal's rights ended meanwhile; [`Error::ShuttingDown`]; [`Error::Storage`]; those of
    /// [`Hub::keep_filter`].
    pub fn subscribe(&self, principal: &Principal, query: StreamQuery) -> Result<SubscribeRequest, Error> {
        if self.hub.is_closed() {
            return Err(Error::ShuttingDown);
        }
        let username = &principal.username;
        // Before the rights are looked at: by these the client may have seen every event up to here. A client that loses a right
        // is told nothing of later events by it.
        let head = self.store().head();
        // Before the check as well: a change of the user after the check ends the streams, or changes them.
        let user_streams = self.hub.registry().user_streams(username);
        let changes = user_streams.changes();
        let account = self.identity.recheck(principal)?;
        let (rights, own) = self.to_see(&account, principal, &query.filter);
        let tenant = account.tenant.clone();
        let start = self.start(&account, head, &query)?;
        let goes_on = match query.goes_on {
            // A client without control events is not told that its stream was replaced. It would come back, and the two would fight for the
            // id. A guest is all that were given the same name.
            GoesOnFor::This(stream) if query.options.marks && !principal.is_guest() => GoesOnFor::Replaces(stream),
            goes_on => goes_on,
        };
        let filter = self.hub.keep_filter(&tenant, username, query.filter)?;
        Ok(SubscribeRequest {
            presence_guard: user_streams.arrive_by(lease_of(principal), &tenant, goes_on, self.clock.now()),
            tenant,
            view: View { filter, rights, own },
            start,
            options: query.options,
            changes,
            filter_changes: 0,
        })
    }

    /// Prepares a stream that goes on where one of the same principal has stopped.
    ///
    /// # Errors
    /// Those of [`Events::subscribe`].
    pub fn go_on(
        &self,
        principal: &Principal,
        stream: StreamId,
        stands: HandOver,
        options: StreamOptions,
    ) -> Result<SubscribeRequest, Error> {
        let HandOver { position, filter, changes } = stands;
        let (last_seen, goes_on) = (LastSeen::Id(self.id_at(position)), GoesOnFor::This(stream));
        let request = self.subscribe(principal, StreamQuery { filter, last_seen, goes_on, snapshot: true, options })?;
        Ok(SubscribeRequest { filter_changes: changes, ..request })
    }

    /// Decides where a stream begins.
    fn start(&self, account: &Account, head: Position, query: &StreamQuery) -> Result<Start, Error> {
        let Account { tenant, tenant_since, scopes_since, .. } = account;
        let anew = |reset| if query.snapshot { Start::snapshot(reset) } else { Start::now(head, reset) };
        let after = match query.last_seen {
            LastSeen::Nothing => return Ok(anew(None)),
            LastSeen::Unknown => None,
            LastSeen::Id(id) => self.position_of(id),
            LastSeen::Position(position) => return Ok(Start { after: position, ..Start::now(head, None) }),
        };
        let Some(after) = after else { return Ok(anew(Some(Reset::UnknownId))) };
        // The very beginning is a position like others, and before a change if there was one. It is the id of control events
        // that come before what they announce, so a client that has it may know much.
        let is_from_before = |since: Position| since > Position::START && after <= since;
        // What a user saw before they came to this tenant says nothing of what they know of it.
        if is_from_before(*tenant_since) {
            return Ok(anew(Some(Reset::OtherTenant)));
        }
        // A user with other scopes than before may see older events now, and has some that they may no longer see.
        if self.authorize() == Authorize::Scopes && is_from_before(*scopes_since) {
            return Ok(anew(Some(Reset::OtherScopes)));
        }
        if after >= self.store().floor(tenant)? {
            return Ok(Start::after(after, head));
        }
        // A client that asks for control events is told to drop its state, and is given everything. Others are given the names
        // that changed, if all of these are still known.
        let all_known = after >= self.store().forgotten(tenant)?;
        Ok(if query.options.marks || !all_known { anew(Some(Reset::NotKept)) } else { Start::changed_after(after) })
    }

    pub(super) fn reader(&self, principal: Principal, filter: EventFilter) -> Result<Reader, Error> {
        let filter = self.hub.keep_filter(&principal.account.tenant, &principal.username, filter)?;
        Ok(Reader::new(self.identity.clone(), self.store().clone(), self.authorize(), principal, filter))
    }
}

/// By what a stream of a principal goes on.
fn lease_of(principal: &Principal) -> Lease {
    Lease { session: principal.session(), expires_at: principal.expires_at, is_of_share: false }
}
