//! Oldest first: the reading scans the tenant's kept events, because there is no list of the events of one name.

use super::query::{Budget, HistoryQuery};
use crate::domain::Position;
use crate::error::Error;
use crate::store::codec::StoredData;
use crate::store::database::Store;
use crate::store::event_data::StoredEvent;
use crate::store::keys;
use crate::store::rows::event_row;

/// Reads events until the budget is spent. Returns the position to continue from, if there may be more.
pub fn read(
    store: &Store,
    query: &HistoryQuery,
    budget: &mut Budget,
    mut each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
) -> Result<Option<Position>, Error> {
    let HistoryQuery { tenant, name, after, before, .. } = query;
    let floor = store.floor(tenant)?;
    let latest = store.unless_damaged(store.latest_event(tenant, name.as_str()))?.flatten();
    // If the newest event cannot be read, it may be anywhere up to the head.
    let newest = match store.unless_damaged(store.newest_event(tenant, name.as_str()))? {
        Some(Some(newest)) => Some(newest.position),
        Some(None) => return Ok(None),
        None => None,
    };
    let (mut last, in_range) = (None, after.next()..*before);
    // Up to the floor only the latest event of a name is kept.
    if let Some(latest) = latest.filter(|latest| latest.position <= floor && in_range.contains(&latest.position)) {
        match store.unless_damaged(latest.event(store, tenant))? {
            Some(Some(event)) => each(event)?,
            // It was removed since, and another has taken its place.
            Some(None) => return read(store, query, budget, each),
            None => {}
        }
        budget.spend(true, latest.bytes);
        last = Some(latest.position);
    }
    let (first, end) = (floor.max(*after).next(), newest.unwrap_or_else(|| store.head()).next().min(*before));
    if first >= end {
        return Ok(None);
    }
    let (first, end) = (keys::event(tenant, first), keys::event(tenant, end));
    let (mut last_met, mut is_more) = (None, false);
    store.scan(&first, &end, &mut |key, value| {
        let row = store.unless_damaged(event_row(key, value))?;
        let is_wanted = row.as_ref().is_some_and(|(_, parts)| parts.name == name.as_str());
        // This is checked before damaged rows too, or a run of them would be scanned without end.
        if budget.is_spent(is_wanted) {
            is_more = true;
            return Ok(false);
        }
        let Some((position, parts)) = row else {
            // Its key tells its position, so that the next step, or the next page, goes on behind it.
            last = keys::position(key).or(last);
            budget.spend(false, value.len());
            return Ok(true);
        };
        // Of a transient event that has expired there is nothing to give.
        let is_expired = parts.data == StoredData::Expired;
        let read =
            if is_wanted && !is_expired { store.unless_damaged(store.whole(key, position, &parts))? } else { None };
        last_met = Some(position).filter(|_| is_wanted && !matches!(read, Some(None))).or(last_met);
        last = Some(position);
        match read.flatten() {
            Some(event) => {
                budget.spend(true, parts.bytes);
                each(event)?;
            }
            None => budget.spend(false, value.len()),
        }
        Ok(true)
    })?;
    // If the newest event was removed during the scan, another has taken its place.
    let is_gone = !is_more && newest.is_some_and(|newest| newest < *before && last_met != Some(newest));
    match last {
        None if is_gone => read(store, query, budget, each),
        last => Ok(last.filter(|_| is_more || is_gone)),
    }
}
