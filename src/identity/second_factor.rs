//! The second factor of a user whose password was right: a code of the authenticator app, or a recovery code.
//!
//! Every way that takes a code counts it in one allowance, which only a client with the right password, or with a sign-in, can use up. So
//! strangers take no guess at the code from its owner, and a client that knows the password has the same few guesses wherever it tries.

use super::sessions::{BeginSession, SignedIn};
use super::throttle::Attempt;
use super::{Identity, totp};
use crate::domain::{Generation, RecoveryCode, Timestamp, User, Username};
use crate::error::Error;
use crate::writer::{Batch, Change};

/// A code as a client shows it.
pub enum Code {
    /// Of the authenticator app.
    Totp(String),
    /// One of those that are for the loss of the app.
    Recovery(RecoveryCode),
}

/// The second factor that is shown at one act. [`SecondFactor::spend`] checks it in the writer, so that a code works once however many
/// show it at the same time.
#[must_use]
pub struct SecondFactor(Option<(Code, Attempt)>);

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
    fn found(&self, user: &User, now: Timestamp) -> Result<Found, Error> {
        let found = match self {
            Self::Totp(code) => {
                let step = totp::matching_step(&user.totp_secret, code, now);
                // Each step is good once (RFC 6238, section 5.2), and spends all earlier ones.
                step.filter(|step| user.totp_spent_step.is_none_or(|spent| spent < *step)).map(Found::Step)
            }
            Self::Recovery(code) => {
                let hash = code.hash(user.id);
                user.recovery_codes.iter().position(|kept| *kept == hash).map(Found::Recovery)
            }
        };
        found.ok_or(Error::Unauthorized)
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
    ) -> Result<SecondFactor, Error> {
        if !user.needs_code() {
            return Ok(SecondFactor(None));
        }
        let Some(code) = code else {
            attempt.was_wrong();
            return Err(Error::TotpRequired);
        };
        let attempt = self.0.throttle.code(&user.username, attempt).await?;
        // The writer decides. It need not look at wrong ones, and nothing expensive is done for them.
        let (_, attempt) = attempt.settle(code.found(user, self.0.clock.now()))?;
        Ok(SecondFactor(Some((code, attempt))))
    }
}

impl SecondFactor {
    /// Whether there is something to spend.
    pub(super) fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Checks it against the user as the writer has them now, and spends it. The user is to be stored if this succeeds. A caller makes sure
    /// before that the user has the generation that they had when the password was checked.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the code is wrong or spent, which counts.
    pub(super) fn spend(self, user: &mut User, now: Timestamp) -> Result<(), Error> {
        match self.0 {
            _ if !user.needs_code() => Ok(()),
            // Two-factor was switched on meanwhile.
            None => Err(Error::Unauthorized),
            Some((code, attempt)) => {
                let (found, _) = attempt.settle(code.found(user, now))?;
                found.spend(user);
                Ok(())
            }
        }
    }
}

/// Lets a user in whose password was right: spends the second factor, and begins the session if there is to be one. A code is not spent
/// if the session cannot begin.
pub(super) struct LetIn {
    pub username: Username,
    /// That of the user whose password was right.
    pub generation: Generation,
    pub factor: SecondFactor,
    pub session: Option<BeginSession>,
}

impl Change for LetIn {
    type Outcome = SignedIn;

    fn decide(self, batch: &mut Batch<'_>) -> Result<SignedIn, Error> {
        let user = batch.user(&self.username)?.filter(|user| user.generation == self.generation && !user.revoked);
        let mut user = user.ok_or(Error::Unauthorized)?;
        let spends = self.factor.is_needed();
        self.factor.spend(&mut user, batch.now())?;
        if spends {
            batch.put_user(&user);
        }
        SignedIn::new(batch, user, self.session)
    }
}
