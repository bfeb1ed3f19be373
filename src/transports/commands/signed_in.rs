//! A client that has signed in, and what it asks for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::answer::{Answer, Outcome};
use super::body::{Body, Verb};
use crate::app::{Inserting, Services};
use crate::domain::{FilterChange, Timestamp};
use crate::error::Error;
use crate::events::{Changing, Condition, StreamId};
use crate::identity::Principal;
use crate::transports::inserts::{Inserts, MAX_INSERT_BYTES};

/// How much may be in flight on a connection before nothing more is read: this many inserts and changes, of which a large one, and one
/// with a condition, count as several.
pub const MAX_IN_FLIGHT: usize = 64;
/// How many a condition counts as: a refusal has the event that is there instead.
const CONDITION_WEIGHT: usize = 16;
/// How many bytes of a command count as one insert, so that the largest is alone: the writer's queue is for all connections.
const BYTES_A_WEIGHT: usize = MAX_INSERT_BYTES / MAX_IN_FLIGHT;

/// Who has signed in on a connection, and by which stream.
pub struct SignedIn {
    /// Who it is.
    pub principal: Principal,
    /// A client that showed a ticket may only read.
    may_insert: bool,
    /// The name of the stream.
    pub stream: StreamId,
}

/// What a command came to.
pub enum Obeyed {
    /// It is done.
    Now(Answer),
    /// It will be.
    Later(Doing),
}

/// A command that is being carried out. It is, whether this is awaited or not.
pub enum Doing {
    /// An insert or a removal.
    Insert {
        /// Resolves when it is on disk.
        inserting: Inserting,
        /// Whether the events came in an array.
        is_array: bool,
        /// How many it counts as.
        weight: usize,
    },
    /// A change of the stream's filter.
    Change(Changing),
}

impl SignedIn {
    /// A client that has shown who it is by a token, or by a ticket.
    pub fn new(principal: Principal, by_ticket: bool, stream: StreamId) -> Self {
        Self { principal, may_insert: !by_ticket, stream }
    }

    /// Carries out a command, after all that were asked for before on this thread.
    ///
    /// # Errors
    /// Why it is refused: those of reading its fields, and of the entry points in [`Services::events`].
    pub fn obey(&mut self, services: &Services, verb: Verb, body: &Body<'_>) -> Result<Obeyed, Error> {
        Ok(match verb {
            Verb::SignIn => return Err(Error::SignedInAlready),
            Verb::Subscribe => self.change(services, FilterChange::Add(body.names()?))?,
            Verb::Unsubscribe => self.change(services, FilterChange::Remove(body.names()?))?,
            Verb::Insert => self.insert(services, body.inserts(&services.events)?, body)?,
            Verb::Remove => self.insert(services, body.removal()?, body)?,
            Verb::Renew => self.renew(services, &body.token()?)?,
            Verb::Ping => Obeyed::Now(Answer::nothing()),
        })
    }

    fn change(&self, services: &Services, change: FilterChange) -> Result<Obeyed, Error> {
        let changing = services.events.change_filter(&self.principal, self.stream, change)?;
        Ok(Obeyed::Later(Doing::Change(changing)))
    }

    fn insert(&self, services: &Services, inserts: Inserts, body: &Body<'_>) -> Result<Obeyed, Error> {
        if !self.may_insert {
            return Err(Error::TicketReadsOnly);
        }
        let options = body.options(&inserts, self.stream)?;
        let weight = weight(options.condition, body.length());
        let Inserts { events, is_array, .. } = inserts;
        let inserting = services.events.insert(&self.principal, events, is_array, options)?;
        Ok(Obeyed::Later(Doing::Insert { inserting, is_array, weight }))
    }

    /// Takes a later token of the same user. With one that is refused everything stays as it was.
    fn renew(&mut self, services: &Services, token: &str) -> Result<Obeyed, Error> {
        let mut renewed = services.identity.bearer(token)?;
        if renewed.username != self.principal.username {
            return Err(Error::Unauthorized);
        }
        // The stream and the connection go on until the same moment, which is that of the token only if it is the later one.
        renewed.expires_at = services.events.renew(&renewed, self.stream)?;
        let expires_at = renewed.expires_at.map(Timestamp::as_millis);
        (self.principal, self.may_insert) = (renewed, true);
        Ok(Obeyed::Now(Answer::done(Outcome::Renewed { expires_at })))
    }
}

/// How much an insert counts as whose command has so many bytes.
fn weight(condition: Condition, bytes: usize) -> usize {
    let of_condition = if condition == Condition::None { 1 } else { CONDITION_WEIGHT };
    of_condition + bytes / BYTES_A_WEIGHT
}

impl Doing {
    /// How many it counts as of [`MAX_IN_FLIGHT`].
    pub fn weight(&self) -> usize {
        match self {
            Self::Insert { weight, .. } => *weight,
            Self::Change(_) => 1,
        }
    }

    /// Becomes ready when it is done. Wakes as a future does.
    pub fn poll(&mut self, services: &Services, context: &mut Context<'_>) -> Poll<Answer> {
        match self {
            Self::Insert { inserting, is_array, .. } => Pin::new(inserting)
                .poll(context)
                .map(|inserted| Answer::of_insert(inserted, *is_array, &services.events)),
            Self::Change(changing) => Pin::new(changing).poll(context).map(|changed| match changed {
                Ok(change) => Answer::done(Outcome::Changed { change }),
                Err(error) => Answer::refused(error),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_64_small_inserts_in_flight_or_4_with_a_condition_or_1_of_the_largest() {
        for (condition, bytes, most) in
            [(Condition::None, 100, 64), (Condition::IsNew, 100, 4), (Condition::None, MAX_INSERT_BYTES, 1)]
        {
            let weight = weight(condition, bytes);
            assert_eq!(MAX_IN_FLIGHT.div_ceil(weight), most, "{condition:?} {bytes}");
        }
    }
}
