use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::users::{new_generation, unknown_is_unauthorized};
use super::{Admin, Identity, totp};
use crate::domain::{Generation, Password, PasswordHash, ResetChallenge, Secret, Username};
use crate::error::Error;
use crate::writer::{Batch, Change};

/// How many wrong guesses a reset code bears: of a million codes, five are tried.
const TRIES: u8 = 5;

/// A new password and the code that permits it, as somebody sends them.
#[derive(Deserialize)]
pub struct NewPassword {
    username: String,
    password: String,
    totp: String,
}

impl Identity {
    /// Permits a user to set a new password: six digits, for the application to send to them.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for an unknown user, as the contract has it; those of [`crate::writer::Writer::submit`].
    pub async fn create_totp(&self, _: &Admin, username: &str) -> Result<String, Error> {
        let username = Username::parse(username).map_err(|_| Error::Unauthorized)?;
        let code = totp::reset_code();
        let shown = String::from_utf8_lossy(code.expose()).into_owned();
        let change = BeginReset { username, code, expiry: self.0.reset_expiry };
        self.0.writer.submit(change).await.map_err(unknown_is_unauthorized)?;
        Ok(shown)
    }

    /// Sets a new password, and ends everything that stood on the old one. The second factor stays.
    ///
    /// # Errors
    /// [`Error::PasswordInvalid`] and [`Error::PasswordWeak`], and then the code is not spent; [`Error::Unauthorized`],
    /// the same and after the same time for an unknown user, a revoked one, and a code that is wrong, spent or expired;
    /// [`Error::TooManyAttempts`]; those of [`crate::writer::Writer::submit`].
    pub async fn reset_password(&self, new: NewPassword, from: Option<IpAddr>) -> Result<(), Error> {
        let username = Username::parse(&new.username).map_err(|_| Error::Unauthorized)?;
        // Without the user's e-mail address: a policy that knew it would tell strangers about it.
        let password = self.new_password(new.password, &username, None)?;
        let attempt = self.0.throttle.account(&username, from).await?;
        let reset = self.spend_code(username, new.totp, password).await;
        attempt.came_to(&reset);
        reset
    }

    async fn spend_code(&self, username: Username, code: String, password: Password) -> Result<(), Error> {
        // Before the code is looked at, so that a wrong one takes as long as a right one.
        let password_hash = self.0.passwords.hash(password).await?;
        let change = ResetPassword { username, code, password_hash, generation: new_generation() };
        if self.0.writer.submit(change).await? { Ok(()) } else { Err(Error::Unauthorized) }
    }
}

struct BeginReset {
    username: Username,
    code: Secret,
    expiry: Duration,
}

impl Change for BeginReset {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let mut user = batch.user(&self.username)?.ok_or(Error::UserUnknown)?;
        let expires_at = batch.now() + self.expiry;
        user.reset = Some(ResetChallenge { code: self.code, expires_at, tries_left: TRIES });
        batch.put_user(&user);
        Ok(())
    }
}

struct ResetPassword {
    username: Username,
    code: String,
    password_hash: PasswordHash,
    generation: Generation,
}

impl Change for ResetPassword {
    /// Whether the code was right. A wrong one is written too: it has one try less.
    type Outcome = bool;

    fn decide(self, batch: &mut Batch<'_>) -> Result<bool, Error> {
        let Some(mut user) = batch.user(&self.username)?.filter(|user| !user.revoked) else { return Ok(false) };
        let Some(challenge) = user.reset.take().filter(|challenge| challenge.expires_at > batch.now()) else {
            return Ok(false);
        };
        if challenge.code.matches(self.code.as_bytes()) {
            user.set_password(self.password_hash, self.generation);
            batch.put_user(&user);
            batch.end_streams_of(&user.username);
            return Ok(true);
        }
        let tries_left = challenge.tries_left.saturating_sub(1);
        user.reset = (tries_left > 0).then_some(ResetChallenge { tries_left, ..challenge });
        batch.put_user(&user);
        Ok(false)
    }
}
