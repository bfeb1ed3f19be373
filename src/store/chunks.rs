//! Data of events that is too large for one row: it stands in chunks beside the row of its event, which says how long it is.
//!
//! An event's row and its chunks are written by one commit and removed by one commit, so whoever reads finds all of them or, where
//! the event has gone meanwhile, is told that it has. Keys of chunks are apart from those of events: a scan over events passes
//! over no data that it does not want.

use std::borrow::Cow;
use std::sync::Arc;

use super::codec::{EventParts, StoredData};
use super::overlay::Write;
use super::transaction::Transaction;
use super::{Store, codec, damaged, keys};
use crate::domain::{Event, MAX_EVENT_BYTES, MAX_NAME_BYTES, Position, TenantName};
use crate::error::Error;

/// How much data stands in the row of its event. What is larger is written in chunks.
pub const MAX_INLINE_BYTES: usize = 100 << 10;
/// How long a chunk is, but for the last one.
pub const CHUNK_BYTES: usize = 64 << 10;
/// How many chunks an event has at most.
pub const MAX_CHUNKS: usize = MAX_EVENT_BYTES.div_ceil(CHUNK_BYTES);

// sled keeps larger values in files of their own, which it never syncs.
const _: () = assert!(MAX_INLINE_BYTES + 2 * MAX_NAME_BYTES + 24 <= 128 << 10 && CHUNK_BYTES <= 128 << 10);
// They are counted in one byte, in which one has another meaning (`codec::encode_latest`).
const _: () = assert!(MAX_CHUNKS <= u8::MAX as usize && MAX_INLINE_BYTES >= CHUNK_BYTES);

/// In how many chunks so many bytes of data are written; none where they stand in the row of their event.
pub const fn count(data_bytes: usize) -> u8 {
    if data_bytes <= MAX_INLINE_BYTES { 0 } else { data_bytes.div_ceil(CHUNK_BYTES) as u8 }
}

/// The data of an event that was read, from its row or its chunks; `None` where the event has gone since. `get` reads a row.
fn read<'a>(
    key: &[u8],
    position: Position,
    parts: &EventParts<'a>,
    get: impl Fn(&[u8]) -> Result<Option<Arc<[u8]>>, Error>,
) -> Result<Option<Cow<'a, str>>, Error> {
    let bytes = match parts.data {
        StoredData::Inline(data) => return Ok(Some(Cow::Borrowed(data))),
        StoredData::InChunks(bytes) => bytes,
    };
    let mut data = Vec::with_capacity(bytes);
    for number in 0..parts.chunks() {
        let Some(chunk) = get(&keys::chunk(position, number))? else {
            // Looked at after the chunk: what went with its event has left no row either.
            let is_gone = get(key)?.is_none();
            return if is_gone { Ok(None) } else { Err(damaged(key, "a chunk of its data is missing")) };
        };
        if chunk.len() != CHUNK_BYTES.min(bytes - data.len()) {
            return Err(damaged(key, "a chunk of its data has another length"));
        }
        data.extend_from_slice(&chunk);
    }
    let data = String::from_utf8(data).map_err(|_| damaged(key, "its data is not UTF-8"))?;
    Ok(Some(Cow::Owned(data)))
}

impl Store {
    /// The data of an event that was read from a row with this key; `None` where the event has gone since, as if the row had not
    /// been met with.
    pub(super) fn data<'a>(
        &self,
        key: &[u8],
        position: Position,
        parts: &EventParts<'a>,
    ) -> Result<Option<Cow<'a, str>>, Error> {
        read(key, position, parts, |key| self.get(key))
    }
}

impl Transaction<'_> {
    /// The same, with what was decided before.
    pub(super) fn data<'a>(
        &self,
        key: &[u8],
        position: Position,
        parts: &EventParts<'a>,
    ) -> Result<Option<Cow<'a, str>>, Error> {
        read(key, position, parts, |key| self.get(key))
    }

    /// Writes an event: its row, and its data in chunks where that is large.
    pub(super) fn put_event(&mut self, event: &Event, previous: Option<Position>) {
        let row = codec::encode_event(event, previous);
        // No other event has its position.
        self.write(keys::event(&event.tenant, event.position), Write::PutNew(row.into()));
        let data = event.data.as_str().as_bytes();
        if count(data.len()) > 0 {
            for (number, chunk) in (0..).zip(data.chunks(CHUNK_BYTES)) {
                self.write(keys::chunk(event.position, number), Write::PutNew(chunk.into()));
            }
        }
    }

    /// Takes an event away: its row, and all of its chunks. Nothing else does.
    pub(super) fn take_event_away(&mut self, tenant: &TenantName, position: Position, chunks: u8) {
        self.remove(keys::event(tenant, position));
        for number in 0..chunks {
            self.remove(keys::chunk(position, number));
        }
    }
}
