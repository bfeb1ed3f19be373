//! Users and events of the whole server or of one tenant, a JSON object a line, for an admin.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::export::{event_line, of_kind};
use super::listing::{Items, Rows, STEP_BYTES};
use crate::domain::TenantName;
use crate::error::Error;
use crate::events::EventParts;
use crate::identity::{Hashes, exported};
use crate::store::{LatestEvents, Store, StoredEvent, TenantEvents, Users};

/// What an admin wants to have exported.
#[derive(Deserialize)]
pub struct ExportQuery {
    tenant_name: Option<String>,
    users: Option<bool>,
    hashes: Option<bool>,
    events: Option<WantedEvents>,
    end: Option<bool>,
}

/// Which events are wanted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum WantedEvents {
    /// The latest event of each name.
    Latest,
    /// All retained events as well.
    History,
}

/// The lines of an export: first the users by name, then the events, tenant by tenant.
pub struct ServerExport {
    tenant: Option<TenantName>,
    hashes: Hashes,
    /// `None` once all of them were given.
    users: Option<Users>,
    events: Events,
    /// Whether a line is still to say that there are no more.
    end: bool,
}

/// The last line, if it is asked for: a proxy may end the body of an answer that was cut off as if it were whole.
#[derive(Serialize)]
struct End {
    kind: &'static str,
}

/// The events that are left.
enum Events {
    None,
    /// All, in order. `None` before the first, since what there is by then is given.
    History(Option<TenantEvents>),
    /// The latest ones of the tenants after this one, once those of the current tenant were given.
    Latest {
        after: Option<TenantName>,
        current: Option<LatestEvents>,
    },
}

impl ServerExport {
    /// Begins an export.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`] if neither users nor events are wanted, or hashes without users; [`Error::TenantNameInvalid`].
    pub fn new(query: ExportQuery) -> Result<Self, Error> {
        let ExportQuery { tenant_name, users, hashes, events, end } = query;
        let (users, hashes) = (users.unwrap_or(false), hashes.unwrap_or(false));
        let misused = |why: &str| Err(Error::BodyInvalid(why.to_owned()));
        if !users && events.is_none() {
            return misused("users must be true, or events latest or history");
        }
        if hashes && !users {
            return misused("hashes are those of users");
        }
        Ok(Self {
            tenant: tenant_name.as_deref().map(TenantName::parse).transpose()?,
            hashes: if hashes { Hashes::Shown } else { Hashes::Hidden },
            users: users.then(|| Users::new(None)),
            events: match events {
                None => Events::None,
                Some(WantedEvents::History) => Events::History(None),
                Some(WantedEvents::Latest) => Events::Latest { after: None, current: None },
            },
            end: end.unwrap_or(false),
        })
    }

    /// Writes the next users. Returns whether there may be more. One that cannot be read is in it with nothing but the name.
    fn next_users(&self, users: &mut Users, store: &Store, items: &mut Items) -> Result<bool, Error> {
        users.next(store, |username, user| {
            if user.as_ref().is_some_and(|user| self.tenant.as_ref().is_some_and(|tenant| user.tenant != *tenant)) {
                return Ok(false);
            }
            items.push(&of_kind("user", &exported(store, &username, user.as_ref(), self.hashes)?)?)?;
            Ok(items.are_enough())
        })
    }
}

/// The line of an event; `None` if it cannot be read, and then the log names it.
fn line(store: &Store, tenant: &TenantName, event: &StoredEvent<'_>) -> Result<Option<Box<RawValue>>, Error> {
    store.unless_damaged(event_line(tenant, &EventParts::of_stored(event, store), event.expires_at))
}

impl Rows for ServerExport {
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error> {
        let is_more = self.next_lines(store, items)?;
        if self.end && !is_more {
            items.push(&End { kind: "end" })?;
        }
        Ok(is_more)
    }
}

impl ServerExport {
    /// Writes the next users or events. Returns whether there may be more.
    fn next_lines(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error> {
        if let Some(mut users) = self.users.take() {
            let is_more = self.next_users(&mut users, store, items)?;
            self.users = is_more.then_some(users);
            return Ok(is_more || !matches!(self.events, Events::None));
        }
        let only = self.tenant.as_ref();
        match &mut self.events {
            Events::None => Ok(false),
            Events::History(events) => {
                let events = events.get_or_insert_with(|| TenantEvents::new(store, only));
                events.next(store, STEP_BYTES, |tenant, event| {
                    line(store, tenant, &event)?.map_or(Ok(()), |line| items.push(&line))
                })
            }
            Events::Latest { after, current } => {
                if current.is_none() {
                    let next = match (only, &after) {
                        (Some(_), Some(_)) => None,
                        (Some(only), None) => Some(only.clone()),
                        (None, after) => store.next_tenant(after.as_ref())?,
                    };
                    let Some(tenant) = next else { return Ok(false) };
                    *current = Some(LatestEvents::of_all(tenant.clone()));
                    *after = Some(tenant);
                }
                if let (Some(events), Some(tenant)) = (current.as_mut(), after.as_ref()) {
                    let is_more = events.next(store, STEP_BYTES, |event| {
                        line(store, tenant, &event)?.map_or(Ok(()), |line| items.push(&line))?;
                        Ok(false)
                    })?;
                    if !is_more {
                        *current = None;
                    }
                }
                Ok(true)
            }
        }
    }
}
