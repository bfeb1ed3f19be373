use super::Identity;
use super::audit::{Door, Visit};
use super::invites::id_of;
use super::password::Share;
use super::user_fields::NewAccount;
use super::users::CreateUser;
use crate::config::Signup;
use crate::domain::{ClientAddress, Invite, InviteId, Timestamp, User, Username};
use crate::error::Error;
use crate::writer::{Anywhere, Batch, Change};
use serde::{Deserialize, Serialize};

impl Identity {
    /// Creates the account of somebody who signs up. Strangers make the server hash and write here, so each attempt counts for its
    /// address, and nothing is hashed before everything else was looked at.
    ///
    /// # Errors
    /// In this order: [`Error::SignupClosed`]; [`Error::TooManyAttempts`]; [`Error::InviteInvalid`]; those of
    /// [`Identity::create_user`].
    pub async fn sign_up(&self, new: NewAccount, from: ClientAddress) -> Result<(), Error> {
        let visit = Visit::at(self.0.store.metrics(), Door::SignUp, Username::parse(&new.username).ok(), from);
        visit.ends(self.create_account(new, from).await)
    }

    async fn create_account(&self, new: NewAccount, from: ClientAddress) -> Result<(), Error> {
        let settings = &self.0.settings.sign_ups;
        if settings.signup == Signup::Closed {
            return Err(Error::SignupClosed);
        }
        // It stays counted whatever comes of it: that a name is taken is an answer worth asking for, and an account is worth more.
        self.0.central.sign_up(from).await?;
        let invite = new.invite.as_ref().map(id_of);
        let store = &self.0.store;
        let (tenant, scopes) = match (&invite, &settings.tenant) {
            (Some(id), _) => {
                let invite = store.invite(id)?;
                let invite = working(invite, |username| store.user(username), self.0.clock.now())?;
                (invite.tenant, invite.scopes)
            }
            (None, Some(tenant)) if settings.signup == Signup::Open => (tenant.clone(), None),
            (None, _) => return Err(Error::InviteInvalid),
        };
        let share = |username: &Username| Share::of_account(from, username);
        let user = self.prepare_user(share, new.into_input(&tenant, scopes.as_deref())).await?;
        self.0.writer.submit(SignUp { user, invite }).await
    }
}

/// An invite, if somebody may sign up with it now.
fn working(
    invite: Option<Invite>,
    user: impl FnOnce(&Username) -> Result<Option<User>, Error>,
    now: Timestamp,
) -> Result<Invite, Error> {
    let invite = invite.filter(|invite| now < invite.expires_at && invite.uses_left > 0).ok_or(Error::InviteInvalid)?;
    let Some(inviter) = &invite.made_by else { return Ok(invite) };
    let is_upheld = user(&inviter.username)?.is_some_and(|user| invite.is_upheld_by(inviter, &user));
    if is_upheld { Ok(invite) } else { Err(Error::InviteInvalid) }
}

/// Creates a user, and counts the use of the invite.
#[derive(Serialize, Deserialize)]
pub(super) struct SignUp {
    user: CreateUser,
    invite: Option<InviteId>,
}

impl Change for SignUp {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        if let Some(id) = self.invite {
            let invite = working(batch.invite(&id)?, |username| batch.user(username), batch.now())?;
            batch.use_invite(&id, invite)?;
        }
        self.user.decide(batch)
    }
}
