use serde::Deserialize;
use serde_json::value::RawValue;

use super::user_fields::{view, view_of_damaged};
use super::{Admin, Identity};
use crate::domain::{Email, NamePrefix, TenantName, User, Username};
use crate::error::Error;
use crate::store::{Store, Users};

/// How many users one page may have.
const MAX_LIMIT: usize = 1000;

/// The query for a list of users. Without any fields, it lists all users.
#[derive(Deserialize)]
pub struct UserQuery {
    limit: Option<usize>,
    after: Option<String>,
    tenant_name: Option<String>,
    search: Option<String>,
}

/// A list of users by name, which is read in steps.
pub struct UserList {
    users: Users,
    tenant: Option<TenantName>,
    search: Option<NamePrefix>,
    /// How many may follow, if the list is a page.
    left: Option<usize>,
    last: Option<Username>,
    /// Whether there are more users after the page.
    is_more: bool,
}

impl Identity {
    /// Lists users by name, each as [`Identity::get_user`] shows it. A user that cannot be read is listed with nothing
    /// but the name.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`], [`Error::TenantNameInvalid`].
    pub fn list_users(&self, _: &Admin, query: UserQuery) -> Result<UserList, Error> {
        let UserQuery { limit, after, tenant_name, search } = query;
        if limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
            return Err(Error::BodyInvalid(format!("limit must be 1 to {MAX_LIMIT}")));
        }
        let after = after.as_deref().map(Username::parse).transpose();
        let after = after.map_err(|_| Error::BodyInvalid("after must be a username".to_owned()))?;
        let tenant = tenant_name.as_deref().map(TenantName::parse).transpose()?;
        let search = search.as_deref().map(NamePrefix::new);
        let users = Users::new(after.as_ref());
        Ok(UserList { users, tenant, search, left: limit, last: None, is_more: false })
    }
}

impl UserList {
    /// Whether the list is one page, and not the whole result.
    pub fn is_page(&self) -> bool {
        self.left.is_some()
    }

    /// The last user of the page after it has ended, if there are more.
    pub fn next_page(&self) -> Option<&Username> {
        self.last.as_ref().filter(|_| self.is_more)
    }

    /// Gives the next users to `each`, until `each` returns true. Returns whether there may be more in this list. A
    /// step is always short, and may give none. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`]; the errors of `each`.
    pub fn next(
        &mut self,
        store: &Store,
        mut each: impl FnMut(&RawValue) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let Self { users, tenant, search, left, last, is_more } = self;
        let goes_on = users.next(store, |username, user| {
            if !is_wanted(tenant.as_ref(), search.as_ref(), &username, user.as_ref()) {
                return Ok(false);
            }
            if *left == Some(0) {
                *is_more = true;
                return Ok(true);
            }
            // The application's data of a user may be damaged although everything else is not.
            let shown = store.unless_damaged(user.as_ref().map(view).transpose())?.flatten();
            let is_enough = each(&shown.map_or_else(|| view_of_damaged(&username), Ok)?)?;
            if let Some(left) = left {
                *left -= 1;
                *last = Some(username);
            }
            Ok(is_enough)
        })?;
        Ok(goes_on && !self.is_more)
    }
}

/// Whether the query includes a user. The tenant of a user that cannot be read is unknown, so the user is included for
/// every tenant. Otherwise an admin who looks through tenants would never see the damage.
fn is_wanted(
    tenant: Option<&TenantName>,
    search: Option<&NamePrefix>,
    username: &Username,
    user: Option<&User>,
) -> bool {
    let is_of_tenant = tenant.is_none_or(|tenant| user.is_none_or(|user| user.tenant == *tenant));
    let is_found = search.is_none_or(|search| {
        let email = user.and_then(|user| user.email.as_ref()).map(Email::as_str);
        search.begins(username.as_str()) || email.is_some_and(|email| search.begins(email))
    });
    is_of_tenant && is_found
}
