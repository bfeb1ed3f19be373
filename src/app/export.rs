//! Everything that is kept of a user, a JSON object a line.

use serde_json::value::RawValue;

use super::event_object::event_object;
use super::listing::{Items, Rows, STEP_BYTES};
use crate::domain::{SessionId, Timestamp, Username};
use crate::error::Error;
use crate::events::EventParts;
use crate::identity::{Principal, kept_of};
use crate::store::{Store, UserEvents};

/// Everything that is kept of a user: first the account and what belongs to it, then the events.
pub struct ExportRows {
    username: Username,
    /// The session that asks, and when.
    current: Option<SessionId>,
    now: Timestamp,
    events: Option<UserEvents>,
}

impl ExportRows {
    pub fn new(principal: &Principal, now: Timestamp) -> Self {
        Self { username: principal.username.clone(), current: principal.session(), now, events: None }
    }
}

impl Rows for ExportRows {
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error> {
        let Some(events) = &mut self.events else {
            let user = store.user(&self.username)?.ok_or(Error::Unauthorized)?;
            for (kind, object) in kept_of(store, &user, self.current, self.now)? {
                items.push(&of_kind(kind, &object)?)?;
            }
            self.events = Some(UserEvents::new(store, &user));
            return Ok(true);
        };
        events.next(store, STEP_BYTES, |tenant, event| {
            let object = store.unless_damaged(event_object(&EventParts::of_stored(&event, store)))?;
            let Some(object) = object else { return Ok(()) };
            let tenant = serde_json::Value::from(tenant.as_str());
            items.push(&raw(format!("{{\"kind\":\"event\",\"tenant_name\":{tenant},{}", &object.get()[1..]))?)
        })
    }
}

/// An object, which has fields, with the word for what it is before them.
fn of_kind(kind: &str, object: &RawValue) -> Result<Box<RawValue>, Error> {
    raw(format!("{{\"kind\":\"{kind}\",{}", &object.get()[1..]))
}

fn raw(json: String) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(json).map_err(|error| Error::Internal(error.to_string()))
}
