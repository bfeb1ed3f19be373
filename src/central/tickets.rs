//! Tickets that are not spent yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::domain::{Timestamp, Username};
use crate::error::Error;

/// How many tickets may wait to be used, of about 200 bytes each. At this number, the user with the most tickets loses
/// the oldest one to a user with fewer, so that a few users cannot lock out all others.
const WAITING: usize = 65_536;
/// How many of them one user may have, even while there is room.
const WAITING_OF_ONE: usize = 4_096;
/// How many expired tickets are removed when one is issued. Thousands may expire in the same second, and all other
/// requests wait during the removal. It is more than one, so that they go faster than new ones come.
const EXPIRED_AT_ONCE: usize = 32;

/// The number of a ticket, which cannot be guessed: the server that issued it, and random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TicketNumber(u128);

/// Where the number of the server stands in that of a ticket.
const SERVER_SHIFT: u32 = 112;

/// The purpose for which a ticket is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketUse {
    /// To open a stream, which uses it.
    Open,
    /// To check it without using it.
    Look,
}

impl TicketNumber {
    /// Draws the number of a ticket that a server issues.
    pub(super) fn draw(server: u16) -> Self {
        let random = u128::from_be_bytes(crate::random::bytes()) & ((1 << SERVER_SHIFT) - 1);
        Self(u128::from(server) << SERVER_SHIFT | random)
    }

    /// The server that issued it.
    pub(super) fn server(self) -> u16 {
        (self.0 >> SERVER_SHIFT) as u16
    }

    /// Reads a number.
    pub fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for TicketNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// When a ticket expires, and its number.
type Key = (Timestamp, TicketNumber);

/// The tickets that may still be used, in the order in which they expire.
#[derive(Default)]
pub struct Unspent {
    tickets: BTreeMap<Key, Username>,
    of_one: HashMap<Username, BTreeSet<Key>>,
    /// The users with tickets by their number of tickets. The user with the most is last.
    ranks: BTreeSet<(usize, Username)>,
}

impl Unspent {
    /// Adds one that is issued now.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if too many wait to be used.
    pub fn add(&mut self, ticket: Key, username: &Username, now: Timestamp) -> Result<(), Error> {
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

    /// Whether it is there.
    pub fn has(&self, ticket: Key) -> bool {
        self.tickets.contains_key(&ticket)
    }

    /// The oldest ticket of the user with the most tickets, if that user has more than this many.
    fn oldest_of_most(&self, than: usize) -> Option<Key> {
        let (_, most) = self.ranks.last().filter(|(most, _)| *most > than)?;
        self.of_one.get(most)?.first().copied()
    }

    /// Removes a ticket, and returns whether it was there.
    pub fn remove(&mut self, ticket: Key) -> bool {
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
