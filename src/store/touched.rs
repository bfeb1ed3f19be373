//! An estimate of how much sled writes for some rows.

use std::collections::VecDeque;
use std::ops::Bound;

/// How many rows one of sled's pages has at most. A page with more is split before it is written to.
const ROWS_A_PAGE: usize = 17;
/// How many rows are looked up at once.
const ROWS_AHEAD: usize = 2 * ROWS_A_PAGE;
/// How often a page is rewritten at most while some of its rows are changed, each once. sled rewrites a page after ten
/// changes, and when it is split or merged.
const TIMES: usize = 2;
/// How often the row itself is counted. It is written as a change, and if it is new, the pages of new rows are
/// rewritten and split as they grow.
const OWN_TIMES: usize = 3;
/// How much sled may write between two flushes if there is not much room on the disk.
const BYTES_A_FLUSH: usize = 8 << 20;
/// How many rows may be on the pages that it writes then: those around 64 rows that are far from each other. With each
/// page that it rewrites, sled moves another of unknown size, and now and then it writes a page of its index.
const ROWS_A_FLUSH: usize = 64 * (1 + ROWS_AHEAD);
/// The bytes that a row takes in addition to its own.
const ROW_BYTES: usize = 64;

/// Counts the bytes of the pages that rows touch, which are added in the order of their keys. sled does not tell where
/// a page ends. So all rows that could be on the page of a row are counted: seventeen before and seventeen after it,
/// each once. A small row among large ones costs much more than its own size.
pub struct Touched {
    tree: sled::Tree,
    /// The rows after the row that was added last. The first ones are counted already, and the last one tells where to
    /// look next.
    ahead: VecDeque<(sled::IVec, usize)>,
    counted: usize,
    last: Option<sled::IVec>,
    rows: usize,
    bytes: usize,
}

impl Touched {
    pub fn new(tree: &sled::Tree) -> Self {
        Self { tree: tree.clone(), ahead: VecDeque::new(), counted: 0, last: None, rows: 0, bytes: 0 }
    }

    /// How much sled writes at most for the added rows.
    pub fn bytes(&self) -> usize {
        self.bytes * TIMES
    }

    /// Whether no more rows should be added before the next flush.
    pub fn is_enough(&self) -> bool {
        self.bytes() >= BYTES_A_FLUSH || self.rows >= ROWS_A_FLUSH
    }

    fn count(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes;
    }

    /// Adds a row, whose key comes after that of the previous row.
    pub fn add(&mut self, key: &[u8], value_bytes: usize) -> Result<(), sled::Error> {
        self.count(OWN_TIMES * (ROW_BYTES + key.len() + value_bytes));
        // The rows up to the key that were not counted for an earlier row.
        let mut passed = VecDeque::new();
        while let Some((_, bytes)) = self.ahead.pop_front_if(|(next, _)| &next[..] <= key) {
            match self.counted.checked_sub(1) {
                Some(left) => self.counted = left,
                None => passed.push_front(bytes),
            }
        }
        let mut before = 0;
        if self.last.as_ref().is_none_or(|last| &last[..] < key) {
            // All rows up to the last one have been passed.
            let from = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
            for row in self.tree.range::<sled::IVec, _>((from, Bound::Included(key.into()))).rev().take(ROWS_A_PAGE) {
                self.count(size(&row?));
                before += 1;
            }
            self.last = Some(key.into());
        }
        passed.iter().take(ROWS_A_PAGE - before).for_each(|bytes| self.count(*bytes));
        if self.ahead.len() < ROWS_A_PAGE {
            let from = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
            for row in self.tree.range::<sled::IVec, _>((from, Bound::Unbounded)).take(ROWS_AHEAD - self.ahead.len()) {
                let row = row?;
                self.ahead.push_back((row.0.clone(), size(&row)));
            }
            self.last = self.ahead.back().map(|(key, _)| key.clone()).or(self.last.take());
        }
        while let Some(&(_, bytes)) = self.ahead.get(self.counted).filter(|_| self.counted < ROWS_A_PAGE) {
            self.count(bytes);
            self.counted += 1;
        }
        Ok(())
    }
}

fn size((key, value): &(sled::IVec, sled::IVec)) -> usize {
    ROW_BYTES + key.len() + value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of a hundred rows that count a thousand bytes each.
    fn tree() -> sled::Tree {
        let db = sled::Config::new().temporary(true).open().unwrap();
        for number in 0..100 {
            db.insert(format!("row{number:03}"), vec![7; 1000 - ROW_BYTES - 6]).unwrap();
        }
        (*db).clone()
    }

    /// How many of these rows are counted for some keys.
    fn counted(keys: impl IntoIterator<Item = String>) -> usize {
        let mut touched = Touched::new(&tree());
        keys.into_iter().for_each(|key| touched.add(key.as_bytes(), 1).unwrap());
        touched.bytes() / TIMES / 1000
    }

    #[test]
    fn for_a_small_row_among_large_ones_every_row_that_may_share_its_page_is_counted() {
        assert_eq!(counted(["row050".to_owned()]), 17 + 17);
        assert_eq!(counted(["row050x".to_owned()]), 17 + 17);
        assert_eq!(counted(["row".to_owned()]), 17);
        assert_eq!(counted(["row002".to_owned(), "row098".to_owned()]), 3 + 17 + 17 + 1);
    }

    #[test]
    fn for_rows_near_each_other_every_row_that_may_share_their_pages_is_counted() {
        for distance in 1..60 {
            let (first, second) = (20, 20 + distance);
            let expected = (0..100_u32).filter(|&row| {
                let is_near = |key: u32| row + 17 > key && row <= key + 17;
                is_near(first) || is_near(second)
            });
            let keys = [format!("row{first:03}"), format!("row{second:03}")];
            assert_eq!(counted(keys), expected.count(), "{distance} rows away");
        }
        // Three keys.
        assert_eq!(counted(["row010".to_owned(), "row040".to_owned(), "row070".to_owned()]), 88);
    }

    /// How many rows are added between two flushes.
    fn given(tree: &sled::Tree, keys: impl IntoIterator<Item = String>, value_bytes: usize) -> usize {
        let mut touched = Touched::new(tree);
        let is_taken = |key: &String| {
            let is_enough = touched.is_enough();
            touched.add(key.as_bytes(), value_bytes).unwrap();
            !is_enough
        };
        keys.into_iter().take_while(is_taken).count()
    }

    #[test]
    fn rows_that_share_their_pages_go_together_and_those_far_from_each_other_in_small_steps() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let small = |number: usize| (format!("row{number:06}").into_bytes(), vec![7; 100]);
        (0..10_000).map(small).for_each(|(key, value)| drop(db.insert(key, value).unwrap()));
        // Existing rows, and new rows one after another. Each step contains everything between them.
        assert!(given(&db, (0..9000).map(|number| format!("row{number:06}")), 100) > 1000);
        assert!(given(&db, (0..9000).map(|number| format!("row000500/{number:06}")), 100) > 1000);
        assert_eq!(given(&db, (0..99).map(|number| format!("row{:06}", 100 + 100 * number)), 100), 64);
        // A few large rows are enough.
        assert!((2..20).contains(&given(&db, (0..9000).map(|number| format!("row{number:06}")), 100_000)));
    }

    #[test]
    fn pages_that_several_rows_share_are_counted_once() {
        assert_eq!(
            counted((0..100).map(|number| format!("row{number:03}"))),
            100 + 100 * OWN_TIMES * (ROW_BYTES + 7) / 1000
        );
        assert_eq!(counted((50..53).map(|number| format!("row{number:03}"))), 17 + 19);
        // New rows, one after another.
        assert_eq!(counted((0..4).map(|number| format!("row050x{number}"))), 17 + 17);
    }
}
