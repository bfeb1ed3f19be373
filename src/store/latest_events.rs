use super::{Store, StoredEvent, codec, damaged, keys, replay};
use crate::domain::{Pattern, TenantName, View};
use crate::error::Error;

/// How many names are looked at in one step at most.
const NAMES_A_STEP: usize = 1024;

/// A reading of the latest event of each name that somebody gets, each name once, as it is when it is come to.
pub struct LatestEvents {
    tenant: TenantName,
    view: View,
    /// One after another; a name that an earlier one wants too has been given.
    patterns: Vec<Pattern>,
    /// Which of them is being read.
    at: usize,
    /// The last name of it that was read.
    after: Option<Vec<u8>>,
}

impl LatestEvents {
    /// Of a tenant, what somebody gets.
    pub fn new(tenant: TenantName, view: View) -> Self {
        let patterns = view.candidates().unwrap_or_else(|| vec![Pattern::Prefix(String::new())]);
        Self { tenant, view, patterns, at: 0, after: None }
    }

    /// Gives the next events, of about `bytes` together; whether there may be more. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails or an event is damaged.
    pub fn next(&mut self, store: &Store, bytes: usize, mut each: impl FnMut(StoredEvent<'_>)) -> Result<bool, Error> {
        let mut size = 0;
        while size < bytes {
            let Some(pattern) = self.patterns.get(self.at) else { return Ok(false) };
            let names = match pattern {
                Pattern::Exact(name) => vec![keys::name(&self.tenant, name.as_str())],
                Pattern::Prefix(prefix) => self.names(store, prefix)?,
            };
            let is_whole = names.len() < NAMES_A_STEP;
            for key in names {
                let name = keys::name_of(&self.tenant, &key).ok_or_else(|| damaged(&key, "a name is cut short"))?;
                let is_given = self.patterns[..self.at].iter().any(|earlier| earlier.matches(name));
                if !is_given && self.view.matches(name) {
                    size += self.give(store, name, &mut each)?;
                }
                self.after = Some(key);
                if size >= bytes {
                    return Ok(true);
                }
            }
            if is_whole {
                self.at += 1;
                self.after = None;
            }
        }
        Ok(true)
    }

    /// The next keys of names that begin so.
    fn names(&self, store: &Store, prefix: &str) -> Result<Vec<Vec<u8>>, Error> {
        let first = keys::name(&self.tenant, prefix);
        let end = keys::end_of(&first);
        // The first key after another is that with a zero at its end.
        let from = self.after.as_ref().map_or(first, |after| [after, &[0][..]].concat());
        let mut names = Vec::new();
        store.scan(&from, &end, &mut |key, _| {
            names.push(key.to_vec());
            Ok(names.len() < NAMES_A_STEP)
        })?;
        Ok(names)
    }

    /// Gives the latest event of a name, if there is one; its size.
    fn give(&self, store: &Store, name: &str, each: &mut impl FnMut(StoredEvent<'_>)) -> Result<usize, Error> {
        while let Some(latest) = store.latest(&self.tenant, name)?.filter(|latest| !latest.is_removal) {
            let key = keys::event(&self.tenant, latest.position);
            // Where it is gone another has taken its place since.
            let Some(value) = store.get(&key)? else { continue };
            let parts = codec::event_parts(&value).map_err(|why| damaged(&key, why))?;
            each(replay::stored(latest.position, &parts));
            return Ok(value.len());
        }
        Ok(0)
    }
}
