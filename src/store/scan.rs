//! Reading many rows in order: those of the overlay and those of sled as one.

use std::ops::Bound;
use std::sync::Arc;

use super::database::{Store, failed};
use super::keys;
use super::overlay::ROWS_AT_ONCE;
use crate::error::Error;

/// How many rows are taken from the overlay first; then twice as many, and so on. Many want only one.
const ROWS_AT_FIRST: usize = 8;

/// Takes a row, and tells whether to go on.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Error> + 'a;

impl Store {
    /// Gives the rows whose keys begin so.
    pub(super) fn scan_prefix(&self, prefix: &[u8], each: &mut Each<'_>) -> Result<(), Error> {
        self.scan(prefix, &keys::end_of(prefix), each)
    }

    /// Gives the rows from one key up to, but not with, another. It is no snapshot: what changes meanwhile may be given as
    /// it was or as it is.
    pub(super) fn scan(&self, from: &[u8], to: &[u8], each: &mut Each<'_>) -> Result<(), Error> {
        // The tables of the overlay panic at a range that ends before it begins.
        if from >= to {
            return Ok(());
        }
        let mut from = Bound::Included(from.to_vec());
        let to = Bound::Excluded(to.to_vec());
        let mut count = ROWS_AT_FIRST;
        loop {
            // First the overlay: what a checkpoint moves after this look is found twice, and counts as it was found first.
            let (over, last) = self.overlay.next_rows(as_slice(&from), as_slice(&to), count);
            count = (count * 2).min(ROWS_AT_ONCE);
            let until = last.clone().map_or_else(|| to.clone(), Bound::Included);
            let mut over = over.into_iter().peekable();
            for row in self.tree.range((from.clone(), until)) {
                let (key, value) = row.map_err(|error| failed(start(&from), &error))?;
                while let Some((newer_key, newer)) = over.next_if(|(newer, _)| newer[..] < key[..]) {
                    if !give(&newer_key, &newer, each)? {
                        return Ok(());
                    }
                }
                let go_on = match over.next_if(|(newer, _)| newer[..] == key[..]) {
                    Some((key, newer)) => give(&key, &newer, each)?,
                    None => each(&key, &value)?,
                };
                if !go_on {
                    return Ok(());
                }
            }
            for (key, newer) in over {
                if !give(&key, &newer, each)? {
                    return Ok(());
                }
            }
            match last {
                Some(last) => from = Bound::Excluded(last),
                None => return Ok(()),
            }
        }
    }
}

/// Gives a row of the overlay, if it is not a removed one.
fn give(key: &[u8], value: &Option<Arc<[u8]>>, each: &mut Each<'_>) -> Result<bool, Error> {
    value.as_ref().map_or(Ok(true), |value| each(key, value))
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn start(bound: &Bound<Vec<u8>>) -> &[u8] {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => &[],
    }
}
