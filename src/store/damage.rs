//! Values that are not what was written. Whoever asks for one is told so, and what is done unasked passes it over: one of them
//! ends neither the writer, which goes on from what else there is, nor the removal of what comes after it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::Store;
use crate::error::Error;

/// How many of them the log names: a database with more is told enough about, and memory is bounded.
const TOLD_AT_MOST: usize = 1000;

/// The damage that the log has named.
#[derive(Default)]
pub struct Told(Mutex<HashSet<String>>);

/// A value that cannot be read; the key is named, so that an operator can find what was lost.
pub fn damaged(key: &[u8], why: &str) -> Error {
    Error::Damaged(format!("the value at key {} is damaged: {why}", key.escape_ascii()))
}

impl Store {
    /// What was read, or `None` where it is damaged: the log names it, once.
    ///
    /// # Errors
    /// Any other than [`Error::Damaged`].
    pub fn unless_damaged<T>(&self, read: Result<T, Error>) -> Result<Option<T>, Error> {
        match read {
            Err(Error::Damaged(why)) => {
                let mut told = self.told.0.lock().unwrap_or_else(PoisonError::into_inner);
                if told.len() < TOLD_AT_MOST && told.insert(why.clone()) {
                    tracing::error!(%why, "passed over");
                }
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// What the log has named.
    #[cfg(test)]
    pub fn damage_told(&self) -> Vec<String> {
        self.told.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Puts something under a key that no writer would.
    #[cfg(test)]
    pub fn smuggle(&self, key: Vec<u8>, value: &'static [u8]) {
        use super::{overlay, transaction};
        self.overlay.apply([(key, overlay::Write::Put(value.into()))], transaction::Progress::default());
    }
}
