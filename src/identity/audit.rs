//! What the log says of who came to a door: one line each, with user, address and what came of it, and nothing secret.
//!
//! Anybody can cause such a line, so there are limits ([`crate::log::ACCESS`]), and what is in it is bounded: a name that nobody can
//! have is not written at all.

use crate::domain::{ClientAddress, Username};
use crate::error::Error;
use crate::log;

/// Where somebody has to show who they are.
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

/// Somebody at a door, until it is known what comes of it.
///
/// Dropped before that, whoever came has gone, and that is a line too: who hangs up before the answer has guessed as well.
#[must_use]
pub struct Visit {
    door: Door,
    user: Option<Username>,
    from: ClientAddress,
    is_told: bool,
}

impl Visit {
    /// Somebody comes. `user` is whom they say they are, where that is a name at all.
    pub fn at(door: Door, user: Option<Username>, from: ClientAddress) -> Self {
        Self { door, user, from, is_told: false }
    }

    /// What came of it, which is given back.
    pub fn ends<T>(mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        match &outcome {
            // What they do then is a line of its own, where it changes something.
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

/// Says what an admin has done to a user: `act`, such as `user revoked`.
pub fn admin_did(act: &'static str, user: &Username, from: ClientAddress) {
    tracing::info!(target: log::ADMIN, user = user.as_str(), address = %from, "{act}");
}
