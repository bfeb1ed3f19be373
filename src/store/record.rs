//! The form of records: a commit in the journal, or some rows of the base of a backup. A head ([`HEAD_BYTES`]), and then the body: of a
//! commit, when it was made and what it does to those who are connected ([`add_head`]); then the rows.

use super::progress::Progress;
use super::sizes::HEAD_BYTES;
use crate::domain::{Position, Timestamp};

/// The first bytes of a journal file: its format.
pub const MAGIC: &[u8; 8] = b"brokerj2";
/// The same before records had a head: bodies have rows alone.
const FORMER_MAGIC: &[u8; 8] = b"brokerj1";
/// Instead of the length of a value: the key is removed.
const REMOVED: u32 = u32::MAX;

/// What the bodies of a journal file have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Rows.
    Former,
    /// What [`add_head`] adds, and rows.
    Current,
}

impl Form {
    /// The form of a journal file, and its records; `None` if it does not begin as one.
    pub fn of_file(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (magic, records) = bytes.split_first_chunk()?;
        match magic {
            MAGIC => Some((Self::Current, records)),
            FORMER_MAGIC => Some((Self::Former, records)),
            _ => None,
        }
    }

    /// Whether a file begins as one of a form that this program does not know. One that was cut off does not.
    pub fn is_unknown(bytes: &[u8]) -> bool {
        let sign = bytes.strip_prefix(&MAGIC[..MAGIC.len() - 1]).and_then(|rest| rest.first());
        sign.is_some_and(u8::is_ascii_alphanumeric) && Self::of_file(bytes).is_none()
    }

    /// The rows of a body.
    pub fn rows(self, body: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Former => Some(body),
            Self::Current => read_head(body).map(|(_, rows)| rows),
        }
    }
}

/// What is before the rows of a commit.
pub struct Head<'a> {
    /// When it was made.
    pub made_at: Timestamp,
    /// What it does to those who are connected (`codec::encode_tidings`).
    pub tidings: &'a [u8],
}

/// What is before the rows of a commit, and the rows.
pub fn read_head(body: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let (made_at, rest) = body.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (tidings, rows) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((Head { made_at: Timestamp::from_millis(u64::from_le_bytes(*made_at)), tidings }, rows))
}

/// The first record of some bytes: its progress, its body, and the rest.
pub fn next_record(bytes: &[u8]) -> Option<(Progress, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (covered, after) = rest.split_at_checked(16 + u32::from_le_bytes(*length) as usize)?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (commits, rest) = covered.split_first_chunk::<8>()?;
    let (head, body) = rest.split_first_chunk::<8>()?;
    let head = Position::new(u64::from_le_bytes(*head));
    Some((Progress { head, commits: u64::from_le_bytes(*commits) }, body, after))
}

/// Gives the rows of a record's body to `each`; `None` for a key that is removed. Returns whether these were all of its bytes.
pub fn read_body(mut body: &[u8], each: &mut impl FnMut(&[u8], Option<&[u8]>)) -> bool {
    let mut next = || -> Option<()> {
        let (key_length, rest) = body.split_first_chunk::<2>()?;
        let (value_length, rest) = rest.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key_length).into())?;
        let value_length = u32::from_le_bytes(*value_length);
        let (value, rest) = match value_length {
            REMOVED => (None, rest),
            length => rest.split_at_checked(length as usize).map(|(value, rest)| (Some(value), rest))?,
        };
        body = rest;
        each(key, value);
        Some(())
    };
    while next().is_some() {}
    body.is_empty()
}

/// Begins a record.
pub fn begin_record(record: &mut Vec<u8>) {
    record.clear();
    record.resize(HEAD_BYTES, 0);
}

/// Adds what is before the rows of a commit: moment (8 bytes), length of the tidings (4), tidings.
pub fn add_head(record: &mut Vec<u8>, made_at: Timestamp, tidings: &[u8]) {
    record.extend_from_slice(&made_at.as_millis().to_le_bytes());
    record.extend_from_slice(&(tidings.len() as u32).to_le_bytes());
    record.extend_from_slice(tidings);
}

/// Adds a row to a record; `None` for a key that is removed.
pub fn add_row(record: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    // Keys have at most 600 bytes, values at most 128 KiB.
    record.extend_from_slice(&(key.len() as u16).to_le_bytes());
    record.extend_from_slice(&value.map_or(REMOVED, |value| value.len() as u32).to_le_bytes());
    record.extend_from_slice(key);
    record.extend_from_slice(value.unwrap_or_default());
}

/// Writes the head of a record that has all its rows.
pub fn end_record(record: &mut [u8], progress: Progress) {
    let length = (record.len() - HEAD_BYTES) as u32;
    record[8..16].copy_from_slice(&progress.commits.to_le_bytes());
    record[16..24].copy_from_slice(&progress.head.get().to_le_bytes());
    let crc = crc32fast::hash(&record[8..]);
    record[0..4].copy_from_slice(&length.to_le_bytes());
    record[4..8].copy_from_slice(&crc.to_le_bytes());
}
