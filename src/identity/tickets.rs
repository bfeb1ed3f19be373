//! Tickets and passes, for a browser's own `EventSource`, which cannot send a header. A *ticket* stands in the URL, and
//! works once, for some seconds. A *pass* is a cookie: with it the same URL works again when the browser reconnects by
//! itself. Neither allows more, or lasts longer, than the sign-in that it was issued for.

use std::time::Duration;

use jsonwebtoken::Validation;
use serde::{Deserialize, Serialize};

use super::token::{Tokens, from_hex, issued_by, session_of, to_hex};
use crate::central::{Central, TicketNumber, TicketUse};
use crate::domain::{SignIn, Timestamp, Username};
use crate::error::Error;

/// How long a ticket is valid. It is short because a proxy may log the URL.
pub const TICKET_LASTS: Duration = Duration::from_secs(30);

const TICKET_ISSUER: &str = "Broker ticket";
const PASS_ISSUER: &str = "Broker pass";
/// Lets a browser that opened a stream with a ticket reconnect with the same ticket. It has no `Debug`, so that it is
/// never logged.
pub struct Pass {
    /// The pass itself, a JWT.
    pub token: String,
    /// How long it is valid.
    pub lasts: Duration,
}

/// Issues and checks tickets and passes.
pub(super) struct Tickets {
    ticket: Validation,
    pass: Validation,
    /// Knows the tickets that may still be used. All others were used, have expired, or were issued before a restart.
    central: Central,
}

/// The rights of a ticket or a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    pub username: Username,
    /// The sign-in that it was issued for.
    pub sign_in: SignIn,
    /// When that expires.
    pub expires_at: Timestamp,
}

/// The result of checking a ticket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    /// Valid, and used for the first time.
    Fresh(Right),
    /// Issued to this user, but used or expired: it counts only together with a pass.
    Spent(Username),
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    iat: u64,
    exp: u64,
    /// As in a token.
    #[serde(rename = "gen")]
    generation: String,
    /// When the sign-in expires. A pass expires then, too.
    until: u64,
    /// Whether the sign-in was a password alone.
    basic: bool,
    /// As in a token.
    #[serde(rename = "sid", skip_serializing_if = "Option::is_none", default)]
    session: Option<String>,
    /// The number of a ticket. It cannot be guessed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    jti: Option<String>,
}

impl Right {
    fn claims(&self, issuer: &str, now: Timestamp, ends_at: Timestamp, number: Option<TicketNumber>) -> Claims {
        Claims {
            iss: issuer.to_owned(),
            sub: self.username.to_string(),
            iat: now.as_secs(),
            exp: ends_at.as_secs(),
            generation: to_hex(self.sign_in.generation),
            until: self.expires_at.as_secs(),
            basic: self.sign_in.by_password_alone,
            session: self.sign_in.session.map(|session| session.to_string()),
            jti: number.map(|number| number.to_string()),
        }
    }
}

impl TryFrom<Claims> for Right {
    type Error = Error;

    fn try_from(claims: Claims) -> Result<Self, Error> {
        Ok(Self {
            username: Username::parse(&claims.sub).map_err(|_| Error::Unauthorized)?,
            sign_in: SignIn {
                generation: from_hex(&claims.generation)?,
                by_password_alone: claims.basic,
                session: session_of(claims.session.as_deref())?,
            },
            expires_at: Timestamp::from_secs(claims.until),
        })
    }
}

impl Tickets {
    pub(super) fn new(central: Central) -> Self {
        Self { ticket: issued_by(TICKET_ISSUER), pass: issued_by(PASS_ISSUER), central }
    }

    pub(super) async fn issue(&self, tokens: &Tokens, right: &Right, now: Timestamp) -> Result<String, Error> {
        // Claims have whole seconds, so the remembered moment must have whole seconds, too.
        let ends_at = Timestamp::from_secs((now + TICKET_LASTS).as_secs());
        let number = self.central.issue_ticket(&right.username, ends_at, now).await?;
        tokens.sign(&right.claims(TICKET_ISSUER, now, ends_at, Some(number)))
    }

    /// Checks a ticket. A fresh ticket is used up by this, unless it is only looked at.
    pub(super) async fn read(
        &self,
        tokens: &Tokens,
        ticket: &str,
        now: Timestamp,
        to: TicketUse,
    ) -> Result<Ticket, Error> {
        let claims: Claims = tokens.open(ticket, &self.ticket)?;
        let ends_at = Timestamp::from_secs(claims.exp);
        let number = claims.jti.as_deref().and_then(TicketNumber::parse).ok_or(Error::Unauthorized)?;
        let right = Right::try_from(claims)?;
        let was_unspent = self.central.show_ticket(number, ends_at, to).await;
        let is_fresh = was_unspent && ends_at > now && right.expires_at > now;
        Ok(if is_fresh { Ticket::Fresh(right) } else { Ticket::Spent(right.username) })
    }

    pub(super) fn issue_pass(&self, tokens: &Tokens, right: &Right, now: Timestamp) -> Result<Pass, Error> {
        let token = tokens.sign(&right.claims(PASS_ISSUER, now, right.expires_at, None))?;
        Ok(Pass { token, lasts: right.expires_at.since(now) })
    }

    pub(super) fn read_pass(&self, tokens: &Tokens, pass: &str, now: Timestamp) -> Result<Right, Error> {
        let right = Right::try_from(tokens.open::<Claims>(pass, &self.pass)?)?;
        if right.expires_at > now { Ok(right) } else { Err(Error::Unauthorized) }
    }
}

#[cfg(test)]
mod tests;
