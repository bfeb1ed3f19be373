//! The index entry of an event name.

use super::numbers::{Decoded, encode_position};
use crate::domain::{Position, Timestamp};

/// The index entry of an event name: its newest event of any kind, and its latest event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRow {
    /// The position of the newest event, transient ones included: the end of the chain.
    pub tip: Position,
    /// The latest event, or the removal of the name. `None` if only transient events are left.
    pub latest: Option<LatestRow>,
}

/// The latest event of a name, or its removal.
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

impl NameRow {
    /// The entry of a name whose newest event is its latest one, or its removal.
    pub fn of(latest: LatestRow) -> Self {
        Self { tip: latest.position, latest: Some(latest) }
    }

    /// The latest event, unless the name was removed.
    pub fn value(self) -> Option<LatestRow> {
        self.latest.filter(|latest| !latest.is_removal)
    }

    /// Whether the event at this position is the newest one, the latest one or the removal.
    pub fn has(self, position: Position) -> bool {
        self.tip == position || self.latest.is_some_and(|latest| latest.position == position)
    }

    /// The entry after the event at this position was forgotten; `None` if nothing is left of the name.
    pub fn without(self, position: Position) -> Option<Self> {
        let latest = self.latest.filter(|latest| latest.position != position);
        let tip = if self.tip == position { latest?.position } else { self.tip };
        Some(Self { tip, latest })
    }
}

/// The moment that means "never", if another field follows it.
const NEVER: u64 = u64::MAX;
/// The last byte of an entry whose newest event is not its latest one (format 4). Entries of other lengths than those
/// of whole numbers end with no such byte otherwise.
const HAS_TIP: u8 = 0;

/// The latest event, and after it, unless its position is the same, that of the newest event (8 bytes) and [`HAS_TIP`].
/// So the entry of a name without transient events is that of earlier formats.
pub fn encode_name(name: NameRow) -> Vec<u8> {
    let mut value = name.latest.map(encode_latest).unwrap_or_default();
    if name.latest.is_none_or(|latest| latest.position != name.tip) {
        value.extend(encode_position(name.tip));
        value.push(HAS_TIP);
    }
    value
}

pub fn decode_name(value: &[u8]) -> Decoded<NameRow> {
    let has_tip = !value.len().is_multiple_of(8) && value.ends_with(&[HAS_TIP]);
    if !has_tip {
        return decode_latest(value).map(NameRow::of);
    }
    let (latest, tip) = value[..value.len() - 1].split_last_chunk::<8>().ok_or("a position has 8 bytes")?;
    let latest = if latest.is_empty() { None } else { Some(decode_latest(latest)?) };
    let tip = Position::new(u64::from_be_bytes(*tip));
    // Otherwise the newest event of the name would be missing from its chain.
    if latest.is_some_and(|latest| latest.position >= tip) {
        return Err("the newest event comes before the latest one");
    }
    Ok(NameRow { tip, latest })
}

/// The position. For a removal, one byte 1. Otherwise the moment of expiry (8 bytes) and the stream (8), if there are
/// such; then the number of chunks (1), if there are any. It is never 1, because data in chunks has at least two.
fn encode_latest(latest: LatestRow) -> Vec<u8> {
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

fn decode_latest(value: &[u8]) -> Decoded<LatestRow> {
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
