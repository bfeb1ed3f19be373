//! What decides every insert, whoever asks for it, and how its events are written.

use std::collections::HashSet;

use crate::domain::{EventKind, EventName, Position, Quotas, TenantName, Timestamp, Username, inbox_owner};
use crate::error::Error;
use crate::events::new_event::NewEvent;
use crate::events::stream_id::StreamId;
use crate::store::Draft;
use crate::writer::Batch;

/// Checks everything that could refuse these events of a user in a tenant, before any of them is written. `condition` is asked of the
/// first one's name and the position of the latest event of it.
pub fn check(
    batch: &mut Batch<'_>,
    (tenant, username): (&TenantName, &Username),
    events: &[NewEvent],
    condition: impl Fn(&mut Batch<'_>, &EventName, Option<Position>) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut new, mut bound) = (HashSet::new(), HashSet::new());
    for (number, NewEvent { name, data, while_connected, transient, clears, .. }) in events.iter().enumerate() {
        let latest = batch.latest_position(tenant, name)?;
        if data.is_none() && latest.is_none() {
            return Err(Error::EventUnknown);
        }
        if number == 0 {
            condition(batch, name, latest)?;
        }
        if latest.is_none() && !transient {
            new.insert(name);
        }
        // An event that nobody would ever see is refused: the inbox of `@Bob/x` is not bob's. A user of another tenant is treated as
        // unknown, or this would tell which accounts exist. An event that is there already can be removed.
        if data.is_some()
            && !(*clears && latest.is_some())
            && let Some(owner) = inbox_owner(name.as_str())
            && !batch.is_in_tenant(owner, tenant)?
        {
            return Err(Error::InboxUnknown);
        }
        if *while_connected && batch.bound_by(tenant, name)?.as_ref() != Some(username) {
            bound.insert(name);
        }
    }
    let Quotas { names, bound: at_most, .. } = batch.rules().quotas();
    if !new.is_empty() && batch.names(tenant)? + new.len() as u64 > names {
        return Err(Error::TooManyNames(names));
    }
    if !bound.is_empty() && batch.bound_of(username)? + bound.len() as u64 > at_most {
        return Err(Error::TooManyBound(at_most));
    }
    Ok(())
}

/// Writes events of a user into a tenant, after they were checked. Those with `while_connected` are bound to the stream.
pub fn write(
    batch: &mut Batch<'_>,
    tenant: &TenantName,
    username: &Username,
    events: Vec<NewEvent>,
    stream: Option<StreamId>,
) -> Result<(), Error> {
    let timestamp = batch.now();
    for NewEvent { name, data, expires_in, while_connected, transient, clears, published } in events {
        let tenant = tenant.clone();
        // Decided here, since an earlier event of this insert may have given the name a value, or taken it.
        let removes = clears && batch.latest_position(&tenant, &name)?.is_some();
        let draft = match data.filter(|_| !removes) {
            None => Draft::removal(tenant, username.clone(), name),
            Some(data) => Draft {
                kind: if transient { EventKind::Transient } else { EventKind::Value },
                expires_at: expires_in.map(|millis| Timestamp::from_millis(timestamp.as_millis() + millis)),
                ..Draft::value(tenant, username.clone(), name, data)
            },
        };
        let event = batch.insert_event(Draft { published, ..draft })?;
        if let Some(stream) = stream.filter(|_| while_connected) {
            batch.bind(&event, stream.get())?;
        }
    }
    Ok(())
}
