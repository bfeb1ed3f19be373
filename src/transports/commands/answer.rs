//! The answers to commands: `{"ok": …}`, or `{"error": "…", "code": "…"}` with what HTTP says in addition.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::app::Events;
use crate::error::Error;
use crate::events::Inserted;
use crate::metrics::Metrics;
use crate::transports::inserts::Receipts;
use crate::transports::refusal::{Refusal, log_fault};

/// The answer to a command.
pub enum Answer {
    /// It was done.
    Done {
        /// What came of it.
        ok: Outcome,
        /// Whether an earlier command with the same idempotency key did it.
        replayed: bool,
    },
    /// It was refused.
    Refused {
        /// For this reason.
        error: Error,
        /// The event that is there instead of the one that was expected: `Some(None)` if there is none.
        current: Option<Option<Box<RawValue>>>,
    },
}

/// What came of a command.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Events were inserted or removed.
    Inserted(Receipts),
    /// The filter of the stream was changed.
    Changed {
        /// The number of the change.
        change: u32,
    },
    /// A later token was taken.
    Renewed {
        /// In milliseconds since 1970.
        expires_at: Option<u64>,
    },
    /// There is nothing to say.
    Nothing {},
}

#[derive(Serialize)]
struct DoneForm<'a> {
    ok: &'a Outcome,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
}

#[derive(Serialize)]
struct RefusedForm<'a> {
    #[serde(flatten)]
    refusal: Refusal<'a>,
    /// In how many seconds another try is worth making.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Answer {
    /// A command was done.
    pub fn done(ok: Outcome) -> Self {
        Self::Done { ok, replayed: false }
    }

    /// There is nothing to say but that a command was done.
    pub fn nothing() -> Self {
        Self::done(Outcome::Nothing {})
    }

    /// A command was refused. A fault of the server goes into the log.
    pub fn refused(error: Error) -> Self {
        log_fault(&error);
        Self::Refused { error, current: None }
    }

    /// Counts it if it is a refusal.
    pub fn count(&self, metrics: &Metrics) {
        if let Self::Refused { error, .. } = self {
            metrics.refused(error.code());
        }
    }

    /// What came of an insert or a removal.
    pub fn of_insert(inserted: Result<Inserted, Error>, is_array: bool, events: &Events) -> Self {
        match inserted {
            Ok(inserted) => {
                let receipts = Receipts::of(&inserted, is_array, events);
                Self::Done { ok: Outcome::Inserted(receipts), replayed: inserted.is_replayed }
            }
            Err(Error::PreconditionFailed(current)) => {
                match current.as_deref().map(|event| events.view(event)).transpose() {
                    Ok(current) => Self::Refused { error: Error::PreconditionFailed(None), current: Some(current) },
                    Err(damaged) => Self::refused(damaged),
                }
            }
            Err(error) => Self::refused(error),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Done { ok, replayed } => DoneForm { ok, replayed: *replayed }.serialize(serializer),
            Self::Refused { error, current } => {
                let refusal = Refusal::of(error);
                let refusal = match current {
                    Some(current) => refusal.with_current(current.as_deref()),
                    None => refusal,
                };
                RefusedForm { refusal, retry_after: error.retry_after() }.serialize(serializer)
            }
        }
    }
}
