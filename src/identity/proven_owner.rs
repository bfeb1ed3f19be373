//! Users who change what a sign-in alone is not enough for in their own account: the password and the second factor must be good too.

use super::login::Proven;
use super::owner::Owner;
use super::second_factor::{Code, Guess, SecondFactor};
use super::{Identity, Principal};
use crate::central::GuessAt;
use crate::domain::{ClientAddress, Password, Secret, User};
use crate::error::Error;
use crate::writer::Batch;
use serde::{Deserialize, Serialize};

/// A user who has shown the password too, and a code if they need one.
#[derive(Serialize, Deserialize)]
#[must_use]
pub struct ProvenOwner {
    owner: Owner,
    factor: SecondFactor,
}

impl ProvenOwner {
    /// Whether there is a second factor to spend.
    pub fn needs_code(&self) -> bool {
        self.factor.is_needed()
    }

    /// The user as they are now, with the code spent; `None` if it is wrong or spent already. They are to be stored, or to go.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the sign-in has ended.
    pub fn user(self, batch: &Batch<'_>) -> Result<Option<User>, Error> {
        let mut user = self.owner.user(batch)?;
        let is_right = self.factor.spend(&mut user, batch.now())?;
        Ok(is_right.then_some(user))
    }
}

impl Identity {
    /// Checks the password of whoever is signed in, and asks for the code if they need one, which the writer checks
    /// in a change that is submitted with the guess. Returns also the user.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the password or the code is wrong, as at a sign-in, and for a guest; [`Error::TotpRequired`] if it is
    /// right and the code is missing; [`Error::TooManyAttempts`]; [`Error::Overloaded`].
    pub(super) async fn prove_owner(
        &self,
        principal: &Principal,
        password: Secret,
        code: Option<Code>,
        from: ClientAddress,
    ) -> Result<(User, ProvenOwner, Guess), Error> {
        let Proven { user, attempt, .. } = self.prove_password_of(principal, password, from).await?;
        let (factor, guess) = self.second_factor(&user, code, attempt).await?;
        Ok((user, ProvenOwner { owner: Owner::of(principal), factor }, guess))
    }

    /// Checks the password of whoever is signed in, for what needs no code. Returns the user.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if it is wrong, as at a sign-in, and for a guest; [`Error::TooManyAttempts`]; [`Error::Overloaded`].
    pub(super) async fn prove_password(
        &self,
        principal: &Principal,
        password: Secret,
        from: ClientAddress,
    ) -> Result<User, Error> {
        Ok(self.prove_password_of(principal, password, from).await?.user)
    }

    async fn prove_password_of(
        &self,
        principal: &Principal,
        password: Secret,
        from: ClientAddress,
    ) -> Result<Proven, Error> {
        if principal.is_guest() {
            return Err(Error::Unauthorized);
        }
        let password = Password::parse(password).map_err(|_| Error::Unauthorized)?;
        let attempt = self.0.central.attempt(GuessAt::Owner(&principal.username), from).await?;
        self.prove(&principal.username, password, from, attempt, |_| Ok(())).await
    }
}

#[cfg(test)]
mod tests;
