//! Scans: reading rows in order, from the overlay and sled as one.

use std::ops::Bound;
use std::sync::Arc;

use super::database::{Store, failed};
use super::keys;
use super::overlay::ROWS_AT_ONCE;
use crate::error::Error;

/// How many rows are taken from the overlay first. Each next time it is twice as many. Many scans need only one.
const ROWS_AT_FIRST: usize = 8;

/// Takes a row, and returns whether to go on.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Error> + 'a;

impl Store {
    /// Gives the rows with a prefix.
    pub(super) fn scan_prefix(&self, prefix: &[u8], each: &mut Each<'_>) -> Result<(), Error> {
        self.scan(prefix, &keys::end_of(prefix), each)
    }

    /// Gives the rows from one key up to, but not including, another. It is no snapshot: a row that changes meanwhile
    /// may be given as it was or as it is.
    pub(super) fn scan(&self, from: &[u8], to: &[u8], each: &mut Each<'_>) -> Result<(), Error> {
        // The tables of the overlay panic if a range ends before it begins.
        if from >= to {
            return Ok(());
        }
        let mut from = Bound::Included(from.to_vec());
        let to = Bound::Excluded(to.to_vec());
        let mut count = ROWS_AT_FIRST;
        loop {
            // The overlay comes first. A row that a checkpoint moves after this is found twice, and the first one
            // counts.
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

/// Gives a row of the overlay, unless it is removed.
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
