//! Damaged values: values that differ from the bytes that were written.
//!
//! A request for a damaged value gets an error. Background work skips it, so that one damaged value stops neither the
//! writer, which needs other values, nor the removal of the rows after it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// How many damaged values the log names. More would tell an operator nothing new, and memory is bounded.
const MAX_REPORTED: usize = 1000;

/// The damaged values that the log has named.
#[derive(Default)]
pub struct ReportedDamage(Mutex<HashSet<String>>);

impl ReportedDamage {
    /// Logs a damaged value, once.
    pub fn report(&self, why: String) {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < MAX_REPORTED && reported.insert(why.clone()) {
            tracing::error!(%why, "a damaged value is skipped");
        }
    }

    /// All of them.
    #[cfg(test)]
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The error for a value that cannot be read. It names the key, so that an operator can find the loss.
pub fn damaged(key: &[u8], why: &str) -> Error {
    Error::Damaged(format!("the value at key {} is damaged: {why}", key.escape_ascii()))
}
