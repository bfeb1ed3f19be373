//! Positions, moments and counts.

use crate::domain::{Epoch, Position, Timestamp};
use crate::store::progress::Progress;

/// A decoded value, or how it differs from the bytes that were written.
pub type Decoded<T> = Result<T, &'static str>;

pub fn encode_position(position: Position) -> [u8; 8] {
    position.get().to_be_bytes()
}

pub fn decode_position(value: &[u8]) -> Decoded<Position> {
    let bytes = value.try_into().map_err(|_| "a position has 8 bytes")?;
    Ok(Position::new(u64::from_be_bytes(bytes)))
}

pub fn encode_moment(moment: Timestamp) -> [u8; 8] {
    moment.as_millis().to_be_bytes()
}

pub fn decode_moment(value: &[u8]) -> Decoded<Timestamp> {
    value.try_into().map(u64::from_be_bytes).map(Timestamp::from_millis).map_err(|_| "a moment has 8 bytes")
}

/// A number of names, or of other things.
pub fn encode_count(count: u64) -> Vec<u8> {
    count.to_be_bytes().to_vec()
}

pub fn decode_count(value: &[u8]) -> Decoded<u64> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| "a number has 8 bytes")
}

/// How many there are, and how many bytes they have.
pub fn encode_size((count, bytes): (u64, u64)) -> Vec<u8> {
    (u128::from(count) << 64 | u128::from(bytes)).to_be_bytes().to_vec()
}

pub fn decode_size(value: &[u8]) -> Decoded<(u64, u64)> {
    let both = value.try_into().map(u128::from_be_bytes).map_err(|_| "a size has 16 bytes")?;
    Ok(((both >> 64) as u64, both as u64))
}

/// Epochs, one after the other.
pub fn decode_epochs(value: &[u8]) -> Vec<Epoch> {
    value.as_chunks().0.iter().map(|epoch| Epoch::new(u32::from_be_bytes(*epoch))).collect()
}

pub fn encode_progress(progress: Progress) -> [u8; 16] {
    let number = u128::from(progress.head.get()) << 64 | u128::from(progress.commits);
    number.to_be_bytes()
}

pub fn decode_progress(value: &[u8]) -> Decoded<Progress> {
    let bytes = value.try_into().map_err(|_| "progress has 16 bytes")?;
    let number = u128::from_be_bytes(bytes);
    Ok(Progress { head: Position::new((number >> 64) as u64), commits: number as u64 })
}
