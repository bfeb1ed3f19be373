//! The events that the server has promised to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The latest event of each name: its data, as it stands on the wire.
pub type Latest = BTreeMap<String, String>;

/// Whether the data is that of a transient event: with a tilde, by which a stream that tells no more can be judged.
pub fn is_transient(data: &str) -> bool {
    data.starts_with("\"~")
}

/// What the server has promised to hold for a tenant.
#[derive(Default)]
pub struct Tenant {
    pub latest: Latest,
    /// Name, data and author of everything that was inserted or removed, by id.
    pub committed: BTreeMap<String, [String; 3]>,
    /// Names whose latest event goes, or has gone, by itself.
    pub expiring: BTreeSet<String>,
    /// Names that ever had such an event: a removal of theirs may have an id that nobody was told.
    pub may_expire: BTreeSet<String>,
}

impl Tenant {
    pub fn commit(&mut self, id: &str, name: &str, data: &str, username: &str) {
        self.committed.insert(id.to_owned(), [name, data, username].map(str::to_owned));
        self.expiring.remove(name);
        if data == "null" {
            self.latest.remove(name);
        } else {
            self.latest.insert(name.to_owned(), data.to_owned());
        }
    }

    /// The same of an event that is never the latest of its name.
    pub fn commit_transient(&mut self, id: &str, name: &str, data: &str, username: &str) {
        assert!(is_transient(data));
        self.committed.insert(id.to_owned(), [name, data, username].map(str::to_owned));
    }

    /// The transient events after an id, with their names.
    pub fn transient_after(&self, after: &str) -> impl Iterator<Item = (&String, &String)> {
        let after = (Bound::Excluded(after), Bound::Unbounded);
        self.committed
            .range::<str, _>(after)
            .filter(|(_, [_, data, _])| is_transient(data))
            .map(|(id, [name, ..])| (id, name))
    }

    /// Whether there was an event of this name before the end of a time.
    pub fn has_had(&self, name: &str, period: &Period) -> bool {
        self.committed.iter().any(|(id, [committed, ..])| committed == name && period.reaches(id))
    }

    /// What does not hang on whether something has expired by now.
    pub fn certain(&self, mut latest: Latest) -> Latest {
        latest.retain(|name, _| !self.expiring.contains(name));
        latest
    }
}

/// Which tenant somebody is of, and what they have of [`SCOPES`]. One request may change both, and then nobody ever has
/// the one of before with the other of after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub tenant: usize,
    pub scopes: usize,
}

/// How long somebody had this access.
#[derive(Debug)]
pub struct Period {
    pub access: Access,
    /// Once its end was answered: the last id that was known then. Whatever has a higher one was inserted later.
    pub until: Option<String>,
}

impl Period {
    pub fn new(access: Access) -> Self {
        Self { access, until: None }
    }

    /// Whether an event may have been inserted before the end. It need not have been after the beginning, since what
    /// was inserted before is given too.
    pub fn reaches(&self, id: &str) -> bool {
        self.until.as_deref().is_none_or(|until| id <= until)
    }
}
