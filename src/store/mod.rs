//! The embedded database. Only this module names sled.
//!
//! A commit is appended to the `journal`, which makes it durable, and to the `overlay` in memory. From time to time a
//! `checkpoint` moves both into sled, where one tree holds everything. A read looks in the overlay first, then in sled
//! (`database`, `scan`).
//!
//! - Layout: `keys`, `codec` (values), `chunks` (large data), `sizes` (how much one commit may write).
//! - Safety around sled: `open`, `disk`, `watermarks`, `integrity_scan`, `touched`. Each step names the fault that it
//!   closes.
//! - Commits: `committer`, `transaction`, `sealed` (what was decided), `tidings`, `record`, `journal`, `overlay`, `checkpoint`, `progress`.
//! - Backups: `keeping` (files of the journal that are kept for them), `lineage`, `set_names`, `backup`.
//! - Rows that a transaction writes: `events`, `event_data`, `bound` (to a stream), `answers` (idempotency),
//!   `lookalikes`, `channel_tokens`, `invites`, `sessions`, `mqtt_sessions`.
//! - Rows that maintenance finds and removes: `tail` (retention), `due` (expiry, ended streams), `erasures` (deleted
//!   users), `tenants`, `activity`.
//! - Reading many rows: `scan`, `replay`, `latest_events`, `names`, `history`, `chain`, `users`, `user_events`, `tenant_events`, on
//!   the threads of `readers`.
//! - Reading one row: `database`, `rows`, `damage`, `epochs`, `account_cache`.

mod account_cache;
mod activity;
mod answers;
mod backup;
mod bound;
mod chain;
mod channel_tokens;
mod checkpoint;
mod chunks;
mod codec;
mod committer;
mod course;
mod damage;
mod database;
mod disk;
mod draft;
mod due;
mod epochs;
mod erasures;
mod event_data;
mod events;
mod figures;
mod history;
mod integrity_scan;
mod invites;
mod journal;
mod journal_files;
mod keeping;
mod keys;
mod latest_events;
mod lineage;
mod lookalikes;
mod mqtt_cursors;
mod mqtt_sessions;
mod names;
mod open;
mod open_error;
mod open_mark;
mod overlay;
mod progress;
mod readers;
mod record;
mod replay;
mod rows;
mod scan;
mod sealed;
mod sessions;
mod set_names;
mod sizes;
mod tail;
mod tenant_events;
mod tenants;
mod tidings;
mod touched;
mod transaction;
mod user_events;
mod users;
mod watermarks;

pub use activity::{Activity, Due};
pub use answers::NewAnswer;
pub use backup::{
    Archive, BackupProblem, BackupSet, FAILED as BACKUP_FAILED, Manifest, Reached, Restored, Tar, Target, Until,
    restore, take, unpack, verify,
};
pub use codec::Answered;
pub use committer::{Committer, Durable};
pub use database::Store;
pub use draft::Draft;
pub use due::{Found, Search};
pub use erasures::{ErasureScan, Finished};
pub use event_data::StoredEvent;
pub use figures::Figures;
pub use history::{History, HistoryQuery, Page};
pub use integrity_scan::OPENING_THREAD;
pub use keeping::Serving;
pub use latest_events::LatestEvents;
pub use lineage::{LINEAGE_SETTING, Lineage};
pub use lookalikes::NameIndexing;
pub use mqtt_cursors::{Behind, MqttCursor, MqttCursors};
pub use mqtt_sessions::{LeavingEvent, MAX_QUEUED, MAX_QUEUED_BYTES, MqttNeeds, MqttReplay, Queued};
pub use names::Names;
pub use open_error::OpenError;
pub use progress::Progress;
pub use readers::Lane;
pub use replay::{Missing, Replay, Wanted};
pub use sealed::Record;
pub use sizes::{MAX_CHANGE_BYTES, NAMES_ROWS_BYTES, of_insert as bytes_of_insert};
pub use tail::{Excess, Oldest, TailCount};
pub use tenant_events::TenantEvents;
pub use transaction::Transaction;
pub use user_events::UserEvents;
pub use users::Users;

#[cfg(test)]
mod tests;
