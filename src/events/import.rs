//! Events that an admin brings from elsewhere.

use super::insert::rules;
use super::new_event::NewEvent;
use crate::domain::{TenantName, Username};
use crate::error::Error;
use crate::writer::Batch;
use serde::{Deserialize, Serialize};

/// The name before the colon in the name of an author who is no user here.
const OF_IMPORTS: &str = "import";
/// The name after the colon if there is no author.
const NOBODY: &str = "nobody";

/// An event, or the removal of a name, that is to be imported.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImportedEvent {
    /// The tenant, which need not exist yet.
    pub tenant: TenantName,
    /// Who inserted it where it comes from.
    pub author: Option<String>,
    /// The event.
    pub event: NewEvent,
}

impl ImportedEvent {
    /// Inserts it as a part of a change, if it may be there: the rights are those of an admin, and the rest is as in
    /// [`super::Insert`]. A name that does not exist need not be removed: what gave it a value may not have been kept. Returns whether
    /// there is a new event.
    ///
    /// # Errors
    /// [`Error::TenantNameInvalid`], [`Error::TenantNameLookalike`] of a new tenant; [`Error::InboxUnknown`];
    /// [`Error::TooManyNames`]; [`Error::Storage`]. Then the change has to undo what this has written.
    pub fn put(self, batch: &mut Batch<'_>) -> Result<bool, Error> {
        let Self { tenant, author, event } = self;
        if event.data.is_none() && batch.latest_position(&tenant, &event.name)?.is_none() {
            return Ok(false);
        }
        let (claim, author) = (batch.free_tenant(&tenant)?, named(batch, &tenant, author.as_deref())?);
        let events = vec![event];
        rules::check(batch, (&tenant, &author), &events, |_, _, _| Ok(()))?;
        batch.claim(claim);
        rules::write(batch, &tenant, &author, events, None).map(|()| true)
    }
}

/// The author of an event: a user of its tenant, a guest, or a name that no user can ever have. Else a user who gets the name later, or one
/// of another tenant, would be taken for the author.
fn named(batch: &Batch<'_>, tenant: &TenantName, author: Option<&str>) -> Result<Username, Error> {
    let Some(author) = author else { return Ok(Username::of_guest(OF_IMPORTS, NOBODY)) };
    if let Ok(username) = Username::parse(author)
        && batch.is_in_tenant(username.as_str(), tenant)?
    {
        return Ok(username);
    }
    let guest = Username::from_stored(author).ok().filter(Username::is_guest);
    Ok(guest.unwrap_or_else(|| Username::of_guest(OF_IMPORTS, author)))
}
