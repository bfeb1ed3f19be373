//! The audit log: one line for each sign-in or similar attempt, for each action of an admin on a user, and for each of a user on their
//! own account, with user, address and result, without secrets.
//!
//! Anybody can cause a line about an attempt, so those are limited ([`crate::log::ACCESS`]). All lines are bounded: an
//! invalid name is not written at all.

use crate::domain::{ClientAddress, Username};
use crate::error::Error;
use crate::log::{self, RequestId};
use crate::metrics::Metrics;

/// The kinds of authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A password, and perhaps a code, for a token.
    SignIn,
    /// A password with a request.
    Basic,
    /// A reset code.
    Reset,
    /// A sign-up.
    SignUp,
    /// A new password, by whoever knows the old one.
    NewPassword,
    /// The deletion of the own account.
    Deletion,
    /// A refresh token.
    Refresh,
    /// The beginning of two-factor authentication, which counts for nothing yet.
    TwoFactorBegin,
    /// Two-factor authentication, switched on.
    TwoFactorOn,
    /// Two-factor authentication, switched off.
    TwoFactorOff,
    /// The admin token.
    Admin,
    /// The key of the channels.
    Channels,
    /// The key of handlers of MQTT.
    MqttHandler,
}

impl Door {
    /// How the log and the metrics call it.
    fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Basic => "basic",
            Self::Reset => "password reset",
            Self::SignUp => "sign-up",
            Self::NewPassword => "password change",
            Self::Deletion => "account deletion",
            Self::Refresh => "refresh",
            Self::TwoFactorBegin => "two-factor begin",
            Self::TwoFactorOn => "two-factor on",
            Self::TwoFactorOff => "two-factor off",
            Self::Admin => "admin token",
            Self::Channels => "channel key",
            Self::MqttHandler => "mqtt handler key",
        }
    }
}

/// An authentication attempt, until its result is known.
///
/// If it is dropped before that, the client has disconnected, which is logged, too: a client that hangs up before the
/// answer has guessed as well.
#[must_use]
pub struct Visit {
    metrics: Metrics,
    door: Door,
    user: Option<Username>,
    from: ClientAddress,
    request_id: Option<RequestId>,
    is_told: bool,
}

/// What is logged of a refresh token that another one had replaced, instead of the code of its refusal.
const REUSED: &str = "refresh_token_reused";

impl Visit {
    /// Begins an attempt. `user` is the claimed username, if it is a valid name.
    pub fn at(metrics: &Metrics, door: Door, user: Option<Username>, from: ClientAddress) -> Self {
        Self { metrics: metrics.clone(), door, user, from, request_id: RequestId::current(), is_told: false }
    }

    /// Lets somebody try who claims a name, and logs the result. An invalid name is nobody's, so it is refused without
    /// a try.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the name is invalid; those of `attempt`.
    pub async fn of_claimed<T>(
        metrics: &Metrics,
        door: Door,
        name: &str,
        from: ClientAddress,
        attempt: impl AsyncFnOnce(Username) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let username = Username::parse(name).ok();
        let visit = Self::at(metrics, door, username.clone(), from);
        let outcome = match username {
            Some(username) => attempt(username).await,
            None => Err(Error::Unauthorized),
        };
        visit.ends(outcome)
    }

    /// Notes whose attempt it is, once that is known.
    pub fn is_of(&mut self, username: Username) {
        self.user = Some(username);
    }

    /// Logs that a refresh token was used which another one had replaced. Returns its refusal, which looks like any other.
    pub fn was_reused(&mut self) -> Error {
        self.tell(REUSED);
        Error::SessionEnded
    }

    /// Logs the result, and returns it.
    pub fn ends<T>(mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        match &outcome {
            _ if self.is_told => {}
            // If the admin then changes something, that is logged on its own line. A message to a channel is no news of an account, nor
            // is that it goes on.
            Ok(_) if matches!(self.door, Door::Admin | Door::Channels | Door::Refresh) => {
                self.is_told = true;
                self.metrics.signed_in(self.door.name(), "ok");
            }
            Ok(_) => self.tell("ok"),
            Err(error) => self.tell(error.code()),
        }
        outcome
    }

    fn tell(&mut self, outcome: &'static str) {
        self.is_told = true;
        let door = self.door.name();
        self.metrics.signed_in(door, outcome);
        let user = self.user.as_ref().map(Username::as_str);
        let what = if outcome == "ok" { "let in" } else { "not let in" };
        let request_id = self.request_id.as_deref();
        tracing::info!(target: log::ACCESS, door, user, address = %self.from, outcome, request_id, "{what}");
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell("gone");
        }
    }
}

/// An admin's action on a user, or a user's own action on their account, until its result is known.
///
/// If it is dropped before that, the client has disconnected, which is logged, too: the action may be carried out.
#[must_use]
pub struct Act {
    what: &'static str,
    done: &'static str,
    user: Option<Username>,
    is_by_owner: bool,
    from: ClientAddress,
    request_id: Option<RequestId>,
    is_told: bool,
}

impl Act {
    /// Begins an admin's action: `what` is to be `done`, as in `user revoked`. `user` is written if it is a valid name.
    pub fn on(user: &str, what: &'static str, done: &'static str, from: ClientAddress) -> Self {
        Self::begin(Username::parse(user).ok(), what, done, false, from)
    }

    /// Begins an action of a user on their own account.
    pub fn by_owner(user: &Username, what: &'static str, done: &'static str, from: ClientAddress) -> Self {
        Self::begin(Some(user.clone()), what, done, true, from)
    }

    fn begin(
        user: Option<Username>,
        what: &'static str,
        done: &'static str,
        is_by_owner: bool,
        from: ClientAddress,
    ) -> Self {
        Self { what, done, user, is_by_owner, from, request_id: RequestId::current(), is_told: false }
    }

    /// Logs the result, and returns it.
    pub fn ends<T>(mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.tell(outcome.as_ref().err().map_or("ok", Error::code));
        outcome
    }

    fn tell(&mut self, outcome: &'static str) {
        self.is_told = true;
        let Self { what, done, from, .. } = self;
        let (user, request_id) = (self.user.as_ref().map(Username::as_str), self.request_id.as_deref());
        let not = if outcome == "ok" { "" } else { "not " };
        if self.is_by_owner {
            // Any user can cause it, so it is limited as attempts are.
            tracing::info!(target: log::ACCESS, door = "account", user, address = %from, outcome, request_id, "{what} {not}{done}");
        } else {
            tracing::info!(target: log::ADMIN, user, address = %from, outcome, request_id, "{what} {not}{done}");
        }
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell("gone");
        }
    }
}
