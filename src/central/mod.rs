//! What has to be counted, or known, in one place for all servers of a database: guesses, rates, tickets that are not spent.
//!
//! [`Central`] is the only door to it. A question and its answer are plain data, and an answer is awaited, so that the place may be
//! another server one day. Today it is this one, and every answer is ready at once, but for a guess that waits for the results of others.

mod attempts;
mod rates;
mod throttle;
mod tickets;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{TenantName, Timestamp, Username};
use crate::error::Error;

pub use attempts::{Attempt, GuessAt};
pub use tickets::{TicketNumber, TicketUse};

use rates::Rates;
use throttle::Throttle;
use tickets::Unspent;

/// What has a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Inserts of events, and what counts as much.
    Inserts,
    /// Connections of MQTT.
    MqttConnects,
}

/// The door to what is counted or known in one place. A cheap clone.
#[derive(Clone)]
pub struct Central(Arc<Tables>);

struct Tables {
    guesses: Throttle,
    inserts: Rates,
    mqtt_connects: Rates,
    /// Those that this server has issued.
    tickets: Mutex<Unspent>,
    /// The number of this server, which is in the numbers of its tickets.
    server: u16,
}

/// The number of a server that is the only one of its database.
const ALONE: u16 = 0;

impl Central {
    /// A server by itself is the one place. No rate is limited until a limit is set.
    pub fn alone() -> Self {
        Self::of_server(ALONE)
    }

    fn of_server(server: u16) -> Self {
        let (guesses, inserts, mqtt_connects) = (Throttle::new(), Rates::default(), Rates::default());
        Self(Arc::new(Tables { guesses, inserts, mqtt_connects, tickets: Mutex::default(), server }))
    }

    fn rates(&self, rate: Rate) -> &Rates {
        match rate {
            Rate::Inserts => &self.0.inserts,
            Rate::MqttConnects => &self.0.mqtt_connects,
        }
    }

    /// Sets how much a user, and a tenant, may do in a second; 0 is no limit. What was taken before stays taken.
    pub fn set_rate(&self, rate: Rate, of_user: u32, of_tenant: u32) {
        self.rates(rate).set(of_user, of_tenant);
    }

    /// Takes so much from the allowances of a user and a tenant, or from neither: a user who is refused because of others pays nothing for
    /// it.
    ///
    /// # Errors
    /// [`Error::InsertRateExceeded`].
    pub async fn take(&self, rate: Rate, of: (&Username, &TenantName), count: usize) -> Result<(), Error> {
        self.take_here(rate, of, count)
    }

    /// The same where changes are decided: for a change that goes there anyway, nothing need be asked before.
    ///
    /// # Errors
    /// As [`Central::take`].
    pub fn take_here(&self, rate: Rate, of: (&Username, &TenantName), count: usize) -> Result<(), Error> {
        let (username, tenant) = of;
        self.rates(rate).take(username, tenant, count)
    }

    fn unspent(&self) -> MutexGuard<'_, Unspent> {
        self.0.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Issues a ticket to a user, and returns its number. The server that issues it is the one place that knows it.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many tickets wait to be used.
    pub async fn issue_ticket(
        &self,
        username: &Username,
        ends_at: Timestamp,
        now: Timestamp,
    ) -> Result<TicketNumber, Error> {
        let number = TicketNumber::draw(self.0.server);
        self.unspent().add((ends_at, number), username, now)?;
        Ok(number)
    }

    /// Whether a ticket that ends at a moment is still to be spent. To open a stream it is spent by that.
    pub async fn show_ticket(&self, number: TicketNumber, ends_at: Timestamp, to: TicketUse) -> bool {
        // There is no other server to ask.
        number.server() == self.0.server
            && match to {
                TicketUse::Open => self.unspent().remove((ends_at, number)),
                TicketUse::Look => self.unspent().has((ends_at, number)),
            }
    }
}

#[cfg(test)]
mod tests;
