//! The index entry of an event name.

use super::numbers::Decoded;
use crate::domain::{Position, Timestamp};

/// The index entry of an event name: its latest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestRow {
    pub position: Position,
    /// Whether the name was removed by that event.
    pub is_removal: bool,
    /// When the event expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// The stream that the event is bound to, if there is one. Entries of earlier versions lack it.
    pub stream: Option<u64>,
    /// In how many chunks the data is stored; 0 if it is in the row of the event. It is repeated here so that a removal
    /// need not read that row.
    pub chunks: u8,
}

impl LatestRow {
    /// An event that neither expires nor is bound.
    pub fn at(position: Position) -> Self {
        Self { position, is_removal: false, expires_at: None, stream: None, chunks: 0 }
    }
}

/// The moment that means "never", if another field follows it.
const NEVER: u64 = u64::MAX;

/// The position. For a removal, one byte 1. Otherwise the moment of expiry (8 bytes) and the stream (8), if there are
/// such; then the number of chunks (1), if there are any. It is never 1, because data in chunks has at least two.
pub fn encode_latest(latest: LatestRow) -> Vec<u8> {
    let mut value = latest.position.get().to_be_bytes().to_vec();
    if latest.is_removal {
        value.push(1);
        return value;
    }
    if latest.expires_at.is_some() || latest.stream.is_some() {
        let moment = latest.expires_at.map_or(NEVER, Timestamp::as_millis);
        value.extend_from_slice(&moment.to_be_bytes());
        value.extend(latest.stream.into_iter().flat_map(u64::to_be_bytes));
    }
    if latest.chunks > 0 {
        value.push(latest.chunks);
    }
    value
}

pub fn decode_latest(value: &[u8]) -> Decoded<LatestRow> {
    let (position, rest) = value.split_first_chunk::<8>().ok_or("a position has 8 bytes")?;
    let latest = LatestRow::at(Position::new(u64::from_be_bytes(*position)));
    if rest == [1] {
        return Ok(LatestRow { is_removal: true, ..latest });
    }
    const WRONG: &str = "a position is followed by neither the mark of a removal nor a moment";
    let (numbers, last) = rest.as_chunks::<8>();
    let (moment, stream) = match numbers {
        [] => (NEVER, None),
        [moment] => (u64::from_be_bytes(*moment), None),
        [moment, stream] => (u64::from_be_bytes(*moment), Some(u64::from_be_bytes(*stream))),
        _ => return Err(WRONG),
    };
    let chunks = match last {
        [] => 0,
        [chunks] if *chunks > 1 => *chunks,
        _ => return Err(WRONG),
    };
    let expires_at = (moment != NEVER).then(|| Timestamp::from_millis(moment));
    Ok(LatestRow { expires_at, stream, chunks, ..latest })
}
