//! The audit log: one line for each sign-in or similar attempt, with user, address and result, without secrets.
//!
//! Anybody can cause such a line, so they are limited ([`crate::log::ACCESS`]) and bounded: an invalid name is not
//! written at all.

use crate::domain::{ClientAddress, Username};
use crate::error::Error;
use crate::log;

/// The kinds of authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A password, and perhaps a code, for a token.
    SignIn,
    /// A password with a request.
    Basic,
    /// A reset code.
    Reset,
    /// The admin token.
    Admin,
}

/// An authentication attempt, until its result is known.
///
/// If it is dropped before that, the client has disconnected, which is logged, too: a client that hangs up before the
/// answer has guessed as well.
#[must_use]
pub struct Visit {
    door: Door,
    user: Option<Username>,
    from: ClientAddress,
    is_told: bool,
}

impl Visit {
    /// Begins an attempt. `user` is the claimed username, if it is a valid name.
    pub fn at(door: Door, user: Option<Username>, from: ClientAddress) -> Self {
        Self { door, user, from, is_told: false }
    }

    /// Lets somebody try who claims a name, and logs the result. An invalid name is nobody's, so it is refused without
    /// a try.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the name is invalid; those of `attempt`.
    pub async fn of_claimed<T>(
        door: Door,
        name: &str,
        from: ClientAddress,
        attempt: impl AsyncFnOnce(Username) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let username = Username::parse(name).ok();
        let visit = Self::at(door, username.clone(), from);
        let outcome = match username {
            Some(username) => attempt(username).await,
            None => Err(Error::Unauthorized),
        };
        visit.ends(outcome)
    }

    /// Logs the result, and returns it.
    pub fn ends<T>(mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        match &outcome {
            // If the admin then changes something, that is logged on its own line.
            Ok(_) if self.door == Door::Admin => self.is_told = true,
            Ok(_) => self.tell("ok"),
            Err(error) => self.tell(error.code()),
        }
        outcome
    }

    fn tell(&mut self, outcome: &'static str) {
        self.is_told = true;
        let door = match self.door {
            Door::SignIn => "sign-in",
            Door::Basic => "basic",
            Door::Reset => "password reset",
            Door::Admin => "admin token",
        };
        let user = self.user.as_ref().map(Username::as_str);
        let what = if outcome == "ok" { "let in" } else { "not let in" };
        tracing::info!(target: log::ACCESS, door, user, address = %self.from, outcome, "{what}");
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell("gone");
        }
    }
}

/// Logs an admin's action on a user: `act`, such as `user revoked`.
pub fn admin_did(act: &'static str, user: &Username, from: ClientAddress) {
    tracing::info!(target: log::ADMIN, user = user.as_str(), address = %from, "{act}");
}
