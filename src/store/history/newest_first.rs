//! Newest first: the reading starts at the newest event that is wanted, and follows the chain back from there.

use super::query::{Budget, HistoryQuery, STEP_LOOKED_AT_BYTES};
use crate::domain::Position;
use crate::error::Error;
use crate::store::chain::Link;
use crate::store::database::Store;
use crate::store::event_data::StoredEvent;
use crate::store::keys;
use crate::store::rows::event_row;

/// How many newer events of a name are followed to find one before an event of another name.
const MAX_WALKED: usize = 64;
/// How many positions are searched at once for the newest event before a position. The search begins with the smallest
/// window and doubles it while a window holds fewer bytes than this, up to the largest.
const MIN_WINDOW: u64 = 16;
const WINDOW_BYTES: usize = 256 << 10;
const MAX_WINDOW: u64 = 512;

/// The result of the search for the newest event before a position.
enum Newest {
    /// It was found.
    Found(Link),
    /// No such event is kept.
    Nothing,
    /// There is none from this position on, and the budget is spent.
    NotYet(Position),
}

impl From<Option<Link>> for Newest {
    fn from(link: Option<Link>) -> Self {
        link.map_or(Self::Nothing, Self::Found)
    }
}

/// Reads events until the budget is spent. Returns the position to continue from, if there may be more. `is_searching`
/// tells whether an earlier step came to the query's end position while it searched.
pub fn read(
    store: &Store,
    query: &HistoryQuery,
    budget: &mut Budget,
    is_searching: &mut bool,
    mut each: impl FnMut(StoredEvent<'_>) -> Result<(), Error>,
) -> Result<Option<Position>, Error> {
    let HistoryQuery { tenant, name, after, .. } = query;
    let found = newest_before(store, query, budget, *is_searching)?;
    *is_searching = matches!(found, Newest::NotYet(_));
    let mut next = match found {
        Newest::Found(link) => Some(link),
        Newest::Nothing => None,
        Newest::NotYet(position) => return Ok(Some(position)),
    };
    let mut last = None;
    while let Some(link) = next.filter(|link| link.position > *after) {
        // The first event is given even if the search for it spent the budget.
        if last.is_some() && budget.is_spent(true) {
            return Ok(last);
        }
        match store.unless_damaged(link.event(store, tenant))? {
            Some(Some(event)) => each(event)?,
            // It has expired, perhaps since it was found.
            Some(None) if link.is_expired || store.event_of(tenant, name.as_str(), link.position)?.is_some() => {}
            // It was removed since, and so was everything before it but the latest event. If it was the newest, another
            // has taken its place.
            Some(None) if last.is_some() => {
                next = store.unless_damaged(store.latest_before(tenant, name.as_str(), link.position))?.flatten();
                continue;
            }
            Some(None) => return read(store, query, budget, is_searching, each),
            None => {}
        }
        budget.spend(!link.is_expired, link.bytes);
        last = Some(link.position);
        let Some(before) = store.unless_damaged(store.event_before(tenant, name.as_str(), &link))? else {
            // The chain is broken here, so the event before it must be searched for.
            *is_searching = true;
            return Ok(last);
        };
        next = before;
    }
    Ok(None)
}

/// The newest event before the end position of the query.
fn newest_before(
    store: &Store,
    query: &HistoryQuery,
    budget: &mut Budget,
    is_searching: bool,
) -> Result<Newest, Error> {
    let HistoryQuery { tenant, name, after, before, .. } = query;
    // If the chain is broken, only the search remains.
    if !is_searching && let Some(Some(found)) = store.unless_damaged(by_chain(store, query, budget))? {
        return Ok(found);
    }
    // The name has changed often since, so it probably changed shortly before, too. Up to the floor, only its latest
    // event is kept.
    let lowest = store.floor(tenant)?.max(*after).next();
    let revealed = store.head().next().min(*before);
    let (mut end, mut width) = (revealed, MIN_WINDOW);
    while end > lowest {
        let start = lowest.max(Position::new(end.get().saturating_sub(width)));
        let (mut newest, mut bytes, mut is_too_much) = (None, 0, false);
        store.scan(&keys::event(tenant, start), &keys::event(tenant, end), &mut |key, value| {
            let row = store.unless_damaged(event_row(key, value))?;
            if let Some((position, _)) = row.filter(|(_, parts)| parts.name == name.as_str()) {
                newest = Some(position);
            }
            bytes += value.len();
            budget.spend(false, value.len());
            // The smallest window is always searched to its end, or the search would never finish.
            is_too_much = bytes >= STEP_LOOKED_AT_BYTES && width > MIN_WINDOW;
            Ok(!is_too_much)
        })?;
        if is_too_much {
            // The scan did not reach the newer part. Small events had made the window wide, so it begins narrow again.
            width = MIN_WINDOW;
            continue;
        }
        if let Some(newest) = newest {
            // If it was removed since, so was everything before it.
            return Ok(store.event_of(tenant, name.as_str(), newest)?.into());
        }
        end = start;
        // A window without events of the tenant costs a look, too.
        budget.spend(false, 0);
        if budget.is_spent(false) && end > lowest {
            return Ok(Newest::NotYet(end));
        }
        // The larger the events, the smaller the window.
        width = if bytes < WINDOW_BYTES { (width * 2).min(MAX_WINDOW) } else { (width / 2).max(1) };
    }
    Ok(store.unless_damaged(store.latest_before(tenant, name.as_str(), revealed))?.flatten().into())
}

/// The same, if it can be told from the events of this name alone.
fn by_chain(store: &Store, query: &HistoryQuery, budget: &mut Budget) -> Result<Option<Newest>, Error> {
    let HistoryQuery { tenant, name, before, .. } = query;
    // If the previous page ended with an event of this name, this page begins with the event that it points to.
    if let Some(link) = store.event_of(tenant, name.as_str(), *before)? {
        return Ok(Some(store.event_before(tenant, name.as_str(), &link)?.into()));
    }
    // The position may be that of any event. There may be few events of this name since then, or none.
    let mut link = store.newest_event(tenant, name.as_str())?;
    for _ in 0..budget.page.looks.min(MAX_WALKED) {
        match link {
            Some(later) if later.position >= *before && !budget.is_spent(false) => {
                budget.spend(false, later.row_bytes());
                link = store.event_before(tenant, name.as_str(), &later)?;
            }
            Some(later) if later.position >= *before => break,
            link => return Ok(Some(link.into())),
        }
    }
    Ok(None)
}
