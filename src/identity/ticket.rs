//! Signing in by ticket: [`Identity::ticket`] issues one, and [`Identity::by_ticket`] takes it.

use super::tickets::{Pass, Right, Ticket};
use super::{Identity, Principal};
use crate::central::TicketUse;
use crate::domain::AuthContext;
use crate::error::Error;

impl Identity {
    /// Issues a ticket, with which a stream can be opened once, soon.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many tickets wait to be used; [`Error::Unauthorized`] for a guest.
    pub async fn ticket(&self, principal: &Principal) -> Result<String, Error> {
        let AuthContext::User(sign_in) = &principal.auth_context else { return Err(Error::Unauthorized) };
        let now = self.0.clock.now();
        let right = Right {
            username: principal.username.clone(),
            sign_in: *sign_in,
            expires_at: principal.expires_at.unwrap_or_else(|| now + self.0.settings.sign_ins.jwt_expiry),
        };
        self.0.tickets.issue(&self.0.tokens, &right, now).await
    }

    /// Signs a user in by a ticket. A fresh ticket is enough, and returns a pass for reconnecting if the ticket is
    /// used. A ticket that is used or expired needs a pass of the same user.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if the ticket or the pass is expired, revoked or wrong.
    pub async fn by_ticket<'a>(
        &self,
        ticket: &str,
        passes: impl IntoIterator<Item = &'a str>,
        to: TicketUse,
    ) -> Result<(Principal, Option<Pass>), Error> {
        let (tickets, tokens, now) = (&self.0.tickets, &self.0.tokens, self.0.clock.now());
        let (right, pass) = match tickets.read(tokens, ticket, now, to).await? {
            Ticket::Fresh(right) if to == TicketUse::Look => (right, None),
            Ticket::Fresh(right) => {
                let pass = tickets.issue_pass(tokens, &right, now)?;
                (right, Some(pass))
            }
            Ticket::Spent(username) => {
                let mut rights = passes.into_iter().filter_map(|pass| tickets.read_pass(tokens, pass, now).ok());
                (rights.find(|right| right.username == username).ok_or(Error::Unauthorized)?, None)
            }
        };
        let Right { username, sign_in, expires_at } = right;
        Ok((self.of_sign_in(username, sign_in, Some(expires_at))?, pass))
    }
}
