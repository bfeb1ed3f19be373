//! How much one commit may write. The journal reserves room for it on the disk before any change is decided, so that a
//! full disk is found while nothing has happened yet. A change that would need more is refused.

use super::chunks::{CHUNK_BYTES, MAX_CHUNKS, MAX_INLINE_BYTES};
use super::codec::{PUBLISHED_HEAD_BYTES, TIDINGS_BYTES};
use super::keys::{CHUNK_KEY_BYTES, TIME_SETTING};
use super::lineage::LINEAGE_SETTING;
use crate::domain::{MAX_NAME_BYTES, MAX_USER_BYTES};

/// The length of a record's head in the journal: length of the body (4 bytes), CRC-32 of all that follows (4), number
/// of the commit (8), position of the last event (8).
pub const HEAD_BYTES: usize = 24;
/// The length of a row's head in the body of a record: the lengths of the key (2 bytes) and of the value (4).
pub const ROW_HEAD_BYTES: usize = 6;

/// How many bytes of keys and values one step of maintenance covers, plus one event. The step writes less than twice as
/// much, and an insert may write more.
pub const STEP_BYTES: usize = 1 << 20;

/// How many remembered answers one insert forgets at most. It adds one, so if the limit was lowered, the surplus
/// shrinks, too.
pub const FORGOTTEN_AT_ONCE: usize = 4;

/// Beyond this size no further change joins a commit. All sizes are those of the rows in the journal.
pub const MAX_COMMIT_BYTES: usize = 2 << 20;

/// How much one change may write, in bytes of the journal. A change that would write more is refused with
/// [`crate::error::Error::ChangeTooLarge`], so work without a bound of its own must be done in steps.
pub const MAX_CHANGE_BYTES: usize = 8 << 20;

/// The row with the epoch of a start, which is written with the first event after it.
const EPOCH_ROW_BYTES: usize = ROW_HEAD_BYTES + 9 + 4;

/// The row with the time of a commit.
const TIME_ROW_BYTES: usize = ROW_HEAD_BYTES + 1 + 8 + TIME_SETTING.len();

/// The row with the lineage.
const LINEAGE_ROW_BYTES: usize = ROW_HEAD_BYTES + 1 + 8 + LINEAGE_SETTING.len();

/// What is before the rows of a commit: its moment, and the lengths of what it says of those who are connected. Names in that count as
/// what the change has written.
const COMMIT_HEAD_BYTES: usize = 8 + 4 + TIDINGS_BYTES;

/// The largest record of a commit. The last change joins just before the commit is full.
pub const MAX_RECORD_BYTES: usize = HEAD_BYTES
    + COMMIT_HEAD_BYTES
    + MAX_COMMIT_BYTES
    + MAX_CHANGE_BYTES
    + EPOCH_ROW_BYTES
    + TIME_ROW_BYTES
    + LINEAGE_ROW_BYTES;

/// A name in a key or a value, with its length.
const NAME_BYTES: usize = 2 + MAX_NAME_BYTES;

/// The bytes that a chunk writes in addition to its data, and that its removal writes.
const CHUNK_ROW_BYTES: usize = ROW_HEAD_BYTES + CHUNK_KEY_BYTES;

/// The most bytes that the data of events writes, and what was published beside it, with the heads of chunks, and the length of what
/// is in chunks.
const fn of_data(bytes: usize) -> usize {
    // Data in chunks has more than `MAX_INLINE_BYTES`, and only its last chunk is not full.
    bytes + (bytes / MAX_INLINE_BYTES) * (CHUNK_ROW_BYTES + 4) + (bytes / CHUNK_BYTES) * CHUNK_ROW_BYTES
}

/// The most bytes that one event writes in addition to its data: the largest keys and values of `keys` and `codec`.
const EVENT_ROWS_BYTES: usize = {
    // The index entry of its name, which is written again if the event is bound to a stream. With a transient event it is
    // written once, and has nine bytes more. And the number of names.
    let name = 2 * (ROW_HEAD_BYTES + 1 + NAME_BYTES + MAX_NAME_BYTES + 25) + ROW_HEAD_BYTES + 1 + NAME_BYTES + 8;
    // The event itself, and the removal of the previous event with its chunks.
    let key = ROW_HEAD_BYTES + 1 + NAME_BYTES + 8;
    let event = key + 3 * 8 + PUBLISHED_HEAD_BYTES + 2 * NAME_BYTES + key + MAX_CHUNKS * CHUNK_ROW_BYTES;
    // Its expiry, and the removal of the previous event's expiry.
    let key = ROW_HEAD_BYTES + 1 + 8 + NAME_BYTES + 8;
    let expiry = key + 2 * NAME_BYTES + key;
    // Its binding to a stream, the removal of the previous event's binding, and the counts of both users.
    let key = ROW_HEAD_BYTES + 1 + 8 + NAME_BYTES + MAX_NAME_BYTES;
    let bound = key + 8 + MAX_NAME_BYTES + key + 2 * (ROW_HEAD_BYTES + 1 + MAX_NAME_BYTES + 8);
    name + event + expiry + bound
};

/// The most bytes that a request with events writes in addition to them: the answer to its idempotency key by key, by
/// moment and by number, the range of the user's numbers, and the removal of some older answers.
const REQUEST_ROWS_BYTES: usize = {
    let answer = ROW_HEAD_BYTES + 1 + NAME_BYTES + MAX_NAME_BYTES;
    let due = ROW_HEAD_BYTES + 1 + 8 + NAME_BYTES + MAX_NAME_BYTES;
    let numbered = ROW_HEAD_BYTES + 1 + NAME_BYTES + 8;
    let values = 1 + 32 + 5 * 8 + MAX_NAME_BYTES + MAX_NAME_BYTES;
    let range = ROW_HEAD_BYTES + 1 + MAX_NAME_BYTES + 16;
    (1 + FORGOTTEN_AT_ONCE) * (answer + due + numbered) + values + range
};

/// The most bytes that an insert of this many events with this much data writes. The code that accepts inserts proves
/// with it that the largest one fits.
pub const fn of_insert(events: usize, data: usize) -> usize {
    events * EVENT_ROWS_BYTES + of_data(data) + REQUEST_ROWS_BYTES
}

/// The bytes that the names of a new user and a new tenant write: four skeletons each, and the tenant itself.
pub const NAMES_ROWS_BYTES: usize =
    8 * (ROW_HEAD_BYTES + 3 + 32 + MAX_OWNERS * NAME_BYTES) + ROW_HEAD_BYTES + 1 + NAME_BYTES;

/// How many names the row of a skeleton holds. Names of earlier versions may look alike.
pub const MAX_OWNERS: usize = 4;

// A step of maintenance is never refused.
const _: () = assert!(2 * STEP_BYTES <= MAX_CHANGE_BYTES);
// A user is never refused for its size in a commit.
const _: () = assert!(ROW_HEAD_BYTES + 1 + MAX_NAME_BYTES + MAX_USER_BYTES + NAMES_ROWS_BYTES <= MAX_CHANGE_BYTES);
