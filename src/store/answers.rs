//! Idempotent inserts: their answers are remembered for a day, up to a number per user, so that a repeated request gets
//! the same answer.

use super::codec::{self, Answered};
use super::damage::damaged;
use super::keys;
use super::rows::Rows;
use super::sizes::FORGOTTEN_AT_ONCE;
use super::transaction::Transaction;
use crate::domain::{Position, TenantName, Timestamp, Username};
use crate::error::Error;

/// How long an insert may be repeated with the same idempotency key, in milliseconds: a day.
const KEPT_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// An answer to remember.
#[derive(Clone, Copy, Debug)]
pub struct NewAnswer<'a> {
    /// The user that inserted.
    pub username: &'a Username,
    /// The tenant of the events.
    pub tenant: &'a TenantName,
    /// The idempotency key of the request.
    pub idempotency_key: &'a str,
    /// A hash of the request.
    pub fingerprint: [u8; 32],
    /// The position of the first event. The others follow it.
    pub first: Position,
    /// How many events it has.
    pub count: u64,
}

impl Transaction<'_> {
    /// The remembered answer to an insert of this user with this idempotency key, if it is not older than a day.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn answered(&self, username: &Username, idempotency_key: &str) -> Result<Option<Answered>, Error> {
        let answered = self.decoded(&keys::answer(username, idempotency_key), codec::decode_answered)?;
        Ok(answered.filter(|answered| answered.until > self.now()))
    }

    /// Remembers the answer to an insert for a day. Beyond `at_most` answers of a user, the oldest are forgotten.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn remember_answer(&mut self, new: NewAnswer<'_>, at_most: u64) -> Result<(), Error> {
        let NewAnswer { username, tenant, idempotency_key, fingerprint, first, count } = new;
        let numbers = keys::answer_numbers(username);
        let (mut oldest, number) = self.decoded(&numbers, codec::decode_answer_numbers)?.unwrap_or((0, 0));
        for _ in 0..FORGOTTEN_AT_ONCE {
            if number - oldest < at_most {
                break;
            }
            self.forget_numbered(username, oldest)?;
            oldest += 1;
        }
        self.put(numbers, codec::encode_answer_numbers(oldest, number + 1));

        let timestamp = self.now();
        let until = Timestamp::from_millis(timestamp.as_millis() + KEPT_MILLIS);
        let key = keys::answer(username, idempotency_key);
        // Not as a row that is new: numbers begin anew with the next user of a name, and the row of a deleted one may be in the
        // store until the next checkpoint.
        self.put(keys::numbered_answer(username, number), idempotency_key.as_bytes().to_vec());
        self.put(keys::answer_due(until, &key), Vec::new());
        let place = Some((number, tenant.clone()));
        self.put(key, codec::encode_answered(&Answered { until, fingerprint, first, count, timestamp, place }));
        Ok(())
    }

    /// Forgets the answer of a user with this number, if it is still there.
    fn forget_numbered(&mut self, username: &Username, number: u64) -> Result<(), Error> {
        let numbered = keys::numbered_answer(username, number);
        let Some(idempotency_key) = self.get(&numbered)? else { return Ok(()) };
        let idempotency_key =
            std::str::from_utf8(&idempotency_key).map_err(|_| damaged(&numbered, "it is not UTF-8"))?;
        let key = keys::answer(username, idempotency_key);
        if let Some(answered) = self.decoded(&key, codec::decode_answered)?
            // The idempotency key may have been used again since, with another number.
            && answered.place.is_some_and(|(its, _)| its == number)
        {
            self.remove(keys::answer_due(answered.until, &key));
            self.remove(key);
        }
        self.remove(numbered);
        Ok(())
    }

    /// Forgets some answers of a user. Returns whether none is left.
    pub(super) fn forget_answers_of(&mut self, username: &Username, at_most: usize) -> Result<bool, Error> {
        let numbers = keys::answer_numbers(username);
        let Some((oldest, next)) = self.decoded(&numbers, codec::decode_answer_numbers)? else { return Ok(true) };
        let until = next.min(oldest.saturating_add(at_most as u64));
        for number in oldest..until {
            self.forget_numbered(username, number)?;
        }
        if until == next {
            self.remove(numbers);
        } else {
            self.put(numbers, codec::encode_answer_numbers(until, next));
        }
        Ok(until == next)
    }

    /// Forgets answers that are too old, by the keys that [`super::database::Store::find`] found.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn forget_answers(&mut self, due: Vec<Vec<u8>>) -> Result<(), Error> {
        for key in due {
            let (at, answer) = keys::of_answer_due(&key).ok_or_else(|| damaged(&key, "an answer's moment is none"))?;
            // The idempotency key may have been used again since.
            if let Some(answered) =
                self.decoded(&answer, codec::decode_answered)?.filter(|answered| answered.until <= at)
            {
                if let Some((number, _)) = answered.place {
                    let username = keys::user_of_answer(&answer);
                    let username = username.ok_or_else(|| damaged(&answer, "an answer's user is none"))?;
                    self.remove(keys::numbered_answer(&username, number));
                }
                self.remove(answer);
            }
            self.remove(key);
        }
        Ok(())
    }
}
