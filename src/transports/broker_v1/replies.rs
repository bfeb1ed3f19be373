//! The answers to frames: `{"ref": 1, "ok": …}`, or `{"ref": 1, "error": "…", "code": "…"}` with what HTTP says in addition.

use serde::Serialize;

use crate::error::Error;
use crate::transports::refusal::{Refusal, log_fault};
use crate::transports::ws::Outlet;

/// An answer to what was done.
#[derive(Serialize)]
struct Done<T> {
    #[serde(rename = "ref")]
    reference: u64,
    ok: T,
    /// Whether an earlier frame with the same idempotency key did it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
}

/// An answer to what was refused. `ref` is `null` if the frame has none that can be read.
#[derive(Serialize)]
struct Refused<'a> {
    #[serde(rename = "ref")]
    reference: Option<u64>,
    #[serde(flatten)]
    refusal: Refusal<'a>,
    /// In how many seconds another try is worth making.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// The answer to what was done, as a text.
pub fn done(reference: u64, ok: impl Serialize, replayed: bool) -> String {
    text(&Done { reference, ok, replayed })
}

/// The answer to a ping.
pub fn pong(reference: u64) -> String {
    done(reference, serde_json::Map::new(), false)
}

/// Answers what was refused.
pub fn refuse(outlet: &Outlet, reference: Option<u64>, error: &Error) {
    log_fault(error);
    refuse_with(outlet, reference, error, Refusal::of(error));
}

/// The same, with a refusal that says more.
pub fn refuse_with(outlet: &Outlet, reference: Option<u64>, error: &Error, refusal: Refusal<'_>) {
    outlet.send_text(&text(&Refused { reference, refusal, retry_after: error.retry_after() }));
}

fn text(answer: &impl Serialize) -> String {
    // Strings, numbers and events always serialize.
    serde_json::to_string(answer).unwrap_or_default()
}
