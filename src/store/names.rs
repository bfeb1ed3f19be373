use std::ops::Range;

use super::damage::damaged;
use super::database::Store;
use super::keys;
use super::replay::Wanted;
use crate::domain::{Pattern, TenantName};
use crate::error::Error;

/// How many names one step looks at, so that it is always short.
const NAMES_A_STEP: usize = 256;

/// A reading of the wanted names of a tenant, each once, in the order of their bytes. It includes removed names, as
/// long as their removal is kept.
pub struct Names {
    tenant: TenantName,
    wanted: Wanted,
    unread: Unread,
}

impl Names {
    /// Begins a reading of the names whose events are wanted.
    pub fn new(tenant: TenantName, wanted: Wanted) -> Self {
        let ranges = wanted.candidates().into_iter().map(|pattern| {
            let first = keys::name(&tenant, pattern.beginning());
            let is_one = matches!(pattern, Pattern::Exact(_));
            let end = if is_one { keys::after(&first) } else { keys::end_of(&first) };
            first..end
        });
        let unread = Unread::new(ranges.collect());
        Self { tenant, wanted, unread }
    }

    /// Skips all names up to this one, which need not exist.
    pub fn start_after(&mut self, name: &str) {
        let start = keys::after(&keys::name(&self.tenant, name));
        self.unread.start_at(&start);
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// Gives the next names to `each`, until `each` returns true. Returns whether there may be more. A step is always
    /// short, and may give none. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] if the database fails; the errors of `each`.
    pub fn next(&mut self, store: &Store, mut each: impl FnMut(&str) -> Result<bool, Error>) -> Result<bool, Error> {
        let Self { tenant, wanted, unread } = self;
        let mut looked_at = 0;
        unread.read(store, |key, _| {
            let name = keys::name_of(tenant, key).ok_or_else(|| damaged(key, "a name is cut short"));
            looked_at += 1;
            let name = store.unless_damaged(name)?.filter(|name| wanted.matches(name));
            let is_enough = name.map_or(Ok(false), &mut each)?;
            Ok(!is_enough && looked_at < NAMES_A_STEP)
        })
    }
}

/// The part of some ranges of keys that has not been read yet. Reading only removes from it. So no key comes twice, and
/// every reading ends, whatever its callback returns.
pub struct Unread(Vec<Range<Vec<u8>>>);

impl Unread {
    /// Ranges in the order of their keys, without overlap.
    pub fn new(mut ranges: Vec<Range<Vec<u8>>>) -> Self {
        // The next range is the last element.
        ranges.reverse();
        Self(ranges)
    }

    /// Removes all keys before this one.
    pub fn start_at(&mut self, key: &[u8]) {
        for range in &mut self.0 {
            if *range.start < *key {
                range.start = key.to_vec();
            }
        }
        self.0.retain(|range| range.start < range.end);
    }

    /// Gives the next rows to `each`, until `each` returns false. Returns whether there is more.
    pub fn read(
        &mut self,
        store: &Store,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        while let Some(Range { start, end }) = self.0.pop() {
            let mut rest = None;
            store.scan(&start, &end, &mut |key, value| {
                let go_on = each(key, value)?;
                rest = (!go_on).then(|| keys::after(key));
                Ok(go_on)
            })?;
            if let Some(start) = rest {
                self.0.extend((start < end).then_some(start..end));
                return Ok(!self.0.is_empty());
            }
        }
        Ok(false)
    }
}
