//! The answers to frames: what commands are answered, with the `ref` of the frame.

use serde::Serialize;

use crate::error::Error;
use crate::metrics::Metrics;
use crate::transports::commands::Answer;
use crate::transports::ws::Outlet;

/// An answer with its number. `ref` is `null` if the frame has none that can be read.
#[derive(Serialize)]
struct Reply<'a, T> {
    #[serde(rename = "ref")]
    reference: Option<u64>,
    #[serde(flatten)]
    answer: &'a T,
}

/// The answer to a frame that signs in.
#[derive(Serialize)]
struct Welcomed<T> {
    ok: T,
}

/// The answer to a frame that has signed in, as a text.
pub fn welcome(reference: u64, ok: impl Serialize) -> String {
    text(Some(reference), &Welcomed { ok })
}

/// Answers a frame.
pub fn answer(metrics: &Metrics, outlet: &Outlet, reference: u64, answer: &Answer) {
    answer.count(metrics);
    outlet.send_text(&text(Some(reference), answer));
}

/// Answers what was refused.
pub fn refuse(metrics: &Metrics, outlet: &Outlet, reference: Option<u64>, error: Error) {
    let refused = Answer::refused(error);
    refused.count(metrics);
    outlet.send_text(&text(reference, &refused));
}

fn text(reference: Option<u64>, answer: &impl Serialize) -> String {
    // Strings, numbers and events always serialize.
    serde_json::to_string(&Reply { reference, answer }).unwrap_or_default()
}
