//! Guesses that are counted, until their results are known.

use super::Central;
use super::throttle::{Counted, Limit};
use crate::domain::{ClientAddress, Username};
use crate::error::Error;

/// What a guess is made at.
#[derive(Clone, Copy, Debug)]
pub enum GuessAt<'a> {
    /// One account's password or reset code.
    Account(&'a Username),
    /// The password of one account, by a client that is signed in to it. Strangers cannot use this allowance up: their guesses at the
    /// password do not keep its owner from changing it.
    Owner(&'a Username),
    /// No account, such as a refresh token of no session.
    Nobody,
    /// The admin token, or the key of the channels.
    Admin,
}

/// A counted guess, until its result is known. Only a wrong guess stays counted.
///
/// It moves to the place where the result is known first, a hashing thread or beside a change for the writer, and is settled there. So it does
/// not matter whether the client still waits: a correct guess never counts against its user, and a wrong one always
/// counts. If it is dropped unsettled, the guess was not checked, and the client learned nothing.
#[must_use]
pub struct Attempt {
    central: Central,
    by_address: Option<Counted>,
    at_account: Option<Counted>,
    was_wrong: bool,
}

/// Guesses.
impl Central {
    /// Counts a guess, as soon as there is room for it.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] if there were too many at the same, or from the address, whether or not there is such an account;
    /// [`Error::Overloaded`] if too many wait for the results of others.
    pub async fn attempt(&self, at: GuessAt<'_>, from: ClientAddress) -> Result<Attempt, Error> {
        let throttle = &self.0.guesses;
        // If the caller gives up, or the account refuses, the guess was not made, and what is counted by then is given back.
        let mut attempt = Attempt { central: self.clone(), by_address: None, at_account: None, was_wrong: false };
        let by_address = if matches!(at, GuessAt::Admin) { Limit::Admin } else { Limit::Address };
        // The address is counted first, so that an address with too many guesses takes nothing from an account.
        attempt.by_address = throttle.take_of(by_address, from).await?;
        attempt.at_account = match at {
            GuessAt::Account(username) => Some(throttle.take(Limit::Account, username).await?),
            GuessAt::Owner(username) => Some(throttle.take(Limit::Owner, username).await?),
            GuessAt::Nobody | GuessAt::Admin => None,
        };
        Ok(attempt)
    }

    /// Counts a guess as one at the code of an account, by a client that has shown its password or a sign-in. The guess at the password was
    /// right, and is given back. Strangers cannot use this allowance up: their guesses at the password do not count here.
    ///
    /// # Errors
    /// As [`Central::attempt`].
    pub async fn attempt_at_code(&self, username: &Username, mut attempt: Attempt) -> Result<Attempt, Error> {
        // Before it waits: others wait for that.
        if let Some(at_account) = attempt.at_account.take() {
            self.0.guesses.settle(at_account, false);
        }
        attempt.at_account = Some(self.0.guesses.take(Limit::Code, username).await?);
        Ok(attempt)
    }

    /// Counts a sign-up, whatever comes of it.
    ///
    /// # Errors
    /// [`Error::TooManyAttempts`] if there were too many from the address.
    pub async fn sign_up(&self, from: ClientAddress) -> Result<(), Error> {
        if let Some(counted) = self.0.guesses.take_of(Limit::SignUp, from).await? {
            self.0.guesses.settle(counted, true);
        }
        Ok(())
    }

    /// How often each kind of limit refused a guess since the start.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.guesses.refused()
    }
}

impl Attempt {
    /// The guess was wrong, and stays counted.
    pub fn was_wrong(mut self) {
        self.was_wrong = true;
    }

    /// Counts the guess if it was wrong, but not if it was correct or failed for another reason. It also counts if the
    /// user cannot be read, because the answer reveals that. After a correct guess, the attempt is returned for further
    /// checks.
    ///
    /// # Errors
    /// The error of the outcome.
    pub fn settle<T>(self, outcome: Result<T, Error>) -> Result<(T, Self), Error> {
        match outcome {
            Ok(value) => Ok((value, self)),
            Err(error) => {
                if matches!(
                    error,
                    Error::Unauthorized
                        | Error::AdminTokenIncorrect
                        | Error::AuthKeyIncorrect
                        | Error::SessionEnded
                        | Error::Damaged(_)
                ) {
                    self.was_wrong();
                }
                Err(error)
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let counted = self.by_address.take().into_iter().chain(self.at_account.take());
        counted.for_each(|counted| self.central.0.guesses.settle(counted, self.was_wrong));
    }
}

#[cfg(test)]
mod tests;
