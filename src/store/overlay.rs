//! The overlay: the commits that are not in sled yet. Reads look here first.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::progress::Progress;

/// The approximate memory that a row takes in addition to its bytes.
const ROW_BYTES: usize = 120;
/// How many rows a scan takes at once. Meanwhile the writer waits.
pub const ROWS_AT_ONCE: usize = 256;

/// A change of one key.
#[derive(Clone, Debug)]
pub enum Write {
    /// The key gets this value.
    Put(Arc<[u8]>),
    /// The same, for a key that never existed before. If it is removed again, it leaves nothing behind.
    PutNew(Arc<[u8]>),
    /// The key is removed.
    Remove,
}

impl Write {
    /// The new value of the key.
    pub fn value(&self) -> Option<&Arc<[u8]>> {
        match self {
            Self::Put(value) | Self::PutNew(value) => Some(value),
            Self::Remove => None,
        }
    }
}

/// A key, and its value if it is not removed.
pub type Row = (Vec<u8>, Option<Arc<[u8]>>);

/// Two tables: one that takes new commits, and one that a checkpoint is moving into sled.
#[derive(Default)]
pub struct Overlay(RwLock<Tables>);

#[derive(Default)]
struct Tables {
    active: Table,
    frozen: Option<Arc<Table>>,
}

/// Rows by key.
#[derive(Default)]
pub struct Table {
    rows: BTreeMap<Vec<u8>, Write>,
    bytes: usize,
    /// Up to here, the table holds everything that is not in sled.
    progress: Progress,
}

impl Table {
    /// All rows, by key.
    pub fn rows(&self) -> impl Iterator<Item = (&Vec<u8>, &Write)> {
        self.rows.iter()
    }

    /// Up to here, the table holds everything that is not in sled.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    fn apply(&mut self, key: Vec<u8>, write: Write) {
        let bytes = |key: &[u8], write: &Write| ROW_BYTES + key.len() + write.value().map_or(0, |value| value.len());
        if matches!(write, Write::Remove)
            && matches!(self.rows.get(&key), Some(Write::PutNew(_)))
            && let Some(old) = self.rows.remove(&key)
        {
            self.bytes -= bytes(&key, &old);
            return;
        }
        let (length, added) = (key.len(), bytes(&key, &write));
        let old = self.rows.insert(key, write);
        self.bytes += added;
        self.bytes -= old.map_or(0, |old| ROW_BYTES + length + old.value().map_or(0, |value| value.len()));
    }
}

impl Overlay {
    /// Adds the rows of a commit.
    pub fn apply(&self, writes: impl IntoIterator<Item = (Vec<u8>, Write)>, progress: Progress) {
        let mut tables = self.write();
        for (key, write) in writes {
            tables.active.apply(key, write);
        }
        tables.active.progress = progress;
    }

    /// The value of a key, if the overlay has the key. `Some(None)` means that the key is removed.
    pub fn get(&self, key: &[u8]) -> Option<Option<Arc<[u8]>>> {
        let tables = self.read();
        let row = tables.active.rows.get(key).or_else(|| tables.frozen.as_ref()?.rows.get(key))?;
        Some(row.value().cloned())
    }

    /// The next rows of a range, at most this many. If there may be more, the last key comes with them: up to it, the
    /// rows are complete.
    pub fn next_rows(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, count: usize) -> (Vec<Row>, Option<Vec<u8>>) {
        let tables = self.read();
        let mut active = tables.active.rows.range::<[u8], _>((from, to)).peekable();
        let frozen = tables.frozen.as_ref().map(|frozen| frozen.rows.range::<[u8], _>((from, to)));
        let mut frozen = frozen.into_iter().flatten().peekable();
        let mut rows: Vec<Row> = Vec::new();
        while rows.len() < count {
            let from_active = match (active.peek(), frozen.peek()) {
                (Some((newer, _)), Some((older, _))) if newer == older => {
                    frozen.next();
                    true
                }
                (Some((newer, _)), Some((older, _))) => newer < older,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return (rows, None),
            };
            let row = if from_active { active.next() } else { frozen.next() };
            rows.extend(row.map(|(key, write)| (key.clone(), write.value().cloned())));
        }
        let last = rows.last().map(|(key, _)| key.clone());
        (rows, last)
    }

    /// The memory that the active table takes.
    pub fn active_bytes(&self) -> usize {
        self.read().active.bytes
    }

    /// The memory that both tables take.
    pub fn bytes(&self) -> usize {
        let tables = self.read();
        tables.active.bytes + tables.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }

    /// Whether a checkpoint is under way.
    pub fn is_frozen(&self) -> bool {
        self.read().frozen.is_some()
    }

    /// Sets the active table aside for a checkpoint.
    ///
    /// # Panics
    /// If another table is being moved: its rows would be lost.
    pub fn freeze(&self) -> Arc<Table> {
        let mut tables = self.write();
        assert!(tables.frozen.is_none(), "a checkpoint begins before the last one is finished");
        let progress = tables.active.progress;
        let full = std::mem::replace(&mut tables.active, Table { progress, ..Table::default() });
        let frozen = Arc::new(full);
        tables.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// Forgets the table that a checkpoint has moved.
    pub fn thaw(&self) {
        let moved = self.write().frozen.take();
        // It is dropped outside the lock, because dropping a large table takes a while.
        drop(moved);
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &'static str) -> Write {
        Write::Put(value.as_bytes().into())
    }

    fn apply(overlay: &Overlay, writes: Vec<(&str, Write)>) {
        let writes = writes.into_iter().map(|(key, write)| (key.as_bytes().to_vec(), write));
        overlay.apply(writes, Progress::default());
    }

    #[test]
    fn the_newer_table_is_found_before_the_one_that_is_being_moved_and_a_removed_key_is_known_as_such() {
        let overlay = Overlay::default();
        apply(&overlay, vec![("a", put("1")), ("b", put("1")), ("d", put("1"))]);
        overlay.freeze();
        apply(&overlay, vec![("b", put("2")), ("c", put("2")), ("d", Write::Remove)]);
        assert_eq!(overlay.get(b"a"), Some(Some(b"1"[..].into())));
        assert_eq!(overlay.get(b"b"), Some(Some(b"2"[..].into())));
        assert_eq!(overlay.get(b"d"), Some(None));
        assert_eq!(overlay.get(b"e"), None);
        let (from, to) = (Bound::Included(b"a".as_slice()), Bound::Excluded(b"z".as_slice()));
        let (rows, last) = overlay.next_rows(from, to, ROWS_AT_ONCE);
        let rows: Vec<_> = rows.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        assert_eq!(rows, [(&b"a"[..], Some(&b"1"[..])), (b"b", Some(b"2")), (b"c", Some(b"2")), (b"d", None),]);
        assert_eq!(last, None);
        overlay.thaw();
        assert_eq!(overlay.get(b"a"), None);
        assert_eq!(overlay.get(b"d"), Some(None), "sled has it still");
    }

    #[test]
    fn a_new_key_that_is_removed_leaves_nothing_behind_not_even_its_bytes() {
        let overlay = Overlay::default();
        apply(&overlay, vec![("n", Write::PutNew(b"new"[..].into())), ("n", Write::Remove)]);
        assert_eq!((overlay.get(b"n"), overlay.active_bytes()), (None, 0));
        apply(&overlay, vec![("o", put("old")), ("o", Write::Remove)]);
        assert_eq!(overlay.get(b"o"), Some(None));
        apply(&overlay, vec![("n", Write::PutNew(b"new"[..].into()))]);
        overlay.freeze();
        apply(&overlay, vec![("n", Write::Remove)]);
        assert_eq!(overlay.get(b"n"), Some(None), "the checkpoint is moving it");
    }

    #[test]
    #[should_panic(expected = "a checkpoint begins before the last one is finished")]
    fn a_table_that_is_being_moved_is_never_replaced() {
        let overlay = Overlay::default();
        overlay.freeze();
        overlay.freeze();
    }

    #[test]
    fn a_long_range_is_given_in_parts() {
        let overlay = Overlay::default();
        let writes = (0..1000_u16).map(|number| (number.to_be_bytes().to_vec(), put("x")));
        overlay.apply(writes, Progress::default());
        let (mut from, mut seen) = (Bound::Unbounded, Vec::new());
        loop {
            let start = from.as_ref().map(|key: &Vec<u8>| key.as_slice());
            let (rows, last) = overlay.next_rows(start, Bound::Unbounded, ROWS_AT_ONCE);
            seen.extend(rows.into_iter().map(|(key, _)| key));
            let Some(last) = last else { break };
            from = Bound::Excluded(last);
        }
        assert!(seen.into_iter().eq((0..1000_u16).map(|number| number.to_be_bytes().to_vec())));
    }
}
