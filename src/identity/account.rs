//! What users do with their own account.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::audit::{Act, Door, Visit};
use super::deletion::Deletion;
use super::device::Device;
use super::owner::Owner;
use super::password::Share;
use super::proven_owner::ProvenOwner;
use super::second_factor::{Code, Guessed};
use super::sessions::{BeginSession, IssuedTokens, SessionView, SignedIn};
use super::user_fields::{OwnInput, own_view, to_json};
use super::users::new_generation;
use super::{Identity, Principal};
use crate::domain::{
    ClientAddress, Generation, Invite, MAX_USER_BYTES, Password, PasswordHash, Payload, Scope, Secret, SessionId,
    Timestamp, User,
};
use crate::error::Error;
use crate::store::Store;
use crate::writer::{Anywhere, Batch, Change};

/// A new password, and the old one.
#[derive(Deserialize)]
pub struct NewOwnPassword {
    password: Secret,
    new_password: Secret,
    totp: Option<String>,
    recovery_code: Option<String>,
    /// Whether a session is to begin, which refresh tokens renew.
    refresh: Option<bool>,
}

/// What a user shows to delete the own account.
#[derive(Deserialize)]
pub struct Removal {
    password: Secret,
    totp: Option<String>,
    recovery_code: Option<String>,
}

impl Identity {
    /// The own user, as JSON.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a guest; [`Error::Storage`]; [`Error::Damaged`].
    pub fn me(&self, principal: &Principal) -> Result<Box<RawValue>, Error> {
        if principal.is_guest() {
            return Err(Error::Unauthorized);
        }
        let user = self.0.store.user(&principal.username)?;
        // Not another user who got the same name since.
        let user = user.filter(|user| user.id == principal.account.id).ok_or(Error::Unauthorized)?;
        own_view(&user)
    }

    /// Changes what users may change about their own account.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a guest; [`Error::DataTooDeep`]; [`Error::UserTooLarge`]; those of
    /// [`crate::writer::Writer::submit`].
    pub async fn update_me(&self, principal: &Principal, input: OwnInput, from: ClientAddress) -> Result<(), Error> {
        let act = Act::by_owner(&principal.username, "data", "changed", from);
        let updated = async {
            if principal.is_guest() {
                return Err(Error::Unauthorized);
            }
            // What no user may have is not to wait for the writer. An earlier Broker allowed more, which may stay.
            if input.bytes() > MAX_USER_BYTES {
                let before = self.0.store.user(&principal.username)?.and_then(|user| user.data);
                if before.is_none_or(|before| before.as_str().len() < input.bytes()) {
                    return Err(Error::UserTooLarge);
                }
            }
            let update = UpdateMe { owner: Owner::of(principal), data: input.into_data()? };
            self.0.writer.submit(update).await
        };
        act.ends(updated.await)
    }
}

impl Identity {
    /// Sets a new password for whoever is signed in and knows the old one. It ends every sign-in of the user, and begins a new one.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`] with two codes; [`Error::Unauthorized`] for a wrong password or a wrong code, and for a guest;
    /// [`Error::TotpRequired`] if only the code is missing; [`Error::TooManyAttempts`]; once the old password
    /// was right, those of [`super::PasswordPolicy::check`], which spend no code; [`Error::Overloaded`]; those of
    /// [`crate::writer::Writer::submit`].
    pub async fn change_password(
        &self,
        principal: &Principal,
        new: NewOwnPassword,
        device: Device,
    ) -> Result<IssuedTokens, Error> {
        let from = device.address;
        let visit = Visit::at(self.0.store.metrics(), Door::NewPassword, Some(principal.username.clone()), from);
        let changed = async {
            let NewOwnPassword { password, new_password, totp, recovery_code, refresh } = new;
            let code = Code::of(totp, recovery_code)?;
            let (user, owner, guess) = self.prove_owner(principal, password, code, from).await?;
            let share = || Share::of_account(from, &user.username);
            let new = Password::parse(new_password)?;
            let new = self.new_password(share(), new, &user.username, user.email.as_ref()).await?;
            let hash = self.0.passwords.hash(share(), new).await?;
            let (session, token) = self.new_session(refresh.unwrap_or_default(), device);
            let generation = new_generation();
            let change = ChangePassword { owner, hash, generation, session };
            let signed_in = self.submit_guess(change, guess).await?;
            self.issue(signed_in, token)
        };
        visit.ends(changed.await)
    }

    /// Deletes the account of whoever is signed in and knows the password.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`] with two codes; [`Error::Unauthorized`] for a wrong password or a wrong code, and for a guest;
    /// [`Error::TotpRequired`] if only the code is missing; [`Error::TooManyAttempts`]; [`Error::Overloaded`];
    /// those of [`crate::writer::Writer::submit`].
    pub async fn delete_me(&self, principal: &Principal, removal: Removal, from: ClientAddress) -> Result<(), Error> {
        let visit = Visit::at(self.0.store.metrics(), Door::Deletion, Some(principal.username.clone()), from);
        let deleted = async {
            let Removal { password, totp, recovery_code } = removal;
            let code = Code::of(totp, recovery_code)?;
            let (_, owner, guess) = self.prove_owner(principal, password, code, from).await?;
            self.submit_guess(DeleteMe { owner, how: Deletion::asked(None) }, guess).await
        };
        visit.ends(deleted.await)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ChangePassword {
    owner: ProvenOwner,
    hash: PasswordHash,
    generation: Generation,
    session: Option<BeginSession>,
}

impl Change for ChangePassword {
    type Outcome = Guessed<SignedIn>;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Guessed<SignedIn>, Error> {
        let Some(mut user) = self.owner.user(batch)? else { return Ok(Guessed::Wrong) };
        user.set_password(self.hash, self.generation);
        batch.put_user(&user);
        batch.end_streams_of(&user.username);
        SignedIn::new(batch, user, self.session).map(Guessed::Right)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeleteMe {
    owner: ProvenOwner,
    how: Deletion,
}

impl Change for DeleteMe {
    type Outcome = Guessed<()>;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Guessed<()>, Error> {
        let Some(user) = self.owner.user(batch)? else { return Ok(Guessed::Wrong) };
        self.how.of(batch, &user).map(Guessed::Right)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct UpdateMe {
    owner: Owner,
    data: Option<Payload>,
}

impl Change for UpdateMe {
    type Outcome = ();
    type Reach = Anywhere;

    fn bytes(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.as_str().len())
    }

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let before = self.owner.user(batch)?;
        let user = User { data: self.data, ..before.clone() };
        batch.put_user_as_given(&user, Some(&before))
    }
}

/// What is kept of a user beside events, each as JSON with the word for what it is. `current` is the session that asks. No secrets and no
/// hashes are among it.
///
/// # Errors
/// [`Error::Storage`]; [`Error::Damaged`].
pub fn kept_of(
    store: &Store,
    user: &User,
    current: Option<SessionId>,
    now: Timestamp,
) -> Result<Vec<(&'static str, Box<RawValue>)>, Error> {
    let mut kept = vec![("user", own_view(user)?)];
    // Also those that another secret of JWTs has ended: they are kept.
    for (id, session) in store.sessions_of(&user.username, now)? {
        kept.push(("session", to_json(&SessionView::of(id, session, current))?));
    }
    for invite in store.invites_made_by(&user.username)? {
        kept.push(("invite", invite_view(&invite)?));
    }
    Ok(kept)
}

fn invite_view(invite: &Invite) -> Result<Box<RawValue>, Error> {
    #[derive(Serialize)]
    struct View<'a> {
        tenant_name: &'a str,
        scopes: Option<Vec<&'a str>>,
        made_at: u64,
        expires_at: u64,
        uses_left: u16,
    }
    to_json(&View {
        tenant_name: invite.tenant.as_str(),
        scopes: invite.scopes.as_ref().map(|scopes| scopes.iter().map(Scope::as_str).collect()),
        made_at: invite.made_at.as_millis(),
        expires_at: invite.expires_at.as_millis(),
        uses_left: invite.uses_left,
    })
}

#[cfg(test)]
mod tests;
