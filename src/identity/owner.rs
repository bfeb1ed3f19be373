//! Users who change their own account by a sign-in, which must be good when the writer decides.

use super::Principal;
use crate::domain::{AuthContext, User, Username};
use crate::error::Error;
use crate::writer::Batch;
use serde::{Deserialize, Serialize};

/// A user by their sign-in.
#[derive(Serialize, Deserialize)]
pub struct Owner {
    username: Username,
    auth_context: AuthContext,
}

impl Owner {
    /// The user of a principal.
    pub fn of(principal: &Principal) -> Self {
        Self { username: principal.username.clone(), auth_context: principal.auth_context.clone() }
    }

    /// The user as they are now.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the sign-in has ended, or is that of a guest.
    pub fn user(&self, batch: &Batch<'_>) -> Result<User, Error> {
        batch.account(&self.username, &self.auth_context)?;
        batch.user(&self.username)?.ok_or(Error::Unauthorized)
    }
}
