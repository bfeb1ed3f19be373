//! Chunks: the data of an event that is too large for one row, with what was published beside it, is stored beside the row
//! of the event, which holds the length.
//!
//! One commit writes an event's row and chunks, and one commit removes them. So a reader finds all of them, or finds
//! that the event is gone. The keys of chunks are apart from the keys of events, so a scan over events reads no data
//! that it does not want.

use crate::domain::{DEFAULT_EVENT_BYTES, MAX_EVENT_BYTES};

/// How much data is stored in the row of its event. Larger data is stored in chunks.
pub const MAX_INLINE_BYTES: usize = 100 << 10;
/// The length of a chunk. Only the last one is shorter.
pub const CHUNK_BYTES: usize = 64 << 10;
/// How large a row may be. sled keeps larger values in files of their own, which it never syncs.
pub const MAX_ROW_BYTES: usize = 128 << 10;
/// How many chunks an event has at most.
pub const MAX_CHUNKS: usize = MAX_EVENT_BYTES.div_ceil(CHUNK_BYTES);

const _: () = assert!(CHUNK_BYTES <= MAX_ROW_BYTES);
// A removal is in one row, whatever properties it came with: no insert lets it have more (`NewEvent::published`).
const _: () = assert!(MAX_INLINE_BYTES >= DEFAULT_EVENT_BYTES);
// One byte holds the number of chunks, and 1 has another meaning there (`codec::encode_latest`).
const _: () = assert!(MAX_CHUNKS <= u8::MAX as usize && MAX_INLINE_BYTES >= CHUNK_BYTES);

/// How many chunks hold this many bytes of data; 0 if the data is stored in the row of its event.
pub const fn count(data_bytes: usize) -> u8 {
    if data_bytes <= MAX_INLINE_BYTES { 0 } else { data_bytes.div_ceil(CHUNK_BYTES) as u8 }
}
