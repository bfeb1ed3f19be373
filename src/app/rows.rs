use super::event_object::event_object;
use super::listing::{Items, Rows, STEP_BYTES};
use crate::domain::{Position, TenantName, Username};
use crate::error::Error;
use crate::events::{EventParts, Hub};
use crate::identity::UserList;
use crate::store::{History, LatestEvents, Page, Store};

/// The latest events of many names, or as many of them as a page may have.
pub struct LatestRows {
    events: LatestEvents,
    /// How many may follow, if it is a page.
    left: Option<usize>,
    last: Option<String>,
    /// Whether there is one more than that.
    is_more: bool,
}

impl LatestRows {
    pub fn new(events: LatestEvents, limit: Option<usize>) -> Self {
        Self { events, left: limit, last: None, is_more: false }
    }
}

impl Rows for LatestRows {
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error> {
        let Self { events, left, last, is_more } = self;
        let goes_on = events.next(store, STEP_BYTES, |event| {
            if *left == Some(0) {
                *is_more = true;
                return Ok(true);
            }
            let object = event_object(&EventParts::of_stored(&event, store));
            let Some(object) = store.unless_damaged(object)? else { return Ok(false) };
            items.push(&object)?;
            if let Some(left) = left {
                *left -= 1;
                *last = Some(event.name.to_owned());
            }
            Ok(false)
        })?;
        Ok(goes_on && !self.is_more)
    }

    fn next_page(&self, _: &Store) -> Option<String> {
        self.last.clone().filter(|_| self.is_more)
    }
}

/// A page of the retained events of a name.
pub struct HistoryRows {
    history: Option<History>,
    next: Option<Position>,
}

impl HistoryRows {
    /// `None` has no events: an event that may not be seen looks like one that is not there.
    pub fn new(history: Option<History>) -> Self {
        Self { history, next: None }
    }
}

impl Rows for HistoryRows {
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error> {
        let Some(history) = &mut self.history else { return Ok(false) };
        let page = history.next(store, STEP_BYTES, |event| {
            let object = store.unless_damaged(event_object(&EventParts::of_stored(&event, store)))?;
            object.map_or(Ok(()), |object| items.push(&object))
        });
        match page? {
            Page::GoesOn => Ok(true),
            Page::Ends(next) => {
                self.next = next;
                Ok(false)
            }
        }
    }

    fn next_page(&self, store: &Store) -> Option<String> {
        self.next.map(|position| store.event_id(position).to_string())
    }
}

/// The users of a tenant who are present. One who comes or goes meanwhile is listed or not.
pub struct PresentUsers {
    hub: Hub,
    tenant: TenantName,
    last: Option<Username>,
}

impl PresentUsers {
    pub fn new(hub: Hub, tenant: TenantName) -> Self {
        Self { hub, tenant, last: None }
    }
}

impl Rows for PresentUsers {
    fn next(&mut self, _: &Store, items: &mut Items) -> Result<bool, Error> {
        let (people, is_more) = self.hub.registry().people_after(&self.tenant, self.last.as_ref());
        people.iter().try_for_each(|person| items.push(person))?;
        self.last = people.into_iter().last().map(|person| person.username);
        Ok(is_more)
    }
}

impl Rows for UserList {
    fn next(&mut self, store: &Store, items: &mut Items) -> Result<bool, Error> {
        self.next(store, |user| {
            items.push(&user)?;
            Ok(items.are_enough())
        })
    }

    fn next_page(&self, _: &Store) -> Option<String> {
        self.next_page().map(ToString::to_string)
    }
}
