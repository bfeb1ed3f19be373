//! How much may be written at once. The room for it is set aside on the disk before anything is decided, so that a full disk is
//! found while nothing has happened yet; and what would need more than that is refused, whatever it is.

use super::TIME_SETTING;
use super::answers::FORGOTTEN_AT_ONCE;
use super::chunks::{CHUNK_BYTES, MAX_CHUNKS, MAX_INLINE_BYTES};
use super::due::STEP_BYTES;
use super::journal::{HEAD_BYTES, ROW_HEAD_BYTES};
use super::keys::CHUNK_KEY_BYTES;
use crate::domain::{MAX_NAME_BYTES, MAX_USER_BYTES};

/// From here on no further change joins a commit. All sizes are those of the rows in the journal.
pub const MAX_COMMIT_BYTES: usize = 2 << 20;

/// How much one change may write, in bytes of the journal. A change that would write more is refused with
/// [`crate::error::Error::ChangeTooLarge`], so work that has no bound of its own must be done in steps.
pub const MAX_CHANGE_BYTES: usize = 8 << 20;

/// The row with the epoch of a start, which goes with the first event after it.
const EPOCH_ROW_BYTES: usize = ROW_HEAD_BYTES + 9 + 4;

/// The row with the time of a commit.
const TIME_ROW_BYTES: usize = ROW_HEAD_BYTES + 1 + TIME_SETTING.len() + 8;

/// The largest record of a commit: the last change joins just before the commit is full.
pub const MAX_RECORD_BYTES: usize = HEAD_BYTES + MAX_COMMIT_BYTES + MAX_CHANGE_BYTES + EPOCH_ROW_BYTES + TIME_ROW_BYTES;

/// A name in a key or a value, and its length.
const NAME_BYTES: usize = 2 + MAX_NAME_BYTES;

/// What a chunk of an event's data writes beside that, and the removal of one.
const CHUNK_ROW_BYTES: usize = ROW_HEAD_BYTES + CHUNK_KEY_BYTES;

/// What the data of events writes at most: with the heads of its chunks, and the length of each that is in chunks.
const fn of_data(bytes: usize) -> usize {
    // The smallest that is written in chunks has more than `MAX_INLINE_BYTES`, and of its chunks only the last is not full.
    bytes + (bytes / MAX_INLINE_BYTES) * (CHUNK_ROW_BYTES + 4) + (bytes / CHUNK_BYTES) * CHUNK_ROW_BYTES
}

/// What one event writes at most beside its data: the largest keys and values of `keys` and `codec`.
const EVENT_ROWS_BYTES: usize = {
    // The entry of its name, which is written again where the event expires, and where it goes with a stream, and the number of
    // names.
    let name = 3 * (ROW_HEAD_BYTES + 1 + NAME_BYTES + MAX_NAME_BYTES + 25) + ROW_HEAD_BYTES + 1 + NAME_BYTES + 8;
    // The event itself, and the removal of the one before it with its chunks.
    let key = ROW_HEAD_BYTES + 1 + NAME_BYTES + 8;
    let event = key + 8 + 8 + 2 * NAME_BYTES + key + MAX_CHUNKS * CHUNK_ROW_BYTES;
    // Its expiry, and the removal of the one before it.
    let key = ROW_HEAD_BYTES + 1 + 8 + NAME_BYTES + 8;
    let expiry = key + 2 * NAME_BYTES + key;
    // What it is bound to, the removal of what the one before it was bound to, and how much is bound of both their users.
    let key = ROW_HEAD_BYTES + 1 + 8 + NAME_BYTES + MAX_NAME_BYTES;
    let bound = key + 8 + MAX_NAME_BYTES + key + 2 * (ROW_HEAD_BYTES + 1 + MAX_NAME_BYTES + 8);
    name + event + expiry + bound
};

/// What a request with events writes at most beside them: the answer to its idempotency key, by key, by moment and in turn, how many
/// there were, and the removal of some older ones.
const REQUEST_ROWS_BYTES: usize = {
    let answer = ROW_HEAD_BYTES + 1 + NAME_BYTES + MAX_NAME_BYTES;
    let due = ROW_HEAD_BYTES + 1 + 8 + NAME_BYTES + MAX_NAME_BYTES;
    let in_turn = ROW_HEAD_BYTES + 1 + NAME_BYTES + 8;
    let values = 1 + 32 + 5 * 8 + MAX_NAME_BYTES + MAX_NAME_BYTES;
    let turns = ROW_HEAD_BYTES + 1 + MAX_NAME_BYTES + 16;
    (1 + FORGOTTEN_AT_ONCE) * (answer + due + in_turn) + values + turns
};

/// What an insert of so many events with so much data writes at most. Who takes inserts in proves with this that the largest fits.
pub const fn of_insert(events: usize, data: usize) -> usize {
    events * EVENT_ROWS_BYTES + of_data(data) + REQUEST_ROWS_BYTES
}

/// What the names of a new user and a new tenant write: four skeletons of each, and the tenant itself.
pub const NAMES_ROWS_BYTES: usize = 8 * (ROW_HEAD_BYTES + 3 + 32 + MAX_NAME_BYTES) + ROW_HEAD_BYTES + 1 + NAME_BYTES;

// Nor is what is done in the background.
const _: () = assert!(2 * STEP_BYTES <= MAX_CHANGE_BYTES);
// A user is never refused for want of room.
const _: () = assert!(ROW_HEAD_BYTES + 1 + MAX_NAME_BYTES + MAX_USER_BYTES + NAMES_ROWS_BYTES <= MAX_CHANGE_BYTES);
