//! The embedded database. Only this module names sled.
//!
//! A commit is appended to the `journal`, which makes it durable, and to the `overlay` in memory. From time to time a
//! `checkpoint` moves both into sled, where one tree holds everything. A read looks in the overlay first, then in sled
//! (`database`, `scan`).
//!
//! | files | what they do |
//! |---|---|
//! | `keys`, `codec`, `chunks`, `sizes` | The layout: keys, values, large data in chunks, and how much one commit may write. |
//! | `open`, `disk`, `watermarks`, `integrity_scan`, `touched` | They make sled safe. Each step names the fault that it closes. |
//! | `journal`, `overlay`, `checkpoint`, `committer`, `transaction` | The one way to write. |
//! | `events`, `event_data`, `bound`, `answers`, `lookalikes` | The rows that a transaction writes. |
//! | `tail`, `due`, `tenants` | They find rows that maintenance removes, and remove them. |
//! | `replay`, `latest_events`, `names`, `history`, `chain`, `users` | The ways to read many rows. `readers` are the threads for it. |
//! | `rows`, `damage`, `epochs`, `activity`, `account_cache` | Reading one row, damaged values, epochs of ids, news for maintenance, cached accounts. |

mod account_cache;
mod activity;
mod answers;
mod bound;
mod chain;
mod checkpoint;
mod chunks;
mod codec;
mod committer;
mod damage;
mod database;
mod disk;
mod due;
mod epochs;
mod event_data;
mod events;
mod history;
mod integrity_scan;
mod journal;
mod keys;
mod latest_events;
mod lookalikes;
mod names;
mod open;
mod open_error;
mod overlay;
mod progress;
mod readers;
mod replay;
mod rows;
mod scan;
mod sizes;
mod tail;
mod tenants;
mod touched;
mod transaction;
mod users;
mod watermarks;

pub use activity::{Activity, Due};
pub use answers::NewAnswer;
pub use codec::Answered;
pub use committer::{Committer, Durable};
pub use database::Store;
pub use due::{Found, Search};
pub use event_data::StoredEvent;
pub use history::{History, HistoryQuery, Page};
pub use integrity_scan::OPENING_THREAD;
pub use latest_events::LatestEvents;
pub use lookalikes::NamesNoted;
pub use names::Names;
pub use open_error::OpenError;
pub use readers::Lane;
pub use replay::{Missing, Replay, Wanted};
pub use sizes::{MAX_CHANGE_BYTES, of_insert as bytes_of_insert};
pub use tail::{Oldest, TailCount, TooMuch};
pub use transaction::Transaction;
pub use users::Users;

#[cfg(test)]
mod tests;
