use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::throttle::Attempt;
use super::users::{new_generation, unknown_is_unauthorized};
use super::{Admin, Identity, totp};
use crate::domain::{Generation, Password, PasswordHash, ResetChallenge, Secret, Username};
use crate::error::Error;
use crate::writer::{Batch, Change};

/// How many wrong guesses a reset code bears: of a million codes, five are tried.
const TRIES: u8 = 5;
/// What is written for a guess at a code that there is not.
const DECOY: &str = "decoy";
/// As long as the record of an ordinary user.
const DECOY_BYTES: usize = 480;

/// A new password and the code that permits it, as somebody sends them.
#[derive(Deserialize)]
pub struct NewPassword {
    username: String,
    password: String,
    totp: String,
}

impl Identity {
    /// Permits a user to set a new password: six digits, for the application to send to them. Those of a revoked user open
    /// nothing, also later.
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
    /// The code is checked first, in the writer, which costs the same whoever asks: nobody without the code has a password
    /// judged or hashed. It is spent only once the policy has let the password pass.
    ///
    /// # Errors
    /// [`Error::PasswordInvalid`]; [`Error::TooManyAttempts`]; [`Error::Unauthorized`], the same and after the same time for an
    /// unknown user, a revoked one, and a code that is wrong, spent or expired; where the code is right, those of
    /// [`super::PasswordPolicy::check`], and then it is not spent; those of [`crate::writer::Writer::submit`].
    pub async fn reset_password(&self, new: NewPassword, from: Option<IpAddr>) -> Result<(), Error> {
        let NewPassword { username, password, totp: code } = new;
        let username = Username::parse(&username).map_err(|_| Error::Unauthorized)?;
        let password = Password::parse(password)?;
        let code = Secret::new(code);
        let attempt = self.0.throttle.account(&username, from).await?;
        let attempt = self.try_code(&username, &code, attempt, None).await?;
        // Without the user's e-mail address: a policy that knew it would tell whoever has the code about it.
        let password = self.new_password(password, &username, None).await?;
        let then = (self.0.passwords.hash(password).await?, new_generation());
        // Once more, for it may have been spent or have expired meanwhile.
        self.try_code(&username, &code, attempt, Some(then)).await.map(drop)
    }

    async fn try_code(
        &self,
        username: &Username,
        code: &Secret,
        attempt: Attempt,
        then: Option<(PasswordHash, Generation)>,
    ) -> Result<Attempt, Error> {
        let guess = TryCode { username: username.clone(), code: code.clone(), attempt, then };
        self.0.writer.submit(guess).await?.ok_or(Error::Unauthorized)
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

/// A guess at a reset code.
struct TryCode {
    username: Username,
    code: Secret,
    attempt: Attempt,
    /// The new password and generation that the code is spent for, where it is right. Else it is only looked at.
    then: Option<(PasswordHash, Generation)>,
}

impl Change for TryCode {
    /// The attempt, where the code was right.
    type Outcome = Option<Attempt>;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Option<Attempt>, Error> {
        let Self { username, code, attempt, then } = self;
        let now = batch.now();
        let user = batch.user(&username)?;
        let outstanding = user.and_then(|mut user| {
            let challenge = user.reset.take().filter(|challenge| challenge.expires_at > now)?;
            Some((user, challenge))
        });
        let Some((mut user, challenge)) = outstanding else {
            // As much is written as for a wrong guess at a code: else the time that the disk takes would tell who has one.
            batch.put_setting(DECOY, vec![0; DECOY_BYTES]);
            attempt.was_wrong();
            return Ok(None);
        };
        // A revoked user's code opens nothing, and guesses use it up as any other's.
        if challenge.code.matches(code.expose()) && !user.revoked {
            if let Some((hash, generation)) = then {
                user.set_password(hash, generation);
                batch.put_user(&user);
                batch.end_streams_of(&user.username);
            }
            return Ok(Some(attempt));
        }
        let tries_left = challenge.tries_left.saturating_sub(1);
        user.reset = (tries_left > 0).then_some(ResetChallenge { tries_left, ..challenge });
        batch.put_user(&user);
        attempt.was_wrong();
        Ok(None)
    }
}
