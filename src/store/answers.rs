//! What inserts with idempotency keys came to, to be answered again: for a day, and so many of each user.

use super::codec::Answered;
use super::overlay::Write;
use super::transaction::Transaction;
use super::{codec, damaged, keys};
use crate::domain::{Position, TenantName, Timestamp, Username};
use crate::error::Error;

/// For how long an insert may be tried again with the same idempotency key, in milliseconds: a day.
const KEPT_MILLIS: u64 = 24 * 60 * 60 * 1000;
/// How many answers one insert forgets at most. It adds one, so that what is too many where fewer are kept than before, goes too.
pub const FORGOTTEN_AT_ONCE: usize = 4;

/// An answer to be remembered.
#[derive(Clone, Copy, Debug)]
pub struct NewAnswer<'a> {
    /// Whose insert it was.
    pub username: &'a Username,
    /// Where.
    pub tenant: &'a TenantName,
    /// With which key.
    pub idempotency_key: &'a str,
    /// Of what was asked.
    pub fingerprint: [u8; 32],
    /// The position of the first event; the others follow it.
    pub first: Position,
    /// How many they are.
    pub count: u64,
}

impl Transaction<'_> {
    /// What an insert of this user with this idempotency key came to, within a day.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn answered(&self, username: &Username, idempotency_key: &str) -> Result<Option<Answered>, Error> {
        let answered = self.answer(&keys::answer(username, idempotency_key))?;
        Ok(answered.filter(|answered| answered.until > self.now()))
    }

    fn answer(&self, key: &[u8]) -> Result<Option<Answered>, Error> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        codec::decode_answered(&value).map(Some).map_err(|why| damaged(key, why))
    }

    /// Remembers for a day what an insert came to; of each user no more than a number, so that their oldest are forgotten.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn remember_answer(&mut self, new: NewAnswer<'_>, at_most: u64) -> Result<(), Error> {
        let NewAnswer { username, tenant, idempotency_key, fingerprint, first, count } = new;
        let turns = keys::answers_of(username);
        let (mut oldest, number) = match self.get(&turns)? {
            Some(value) => codec::decode_turns(&value).map_err(|why| damaged(&turns, why))?,
            None => (0, 0),
        };
        for _ in 0..FORGOTTEN_AT_ONCE {
            if number - oldest < at_most {
                break;
            }
            self.forget_in_turn(username, oldest)?;
            oldest += 1;
        }
        self.put(turns, codec::encode_turns(oldest, number + 1));

        let timestamp = self.now();
        let until = Timestamp::from_millis(timestamp.as_millis() + KEPT_MILLIS);
        let key = keys::answer(username, idempotency_key);
        // No other answer has its number.
        let in_turn = keys::answer_in_turn(username, number);
        self.write(in_turn, Write::PutNew(idempotency_key.as_bytes().into()));
        self.put(keys::answer_due(until, &key), Vec::new());
        self.due.answer = self.due.answer.min(until);
        let place = Some((number, tenant.clone()));
        self.put(key, codec::encode_answered(&Answered { until, fingerprint, first, count, timestamp, place }));
        Ok(())
    }

    /// Forgets a user's so many-th answer, where it is still there.
    fn forget_in_turn(&mut self, username: &Username, number: u64) -> Result<(), Error> {
        let in_turn = keys::answer_in_turn(username, number);
        let Some(idempotency_key) = self.get(&in_turn)? else { return Ok(()) };
        let idempotency_key =
            std::str::from_utf8(&idempotency_key).map_err(|_| damaged(&in_turn, "it is not UTF-8"))?;
        let key = keys::answer(username, idempotency_key);
        if let Some(answered) = self.answer(&key)?
            // The same key may have been used again since.
            && answered.place.is_some_and(|(its, _)| its == number)
        {
            self.remove(keys::answer_due(answered.until, &key));
            self.remove(key);
        }
        self.remove(in_turn);
        Ok(())
    }

    /// Forgets answers that are too old, by what [`super::Store::find`] found.
    ///
    /// # Errors
    /// As [`Transaction::insert_event`].
    pub fn forget_answers(&mut self, due: Vec<Vec<u8>>) -> Result<(), Error> {
        for key in due {
            let (at, answer) = keys::of_answer_due(&key).ok_or_else(|| damaged(&key, "an answer's moment is none"))?;
            // The same key may have been used again since.
            if let Some(answered) = self.answer(&answer)?.filter(|answered| answered.until <= at) {
                if let Some((number, _)) = answered.place {
                    let username = keys::user_of_answer(&answer);
                    let username = username.ok_or_else(|| damaged(&answer, "an answer's user is none"))?;
                    self.remove(keys::answer_in_turn(&username, number));
                }
                self.remove(answer);
            }
            self.remove(key);
        }
        Ok(())
    }
}
