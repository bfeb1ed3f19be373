//! For browsers' own `EventSource`, which cannot send a header: a *ticket* in the URL, good once and for seconds, and a
//! *pass*, which the browser keeps as a cookie, and with which the same URL is good again when it reconnects by itself.
//! Neither is worth more, or lasts longer, than the proof that it was got by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::Validation;
use serde::{Deserialize, Serialize};

use super::token::{Tokens, from_hex, issued_by, to_hex};
use super::{Identity, Principal};
use crate::domain::{Generation, Timestamp, Username};
use crate::error::Error;

/// How long a ticket may wait to be used. It stands in a URL, which a proxy may log.
pub const TICKET_LASTS: Duration = Duration::from_secs(30);

const TICKET_ISSUER: &str = "Broker ticket";
const PASS_ISSUER: &str = "Broker pass";
/// How many tickets may wait to be used, of about 200 bytes each. When there are so many, the user who has most of them loses the
/// oldest to one who has fewer, so that no few users can take the room of all others.
const WAITING: usize = 65_536;
/// How many of them one user may have, also while there is room.
const WAITING_OF_ONE: usize = 4_096;
/// How many that have expired go when one comes. They end with whole seconds, so thousands may at once, and all others wait meanwhile.
/// It is more than one, so that they go faster than others come.
const EXPIRED_AT_ONCE: usize = 32;

/// Lets the browser that opened a stream by a ticket come back with that ticket. It prints nothing of itself.
pub struct Pass {
    /// A JWT.
    pub token: String,
    /// For how long it is good.
    pub lasts: Duration,
}

/// Issues tickets and passes, and reads them.
pub(super) struct Tickets {
    ticket: Validation,
    pass: Validation,
    /// Those that may still be used. What is not in here was used, has expired, or was issued before a restart.
    waiting: Mutex<Waiting>,
}

/// What somebody shows a ticket for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketUse {
    /// To open a stream, which uses it.
    Open,
    /// To see what would be answered.
    Look,
}

/// What a ticket and a pass are good for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    username: Username,
    generation: Generation,
    /// The end of the proof that it was got by.
    expires_at: Timestamp,
    /// Whether that proof was a password alone.
    by_password_alone: bool,
}

/// What a ticket turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Ticket {
    /// Used for the first time, in time.
    Fresh(Right),
    /// Once issued to this user: worth something only together with a pass.
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
    /// When the proof ends; a pass ends then too.
    until: u64,
    /// Whether the proof was a password alone.
    basic: bool,
    /// A ticket's number, which nobody can guess.
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
            generation: to_hex(self.generation),
            until: self.expires_at.as_secs(),
            basic: self.by_password_alone,
            jti: number.map(|number| format!("{number:032x}")),
        }
    }
}

impl TryFrom<Claims> for Right {
    type Error = Error;

    fn try_from(claims: Claims) -> Result<Self, Error> {
        Ok(Self {
            username: Username::parse(&claims.sub).map_err(|_| Error::Unauthorized)?,
            generation: from_hex(&claims.generation)?,
            expires_at: Timestamp::from_secs(claims.until),
            by_password_alone: claims.basic,
        })
    }
}

impl Tickets {
    pub(super) fn new() -> Self {
        Self { ticket: issued_by(TICKET_ISSUER), pass: issued_by(PASS_ISSUER), waiting: Mutex::default() }
    }

    fn issue(&self, tokens: &Tokens, right: &Right, now: Timestamp) -> Result<String, Error> {
        // What it says has whole seconds, and so must what is remembered.
        let ends_at = Timestamp::from_secs((now + TICKET_LASTS).as_secs());
        let number = u128::from_be_bytes(crate::random::bytes());
        self.waiting(|waiting| waiting.add((ends_at, number), &right.username, now))?;
        tokens.sign(&right.claims(TICKET_ISSUER, now, ends_at, Some(number)))
    }

    /// Reads a ticket. One that is fresh is used by that, unless it is only looked at.
    fn read(&self, tokens: &Tokens, ticket: &str, now: Timestamp, to: TicketUse) -> Result<Ticket, Error> {
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

    fn issue_pass(&self, tokens: &Tokens, right: &Right, now: Timestamp) -> Result<Pass, Error> {
        let token = tokens.sign(&right.claims(PASS_ISSUER, now, right.expires_at, None))?;
        Ok(Pass { token, lasts: right.expires_at.since(now) })
    }

    fn read_pass(&self, tokens: &Tokens, pass: &str, now: Timestamp) -> Result<Right, Error> {
        let right = Right::try_from(tokens.open::<Claims>(pass, &self.pass)?)?;
        if right.expires_at > now { Ok(right) } else { Err(Error::Unauthorized) }
    }

    fn waiting<T>(&self, with: impl FnOnce(&mut Waiting) -> T) -> T {
        with(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// When a ticket ends, and its number.
type Key = (Timestamp, u128);

/// The tickets that may still be used, those that end first before the others.
#[derive(Default)]
struct Waiting {
    tickets: BTreeMap<Key, Username>,
    of_one: HashMap<Username, BTreeSet<Key>>,
    /// Everybody who has some, and how many, with who has most at the end.
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

    /// The oldest ticket of the user who has most, where those are more than so many.
    fn oldest_of_most(&self, than: usize) -> Option<Key> {
        let (_, most) = self.ranks.last().filter(|(most, _)| *most > than)?;
        self.of_one.get(most)?.first().copied()
    }

    /// Whether it was there.
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

impl Identity {
    /// A ticket for somebody, with which a stream can be opened once, soon.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where too many wait to be used.
    pub fn ticket(&self, principal: &Principal) -> Result<String, Error> {
        let now = self.0.clock.now();
        let right = Right {
            username: principal.username.clone(),
            generation: principal.auth_context.generation,
            expires_at: principal.expires_at.unwrap_or_else(|| now + self.0.jwt_expiry),
            by_password_alone: principal.auth_context.by_password_alone,
        };
        self.0.tickets.issue(&self.0.tokens, &right, now)
    }

    /// Lets somebody in by a ticket: by one that is fresh, and then, if it is used, with a pass to come back by, or by one
    /// that was fresh once and a pass of the same user.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for what is expired, revoked or wrong.
    pub fn by_ticket<'a>(
        &self,
        ticket: &str,
        passes: impl IntoIterator<Item = &'a str>,
        to: TicketUse,
    ) -> Result<(Principal, Option<Pass>), Error> {
        let (tickets, tokens, now) = (&self.0.tickets, &self.0.tokens, self.0.clock.now());
        let (right, pass) = match tickets.read(tokens, ticket, now, to)? {
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
        let Right { username, generation, expires_at, by_password_alone } = right;
        Ok((self.of_generation(username, generation, expires_at, by_password_alone)?, pass))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;
    use crate::identity::TokenForm;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
    const HOUR: Duration = Duration::from_secs(3600);

    fn user(name: &str) -> Username {
        Username::parse(name).unwrap()
    }

    fn tokens() -> Tokens {
        Tokens::new(&Secret::new("a secret of these tests"), TokenForm::new(None))
    }

    fn right() -> Right {
        Right {
            username: user("alice"),
            generation: Generation(7),
            expires_at: Timestamp::from_secs((NOW + HOUR).as_secs()),
            by_password_alone: true,
        }
    }

    fn spent() -> Result<Ticket, Error> {
        Ok(Ticket::Spent(user("alice")))
    }

    #[test]
    fn a_ticket_is_fresh_once() {
        let (tickets, tokens) = (Tickets::new(), tokens());
        let ticket = tickets.issue(&tokens, &right(), NOW).unwrap();
        assert_eq!(tickets.read(&tokens, &ticket, NOW, TicketUse::Open), Ok(Ticket::Fresh(right())));
        assert_eq!(tickets.read(&tokens, &ticket, NOW, TicketUse::Open), spent());
    }

    #[test]
    fn a_ticket_is_fresh_for_half_a_minute() {
        let (tickets, tokens) = (Tickets::new(), tokens());
        for (seconds, is_fresh) in [(0, true), (29, true), (30, false), (31, false), (3600, false)] {
            let ticket = tickets.issue(&tokens, &right(), NOW).unwrap();
            let found = tickets.read(&tokens, &ticket, NOW + Duration::from_secs(seconds), TicketUse::Open).unwrap();
            assert_eq!(found == Ticket::Fresh(right()), is_fresh, "{seconds}");
        }
    }

    #[test]
    fn a_ticket_that_is_tried_too_late_stays_spent_when_the_clock_is_set_back() {
        let (tickets, tokens) = (Tickets::new(), tokens());
        let ticket = tickets.issue(&tokens, &right(), NOW).unwrap();
        assert_eq!(tickets.read(&tokens, &ticket, NOW + HOUR, TicketUse::Open), spent());
        assert_eq!(tickets.read(&tokens, &ticket, NOW, TicketUse::Open), spent());
    }

    #[test]
    fn a_ticket_is_never_fresh_after_a_restart() {
        let tokens = tokens();
        let ticket = Tickets::new().issue(&tokens, &right(), NOW).unwrap();
        assert_eq!(Tickets::new().read(&tokens, &ticket, NOW, TicketUse::Open), spent());
    }

    #[test]
    fn a_ticket_is_not_fresh_once_the_proof_that_it_was_got_by_is_over() {
        let (tickets, tokens) = (Tickets::new(), tokens());
        let right = Right { expires_at: NOW + Duration::from_millis(1500), ..right() };
        let ticket = tickets.issue(&tokens, &right, NOW).unwrap();
        assert_eq!(tickets.read(&tokens, &ticket, NOW + Duration::from_secs(2), TicketUse::Open), spent());
    }

    #[test]
    fn a_pass_is_good_until_the_proof_is_over() {
        let (tickets, tokens) = (Tickets::new(), tokens());
        let pass = tickets.issue_pass(&tokens, &right(), NOW).unwrap();
        assert_eq!(pass.lasts, HOUR - Duration::from_millis(500));
        let end = right().expires_at;
        assert_eq!(tickets.read_pass(&tokens, &pass.token, NOW), Ok(right()));
        assert_eq!(tickets.read_pass(&tokens, &pass.token, Timestamp::from_millis(end.as_millis() - 1)), Ok(right()));
        assert_eq!(tickets.read_pass(&tokens, &pass.token, end), Err(Error::Unauthorized));
    }

    #[test]
    fn a_ticket_a_pass_and_a_token_are_not_taken_for_each_other() {
        let (tickets, tokens) = (Tickets::new(), tokens());
        let ticket = tickets.issue(&tokens, &right(), NOW).unwrap();
        let pass = tickets.issue_pass(&tokens, &right(), NOW).unwrap().token;
        // As much like each of the others as it can be.
        let mut claims = right().claims("Broker", NOW, right().expires_at, Some(1));
        let token = tokens.sign(&claims).unwrap();
        claims.iss = "Broker".to_lowercase();
        let of_nobody = tokens.sign(&claims).unwrap();
        assert!(tokens.read(&token, NOW).is_ok());
        for other in [&ticket, &pass, &of_nobody] {
            assert_eq!(tokens.read(other, NOW).err(), Some(Error::Unauthorized));
        }
        for other in [&pass, &token, &of_nobody] {
            assert_eq!(tickets.read(&tokens, other, NOW, TicketUse::Open), Err(Error::Unauthorized));
        }
        for other in [&ticket, &token, &of_nobody] {
            assert_eq!(tickets.read_pass(&tokens, other, NOW), Err(Error::Unauthorized));
        }
    }

    #[test]
    fn one_user_cannot_take_the_room_of_all_others_and_what_was_used_or_expired_makes_room() {
        let mut waiting = Waiting::default();
        let (alice, bob, ends_at) = (user("alice"), user("bob"), NOW + TICKET_LASTS);
        for number in 0..WAITING_OF_ONE as u128 {
            waiting.add((ends_at, number), &alice, NOW).unwrap();
        }
        assert_eq!(waiting.add((ends_at, u128::MAX), &alice, NOW), Err(Error::Overloaded));
        assert_eq!(waiting.add((ends_at, u128::MAX), &bob, NOW), Ok(()));
        assert!(waiting.remove((ends_at, 5)) && !waiting.remove((ends_at, 5)));
        assert_eq!(waiting.add((ends_at, 5), &alice, NOW), Ok(()));
        assert_eq!(waiting.add((ends_at, 6), &alice, NOW), Err(Error::Overloaded));
        // Not all that have expired go at once, but none of them is in the way.
        for number in 0..200 {
            assert_eq!(waiting.add((ends_at + HOUR, number), &alice, ends_at), Ok(()));
            assert!(waiting.tickets.len() + EXPIRED_AT_ONCE * (number as usize + 2) >= WAITING_OF_ONE);
        }
        assert_eq!((waiting.tickets.len(), waiting.of_one.len(), waiting.ranks.len()), (200, 1, 1));
    }

    #[test]
    fn tickets_that_wait_are_bounded_and_those_with_the_most_lose_their_oldest_to_those_with_few() {
        let mut waiting = Waiting::default();
        let ends_at = |number: usize| NOW + TICKET_LASTS + Duration::from_millis(number as u64);
        for number in 0..WAITING {
            let username = user(&format!("user{}", number / WAITING_OF_ONE));
            waiting.add((ends_at(number), number as u128), &username, NOW).unwrap();
        }
        let (alice, bob) = (user("alice"), user("bob"));
        for number in 0..100 {
            assert_eq!(waiting.add((NOW + TICKET_LASTS, number + u128::MAX / 2), &alice, NOW), Ok(()), "{number}");
        }
        assert_eq!(waiting.tickets.len(), WAITING);
        assert_eq!(waiting.of_one[&alice].len(), 100);
        // Those of each of the others were taken in turn, the oldest first.
        for number in 0..16 {
            let left = &waiting.of_one[&user(&format!("user{number}"))];
            assert!((WAITING_OF_ONE - 7..=WAITING_OF_ONE - 6).contains(&left.len()), "{}", left.len());
            let first = number * WAITING_OF_ONE + (WAITING_OF_ONE - left.len());
            assert_eq!(left.first(), Some(&(ends_at(first), first as u128)));
        }
        assert!(waiting.remove((NOW + TICKET_LASTS, u128::MAX / 2)));
        assert_eq!(waiting.add((NOW + TICKET_LASTS, 17), &bob, NOW), Ok(()));
        assert_eq!(waiting.of_one[&alice].len(), 99, "there was room");
    }

    #[test]
    fn nobody_loses_a_ticket_to_one_who_has_as_many() {
        let mut waiting = Waiting::default();
        for number in 0..WAITING {
            waiting.add((NOW + TICKET_LASTS, number as u128), &user(&format!("user{number}")), NOW).unwrap();
        }
        assert_eq!(waiting.add((NOW + TICKET_LASTS, u128::MAX), &user("alice"), NOW), Err(Error::Overloaded));
        assert_eq!(waiting.add((NOW + TICKET_LASTS, u128::MAX), &user("user1"), NOW), Err(Error::Overloaded));
        assert_eq!(waiting.tickets.len(), WAITING);
    }
}
