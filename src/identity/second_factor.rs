//! The second factor of a user whose password was right: a code of the authenticator app, or a recovery code.
//!
//! Every way that takes a code counts it in one allowance, which only a client with the right password, or with a sign-in, can use up. So
//! strangers take no guess at the code from its owner, and a client that knows the password has the same few guesses wherever it tries.

use super::sessions::{BeginSession, SignedIn};
use super::{Identity, totp};
use crate::central::Attempt;
use crate::domain::{Generation, RecoveryCode, Timestamp, User, Username};
use crate::error::Error;
use crate::writer::{Anywhere, Batch, Change};
use serde::{Deserialize, Serialize};

/// A code as a client shows it.
#[derive(Serialize, Deserialize)]
pub enum Code {
    /// Of the authenticator app.
    Totp(String),
    /// One of those that are for the loss of the app.
    Recovery(RecoveryCode),
}

/// The second factor that is shown at one act. [`SecondFactor::spend`] checks it in the writer, so that a code works once however many
/// show it at the same time.
#[derive(Serialize, Deserialize)]
#[must_use]
pub struct SecondFactor(Option<Code>);

/// What came of a change that checks a guess.
#[derive(Serialize, Deserialize)]
pub enum Guessed<T> {
    /// The guess was right, and the change is done.
    Right(T),
    /// The guess was wrong, and nothing has changed.
    Wrong,
}

/// The counted guess at a code, beside the change that checks it. [`Identity::submit_guess`] settles it.
#[must_use]
pub struct Guess(Option<Attempt>);

impl Code {
    /// The code in these fields of a body, if there is one.
    ///
    /// # Errors
    /// [`Error::BodyInvalid`] if there are two: that would be two guesses, of which one is counted.
    pub fn of(totp: Option<String>, recovery_code: Option<String>) -> Result<Option<Self>, Error> {
        match (totp, recovery_code) {
            (None, None) => Ok(None),
            (Some(totp), None) => Ok(Some(Self::Totp(totp::without_blanks(totp)))),
            (None, Some(code)) => Ok(Some(Self::Recovery(RecoveryCode::read(&code)))),
            (Some(_), Some(_)) => Err(Error::BodyInvalid("it takes either totp or recovery_code".to_owned())),
        }
    }

    /// What of a user the code is, if it is one of theirs and is not spent.
    fn found(&self, user: &User, now: Timestamp) -> Option<Found> {
        match self {
            Self::Totp(code) => {
                let step = totp::matching_step(&user.totp_secret, code, now);
                // Each step is good once (RFC 6238, section 5.2), and spends all earlier ones.
                step.filter(|step| user.totp_spent_step.is_none_or(|spent| spent < *step)).map(Found::Step)
            }
            Self::Recovery(code) => {
                let hash = code.hash(user.id);
                user.recovery_codes.iter().position(|kept| *kept == hash).map(Found::Recovery)
            }
        }
    }
}

/// What a right code is.
enum Found {
    /// That of this time step.
    Step(u64),
    /// The recovery code at this place.
    Recovery(usize),
}

impl Found {
    fn spend(self, user: &mut User) {
        match self {
            Self::Step(step) => user.totp_spent_step = Some(step),
            Self::Recovery(at) => drop(user.recovery_codes.remove(at)),
        }
    }
}

impl Identity {
    /// Asks for the second factor of a user whose password was right, if they have one. `attempt` is the guess at the password.
    ///
    /// # Errors
    /// [`Error::TotpRequired`] without a code, which counts as a wrong guess at the password; [`Error::Unauthorized`] for a wrong code;
    /// [`Error::TooManyAttempts`] after too many of these; [`Error::Overloaded`].
    pub(super) async fn second_factor(
        &self,
        user: &User,
        code: Option<Code>,
        attempt: Attempt,
    ) -> Result<(SecondFactor, Guess), Error> {
        if !user.needs_code() {
            return Ok((SecondFactor(None), Guess(None)));
        }
        let Some(code) = code else {
            attempt.was_wrong();
            return Err(Error::TotpRequired);
        };
        let attempt = self.0.central.attempt_at_code(&user.username, attempt).await?;
        // The writer decides. It need not look at wrong ones, and nothing expensive is done for them.
        let (_, attempt) = attempt.settle(code.found(user, self.0.clock.now()).ok_or(Error::Unauthorized))?;
        Ok((SecondFactor(Some(code)), Guess(Some(attempt))))
    }

    /// Has the writer decide a change that checks a guess. If the guess was wrong it counts, whether
    /// somebody waits for the answer or not. The guess is not in the change, so that another process may decide it.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for a wrong guess; those of [`crate::writer::Writer::submit`], which do not count.
    pub(super) async fn submit_guess<C, T>(&self, change: C, guess: Guess) -> Result<T, Error>
    where
        C: Change<Outcome = Guessed<T>>,
        T: Send + 'static,
    {
        let settle = move |outcome: Result<Guessed<T>, Error>| match outcome? {
            Guessed::Right(outcome) => Ok(outcome),
            Guessed::Wrong => {
                guess.0.into_iter().for_each(Attempt::was_wrong);
                Err(Error::Unauthorized)
            }
        };
        self.0.writer.post_then(change, settle)?.await
    }
}

impl From<Attempt> for Guess {
    fn from(attempt: Attempt) -> Self {
        Self(Some(attempt))
    }
}

impl SecondFactor {
    /// Whether there is something to spend.
    pub(super) fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Checks it against the user as the writer has them now, and spends it. The user is to be stored if this succeeds. A caller makes sure
    /// before that the user has the generation that they had when the password was checked. Returns whether the code was right: neither
    /// wrong nor spent.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if a code is needed and there is none, which is no guess.
    pub(super) fn spend(self, user: &mut User, now: Timestamp) -> Result<bool, Error> {
        match self.0 {
            _ if !user.needs_code() => Ok(true),
            // Two-factor was switched on meanwhile.
            None => Err(Error::Unauthorized),
            Some(code) => {
                let found = code.found(user, now);
                let is_right = found.is_some();
                found.into_iter().for_each(|found| found.spend(user));
                Ok(is_right)
            }
        }
    }
}

/// Lets a user in whose password was right: spends the second factor, and begins the session if there is to be one. A code is not spent
/// if the session cannot begin.
#[derive(Serialize, Deserialize)]
pub(super) struct LetIn {
    pub username: Username,
    /// That of the user whose password was right.
    pub generation: Generation,
    pub factor: SecondFactor,
    pub session: Option<BeginSession>,
}

impl Change for LetIn {
    type Outcome = Guessed<SignedIn>;
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<Guessed<SignedIn>, Error> {
        let user = batch.user(&self.username)?.filter(|user| user.generation == self.generation && !user.revoked);
        let mut user = user.ok_or(Error::Unauthorized)?;
        let spends = self.factor.is_needed();
        if !self.factor.spend(&mut user, batch.now())? {
            return Ok(Guessed::Wrong);
        }
        if spends {
            batch.put_user(&user);
        }
        SignedIn::new(batch, user, self.session).map(Guessed::Right)
    }
}

#[cfg(test)]
mod tests;
