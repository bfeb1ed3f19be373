//! Answers to inserts with an idempotency key.

use super::numbers::Decoded;
use crate::domain::{Position, TenantName, Timestamp};

/// The range of a user's answer numbers: the oldest that may be remembered (8 bytes), and how many were used (8).
pub fn encode_answer_numbers(oldest: u64, used: u64) -> Vec<u8> {
    [oldest, used].map(u64::to_be_bytes).concat()
}

pub fn decode_answer_numbers(value: &[u8]) -> Decoded<(u64, u64)> {
    let ([oldest, used], []) = value.as_chunks::<8>() else { return Err("the numbers of answers have 16 bytes") };
    Ok((u64::from_be_bytes(*oldest), u64::from_be_bytes(*used)))
}

/// A remembered answer to an insert with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// When it is forgotten.
    pub until: Timestamp,
    /// A hash of the request.
    pub fingerprint: [u8; 32],
    /// The position of the first event. The others follow it.
    pub first: Position,
    /// How many events it has.
    pub count: u64,
    /// When they were inserted.
    pub timestamp: Timestamp,
    /// The number of the answer among those of its user, and its tenant. Answers of earlier versions have neither.
    pub place: Option<(u64, TenantName)>,
}

/// The first byte of an answer. It is part of the fingerprint, too (`events::Insert`). An answer from before there were
/// versions has the same fingerprint, no such byte, and [`UNVERSIONED_ANSWER_BYTES`].
const ANSWER_VERSION: u8 = 1;
/// A fingerprint and four numbers.
const UNVERSIONED_ANSWER_BYTES: usize = 64;

pub fn encode_answered(answered: &Answered) -> Vec<u8> {
    let numbers = [answered.until.as_millis(), answered.first.get(), answered.count, answered.timestamp.as_millis()];
    let mut value = [&answered.fingerprint[..], numbers.map(u64::to_be_bytes).as_flattened()].concat();
    if let Some((number, tenant)) = &answered.place {
        value.insert(0, ANSWER_VERSION);
        value.extend_from_slice(&number.to_be_bytes());
        value.extend_from_slice(tenant.as_str().as_bytes());
    }
    value
}

pub fn decode_answered(value: &[u8]) -> Decoded<Answered> {
    const WRONG: &str = "an answer is not what was written";
    let is_versioned = value.len() != UNVERSIONED_ANSWER_BYTES;
    let value = if is_versioned { value.strip_prefix(&[ANSWER_VERSION]).ok_or(WRONG)? } else { value };
    let (fingerprint, rest) = value.split_first_chunk::<32>().ok_or(WRONG)?;
    let (numbers, rest) = rest.split_first_chunk::<32>().ok_or(WRONG)?;
    let ([until, first, count, timestamp], []) = numbers.as_chunks::<8>() else { return Err(WRONG) };
    let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
    let place = if is_versioned {
        let (of_user, tenant) = rest.split_first_chunk::<8>().ok_or(WRONG)?;
        let tenant = std::str::from_utf8(tenant).map_err(|_| WRONG)?;
        Some((number(of_user), TenantName::parse(tenant).map_err(|_| WRONG)?))
    } else {
        None
    };
    Ok(Answered {
        until: Timestamp::from_millis(number(until)),
        fingerprint: *fingerprint,
        first: Position::new(number(first)),
        count: number(count),
        timestamp: Timestamp::from_millis(number(timestamp)),
        place,
    })
}
