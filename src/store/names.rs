use super::replay::Wanted;
use super::{Store, damaged, keys};
use crate::domain::{Pattern, TenantName};
use crate::error::Error;

/// How many names are looked at in one step at most.
const NAMES_A_STEP: usize = 1024;

/// A reading of those names of a tenant that are wanted, each once; removed ones too, while it is known that they were there.
pub struct Names {
    tenant: TenantName,
    wanted: Wanted,
    /// One after another; a name that an earlier one wants too has been given.
    patterns: Vec<Pattern>,
    /// Which of them is being read.
    at: usize,
    /// The last name of it that was read.
    after: Option<Vec<u8>>,
}

impl Names {
    /// The names of a tenant under which somebody gets, or got, events.
    pub fn new(tenant: TenantName, wanted: Wanted) -> Self {
        let patterns = wanted.candidates().unwrap_or_else(|| vec![Pattern::Prefix(String::new())]);
        Self { tenant, wanted, patterns, at: 0, after: None }
    }

    /// Whose names they are.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// Gives the next names, until `each` says that it is enough; whether there may be more. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Storage`] where the database fails; those of `each`.
    pub fn next(&mut self, store: &Store, mut each: impl FnMut(&str) -> Result<bool, Error>) -> Result<bool, Error> {
        while let Some(pattern) = self.patterns.get(self.at) {
            let names = match pattern {
                Pattern::Exact(name) => {
                    let is_known = store.latest(&self.tenant, name.as_str())?.is_some();
                    is_known.then(|| keys::name(&self.tenant, name.as_str())).into_iter().collect()
                }
                Pattern::Prefix(prefix) => self.beginning_with(store, prefix)?,
            };
            let is_last = names.len() < NAMES_A_STEP;
            for key in names {
                let name = keys::name_of(&self.tenant, &key).ok_or_else(|| damaged(&key, "a name is cut short"))?;
                let is_given = self.patterns[..self.at].iter().any(|earlier| earlier.matches(name));
                let is_enough = !is_given && self.wanted.matches(name) && each(name)?;
                self.after = Some(key);
                if is_enough {
                    return Ok(true);
                }
            }
            if is_last {
                self.at += 1;
                self.after = None;
            }
        }
        Ok(false)
    }

    /// The next keys of names that begin so.
    fn beginning_with(&self, store: &Store, prefix: &str) -> Result<Vec<Vec<u8>>, Error> {
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
}
