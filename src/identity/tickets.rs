//! Tickets and passes, for a browser's own `EventSource`, which cannot send a header. A *ticket* stands in the URL, and
//! works once, for some seconds. A *pass* is a cookie: with it the same URL works again when the browser reconnects by
//! itself. Neither allows more, or lasts longer, than the sign-in that it was issued for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::Validation;
use serde::{Deserialize, Serialize};

use super::token::{Tokens, from_hex, issued_by, session_of, to_hex};
use crate::domain::{SignIn, Timestamp, Username};
use crate::error::Error;

/// How long a ticket is valid. It is short because a proxy may log the URL.
pub const TICKET_LASTS: Duration = Duration::from_secs(30);

const TICKET_ISSUER: &str = "Broker ticket";
const PASS_ISSUER: &str = "Broker pass";
/// How many tickets may wait to be used, of about 200 bytes each. At this number, the user with the most tickets loses
/// the oldest one to a user with fewer, so that a few users cannot lock out all others.
const WAITING: usize = 65_536;
/// How many of them one user may have, even while there is room.
const WAITING_OF_ONE: usize = 4_096;
/// How many expired tickets are removed when one is issued. Thousands may expire in the same second, and all other
/// requests wait during the removal. It is more than one, so that they go faster than new ones come.
const EXPIRED_AT_ONCE: usize = 32;

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
    /// The tickets that may still be used. All others were used, have expired, or were issued before a restart.
    waiting: Mutex<Waiting>,
}

/// The purpose for which a ticket is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketUse {
    /// To open a stream, which uses it.
    Open,
    /// To check it without using it.
    Look,
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
    fn claims(&self, issuer: &str, now: Timestamp, ends_at: Timestamp, number: Option<u128>) -> Claims {
        Claims {
            iss: issuer.to_owned(),
            sub: self.username.to_string(),
            iat: now.as_secs(),
            exp: ends_at.as_secs(),
            generation: to_hex(self.sign_in.generation),
            until: self.expires_at.as_secs(),
            basic: self.sign_in.by_password_alone,
            session: self.sign_in.session.map(|session| session.to_string()),
            jti: number.map(|number| format!("{number:032x}")),
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
    pub(super) fn new() -> Self {
        Self { ticket: issued_by(TICKET_ISSUER), pass: issued_by(PASS_ISSUER), waiting: Mutex::default() }
    }

    pub(super) fn issue(&self, tokens: &Tokens, right: &Right, now: Timestamp) -> Result<String, Error> {
        // Claims have whole seconds, so the remembered moment must have whole seconds, too.
        let ends_at = Timestamp::from_secs((now + TICKET_LASTS).as_secs());
        let number = u128::from_be_bytes(crate::random::bytes());
        self.waiting(|waiting| waiting.add((ends_at, number), &right.username, now))?;
        tokens.sign(&right.claims(TICKET_ISSUER, now, ends_at, Some(number)))
    }

    /// Checks a ticket. A fresh ticket is used up by this, unless it is only looked at.
    pub(super) fn read(&self, tokens: &Tokens, ticket: &str, now: Timestamp, to: TicketUse) -> Result<Ticket, Error> {
        let claims: Claims = tokens.open(ticket, &self.ticket)?;
        let ends_at = Timestamp::from_secs(claims.exp);
        let number = claims.jti.as_deref().and_then(|number| u128::from_str_radix(number, 16).ok());
        let number = number.ok_or(Error::Unauthorized)?;
        let right = Right::try_from(claims)?;
        let was_waiting = self.waiting(|waiting| match to {
            TicketUse::Open => waiting.remove((ends_at, number)),
            TicketUse::Look => waiting.tickets.contains_key(&(ends_at, number)),
        });
        let is_fresh = was_waiting && ends_at > now && right.expires_at > now;
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

    fn waiting<T>(&self, with: impl FnOnce(&mut Waiting) -> T) -> T {
        with(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// When a ticket expires, and its number.
type Key = (Timestamp, u128);

/// The tickets that may still be used, in the order in which they expire.
#[derive(Default)]
struct Waiting {
    tickets: BTreeMap<Key, Username>,
    of_one: HashMap<Username, BTreeSet<Key>>,
    /// The users with tickets by their number of tickets. The user with the most is last.
    ranks: BTreeSet<(usize, Username)>,
}

impl Waiting {
    fn add(&mut self, ticket: Key, username: &Username, now: Timestamp) -> Result<(), Error> {
        for _ in 0..EXPIRED_AT_ONCE {
            match self.tickets.first_key_value() {
                Some((&first, _)) if first.0 <= now => self.remove(first),
                _ => break,
            };
        }
        let mut own = self.of_one.get(username).map_or(0, BTreeSet::len);
        if own >= WAITING_OF_ONE {
            let oldest = self.of_one.get(username).and_then(|own| own.first().copied());
            let expired = oldest.filter(|(ends_at, _)| *ends_at <= now).ok_or(Error::Overloaded)?;
            self.remove(expired);
            own -= 1;
        }
        if self.tickets.len() >= WAITING {
            let displaced = self.oldest_of_most(own + 1).ok_or(Error::Overloaded)?;
            self.remove(displaced);
        }
        self.tickets.insert(ticket, username.clone());
        self.of_one.entry(username.clone()).or_default().insert(ticket);
        self.rank(username, own, own + 1);
        Ok(())
    }

    /// The oldest ticket of the user with the most tickets, if that user has more than this many.
    fn oldest_of_most(&self, than: usize) -> Option<Key> {
        let (_, most) = self.ranks.last().filter(|(most, _)| *most > than)?;
        self.of_one.get(most)?.first().copied()
    }

    /// Removes a ticket, and returns whether it was there.
    fn remove(&mut self, ticket: Key) -> bool {
        let Some(username) = self.tickets.remove(&ticket) else { return false };
        if let Some(own) = self.of_one.get_mut(&username) {
            own.remove(&ticket);
            let left = own.len();
            if left == 0 {
                self.of_one.remove(&username);
            }
            self.rank(&username, left + 1, left);
        }
        true
    }

    fn rank(&mut self, username: &Username, before: usize, now: usize) {
        self.ranks.remove(&(before, username.clone()));
        if now > 0 {
            self.ranks.insert((now, username.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
