//! Lookalike names: a row for each skeleton of each username and tenant name, and one for each tenant. When a user gets
//! a new name, the writer looks for these rows, and writes those of the new name in the same batch. So two names that
//! look alike cannot both be new.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::damage::damaged;
use super::database::Store;
use super::rows::Rows;
use super::sizes::{MAX_CHANGE_BYTES, MAX_OWNERS, NAMES_ROWS_BYTES};
use super::transaction::Transaction;
use super::{codec, keys};
use crate::domain::{NewTenantName, NewUsername, SKELETON_VERSION, Skeleton, TenantName, Username};
use crate::error::Error;

/// The setting that holds how far the names of earlier versions have been indexed.
const SETTING: &str = "names";
/// How many names are indexed at a time: users with their tenants, or tenants.
const NAMES_AT_ONCE: usize = 256;
// Twice, to leave room for the setting.
const _: () = assert!(2 * NAMES_AT_ONCE * NAMES_ROWS_BYTES <= MAX_CHANGE_BYTES);

/// A free name: the rows that take it.
#[must_use]
pub struct Claim(Vec<(Vec<u8>, Vec<u8>)>);

/// The names to index next, after the last one that was indexed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Next {
    /// The users and their tenants.
    Users(Option<String>),
    /// The tenants with events, which may have no users any more.
    TenantsWithEvents(Option<String>),
    /// The tenants that have a row already.
    Tenants(Option<String>),
    Nothing,
}

impl Default for Next {
    fn default() -> Self {
        Self::Users(None)
    }
}

/// A username, or a tenant, or both.
type Named = (Option<Username>, Option<TenantName>);

/// How far the names of earlier versions, which wrote no such rows, have been indexed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NameIndexing {
    version: u8,
    next: Next,
    /// How many usernames contain a `/`. No new ones can.
    pub with_slash: u64,
    /// One of them.
    pub example: Option<String>,
}

impl NameIndexing {
    /// Whether all names have been indexed.
    pub fn is_complete(&self) -> bool {
        self.version == SKELETON_VERSION && self.next == Next::Nothing
    }
}

fn is_taken(rows: &impl Rows, kind: keys::NameKind, name: &str) -> Result<bool, Error> {
    for skeleton in Skeleton::all_of(name) {
        if rows.get(&keys::skeleton(kind, &skeleton))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn rows_of(kind: keys::NameKind, name: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let owner = codec::encode_names([name]);
    Skeleton::all_of(name).into_iter().map(move |skeleton| (keys::skeleton(kind, &skeleton), owner.clone()))
}

fn name_indexing(rows: &impl Rows) -> Result<NameIndexing, Error> {
    let key = keys::setting(SETTING);
    let Some(kept) = rows.get(&key)? else { return Ok(NameIndexing::default()) };
    // If the setting cannot be read, all names are indexed again.
    Ok(serde_json::from_slice(&kept).unwrap_or_default())
}

fn free_username(rows: &impl Rows, username: &NewUsername) -> Result<Claim, Error> {
    let name = username.get().as_str();
    if rows.get(&keys::user(username.get()))?.is_some() {
        return Err(Error::UsernameTaken);
    }
    // That of a deleted user, for a while.
    if rows.get(&keys::quarantine(username.get()))?.is_some() {
        return Err(Error::UsernameTaken);
    }
    if is_taken(rows, keys::NameKind::User, name)? {
        return Err(Error::UsernameLookalike);
    }
    Ok(Claim(rows_of(keys::NameKind::User, name).collect()))
}

fn free_tenant(rows: &impl Rows, tenant: &TenantName) -> Result<Claim, Error> {
    if rows.get(&keys::tenant(tenant))?.is_some() {
        return Ok(Claim(Vec::new()));
    }
    let tenant = NewTenantName::parse(tenant.as_str())?;
    let name = tenant.get().as_str();
    if is_taken(rows, keys::NameKind::Tenant, name)? {
        return Err(Error::TenantNameLookalike);
    }
    let itself = (keys::tenant(tenant.get()), Vec::new());
    Ok(Claim(rows_of(keys::NameKind::Tenant, name).chain([itself]).collect()))
}

impl Store {
    /// Checks early whether a new user could have this name. [`Transaction::free_username`] decides.
    ///
    /// # Errors
    /// As there.
    pub fn check_username(&self, username: &NewUsername) -> Result<(), Error> {
        free_username(self, username).map(drop)
    }

    /// Checks early whether a user could get this tenant. [`Transaction::free_tenant`] decides.
    ///
    /// # Errors
    /// As there.
    pub fn check_tenant(&self, tenant: &TenantName) -> Result<(), Error> {
        free_tenant(self, tenant).map(drop)
    }

    /// How far the names of earlier versions have been indexed.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn name_indexing(&self) -> Result<NameIndexing, Error> {
        name_indexing(self)
    }
}

impl Transaction<'_> {
    /// Checks that a new user may have this name.
    ///
    /// # Errors
    /// [`Error::UsernameTaken`], [`Error::UsernameLookalike`]; [`Error::Overloaded`] until all names of earlier
    /// versions have been indexed; [`Error::Storage`].
    pub fn free_username(&self, username: &NewUsername) -> Result<Claim, Error> {
        self.all_names_are_indexed()?;
        free_username(self, username)
    }

    /// Checks that a user may get this tenant: an existing one with any name, or a new one.
    ///
    /// # Errors
    /// For a new one, [`Error::TenantNameInvalid`] and [`Error::TenantNameLookalike`]; [`Error::Overloaded`] until all
    /// names of earlier versions have been indexed; [`Error::Storage`].
    pub fn free_tenant(&self, tenant: &TenantName) -> Result<Claim, Error> {
        self.all_names_are_indexed()?;
        free_tenant(self, tenant)
    }

    fn all_names_are_indexed(&self) -> Result<(), Error> {
        if name_indexing(self)?.is_complete() { Ok(()) } else { Err(Error::Overloaded) }
    }

    /// Takes a free name, in the same transaction that found it free.
    pub fn claim(&mut self, Claim(rows): Claim) {
        rows.into_iter().for_each(|(key, value)| self.put(key, value));
    }

    /// Indexes some more names of earlier versions. Names that look alike already all stay.
    ///
    /// # Errors
    /// [`Error::Storage`]; then nothing is written.
    pub fn index_names(&mut self) -> Result<NameIndexing, Error> {
        let kept = name_indexing(self)?;
        let mut progress = if kept.version == SKELETON_VERSION { kept } else { NameIndexing::default() };
        if progress.is_complete() {
            return Ok(progress);
        }
        progress.version = SKELETON_VERSION;
        // Everything is read before anything is written.
        let mut new = BTreeMap::new();
        let mut left = NAMES_AT_ONCE;
        while left > 0 && progress.next != Next::Nothing {
            let (names, next) = self.names_from(std::mem::take(&mut progress.next), left)?;
            left -= names.len();
            progress.next = next;
            for (username, tenant) in names {
                if let Some(username) = username {
                    if !username.is_one_segment() {
                        progress.with_slash += 1;
                        progress.example.get_or_insert_with(|| username.to_string());
                    }
                    self.note(&mut new, username.as_str(), &mut rows_of(keys::NameKind::User, username.as_str()))?;
                }
                if let Some(tenant) = tenant {
                    let key = keys::tenant(&tenant);
                    if self.get(&key)?.is_none() {
                        new.insert(key, Vec::new());
                    }
                    self.note(&mut new, tenant.as_str(), &mut rows_of(keys::NameKind::Tenant, tenant.as_str()))?;
                }
            }
        }
        let kept = serde_json::to_vec(&progress).map_err(|error| Error::Internal(error.to_string()))?;
        self.claim(Claim(new.into_iter().collect()));
        self.put_setting(SETTING, kept);
        Ok(progress)
    }

    /// Adds the rows of a name that do not exist yet, and adds the name to those that others have.
    fn note(
        &self,
        new: &mut BTreeMap<Vec<u8>, Vec<u8>>,
        name: &str,
        rows: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<(), Error> {
        for (key, alone) in rows {
            let known = match new.get(&key) {
                Some(known) => Some(codec::decode_names(known).map_err(|why| damaged(&key, why))?),
                None => self.decoded(&key, codec::decode_names)?,
            };
            match known {
                None => drop(new.insert(key, alone)),
                Some(known) if known.len() >= MAX_OWNERS || known.iter().any(|known| known == name) => {}
                Some(known) => {
                    let all = known.iter().map(String::as_str).chain([name]);
                    new.insert(key, codec::encode_names(all));
                }
            }
        }
        Ok(())
    }

    /// The next names to index, at most this many, and where to continue after them.
    fn names_from(&self, next: Next, at_most: usize) -> Result<(Vec<Named>, Next), Error> {
        let store = &self.committer.store;
        let mut names: Vec<Named> = Vec::new();
        let tenant = |after: Option<String>| after.and_then(|after| TenantName::parse(&after).ok());
        match next {
            Next::Users(after) => {
                // The first key after the key of the last user.
                let from =
                    after.map_or(keys::USERS.to_vec(), |after| keys::after(&[keys::USERS, after.as_bytes()].concat()));
                store.scan(&from, &keys::end_of(keys::USERS), &mut |key, value| {
                    // A user that cannot be read is an error for requests, and is skipped here.
                    let Some(username) = keys::of_user(key) else { return Ok(true) };
                    let tenant = codec::decode_account(value).ok().map(|account| account.tenant);
                    names.push((Some(username), tenant));
                    Ok(names.len() < at_most)
                })?;
                let last = names.last().and_then(|(username, _)| username.as_ref().map(ToString::to_string));
                let next = if names.len() < at_most { Next::TenantsWithEvents(None) } else { Next::Users(last) };
                Ok((names, next))
            }
            Next::TenantsWithEvents(after) => {
                let mut after = tenant(after);
                while names.len() < at_most {
                    let Some(tenant) = store.next_tenant(after.as_ref())? else {
                        return Ok((names, Next::Tenants(None)));
                    };
                    names.push((None, Some(tenant.clone())));
                    after = Some(tenant);
                }
                Ok((names, Next::TenantsWithEvents(after.map(|after| after.to_string()))))
            }
            Next::Tenants(after) => {
                let from = tenant(after).map_or(keys::TENANTS.to_vec(), |after| keys::after(&keys::tenant(&after)));
                store.scan(&from, &keys::end_of(keys::TENANTS), &mut |key, _| {
                    let Some(tenant) = keys::of_tenant_key(key) else { return Ok(true) };
                    names.push((None, Some(tenant)));
                    Ok(names.len() < at_most)
                })?;
                let last = names.last().and_then(|(_, tenant)| tenant.as_ref().map(ToString::to_string));
                let next = if names.len() < at_most { Next::Nothing } else { Next::Tenants(last) };
                Ok((names, next))
            }
            Next::Nothing => Ok((names, Next::Nothing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventName, Payload, Timestamp, User};
    use crate::store::Draft;

    fn name(text: &str) -> NewUsername {
        NewUsername::parse(text).unwrap()
    }

    #[test]
    fn the_second_of_two_lookalikes_in_one_commit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_secs(1)).unwrap();
        let refused = transaction.free_username(&name("zoe")).err();
        assert_eq!(refused, Some(Error::Overloaded), "not before all names are indexed");
        assert!(transaction.index_names().unwrap().is_complete());
        for (one, other) in [("zoe", "Zoe"), ("paypal", "раураl")] {
            let claim = transaction.free_username(&name(one)).unwrap();
            transaction.claim(claim);
            assert_eq!(transaction.free_username(&name(other)).err(), Some(Error::UsernameLookalike));
            let (one, other) = (TenantName::parse(one).unwrap(), TenantName::parse(other).unwrap());
            let claim = transaction.free_tenant(&one).unwrap();
            transaction.claim(claim);
            assert_eq!(transaction.free_tenant(&other).err(), Some(Error::TenantNameLookalike));
            assert!(transaction.free_tenant(&one).unwrap().0.is_empty(), "it is there");
        }
    }

    #[test]
    fn a_tenant_without_users_is_known_by_its_events_or_its_row() {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let tenant = |name: &str| TenantName::parse(name).unwrap();
        let mut transaction = committer.begin(Timestamp::from_secs(1)).unwrap();
        // Earlier versions allowed this name.
        let (user, event) = (Username::parse("zoe").unwrap(), EventName::parse("x").unwrap());
        let _ = transaction.insert_event(Draft::value(tenant("jose\u{301}"), user, event, Payload::null())).unwrap();
        transaction.put(keys::tenant(&tenant("initech")), Vec::new());
        let _ = transaction.commit().unwrap().reveal();
        let mut transaction = committer.begin(Timestamp::from_secs(2)).unwrap();
        assert!(transaction.index_names().unwrap().is_complete());
        for (there, lookalike) in [("jose\u{301}", "Jos\u{e9}"), ("initech", "Initech")] {
            assert!(transaction.free_tenant(&tenant(there)).is_ok(), "{there}");
            let refused = transaction.free_tenant(&tenant(lookalike)).err();
            assert_eq!(refused, Some(Error::TenantNameLookalike), "{lookalike}");
        }
    }

    #[test]
    fn names_of_users_and_tenants_are_indexed_in_steps() {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_secs(1)).unwrap();
        let (user, event) = (Username::parse("zoe").unwrap(), EventName::parse("x").unwrap());
        for number in 0..NAMES_AT_ONCE {
            let tenant = TenantName::parse(&format!("tenant {number}")).unwrap();
            let _ =
                transaction.insert_event(Draft::value(tenant, user.clone(), event.clone(), Payload::null())).unwrap();
        }
        let _ = transaction.commit().unwrap().reveal();
        // First as tenants with events, then again as tenants that have a row.
        for is_complete in [false, false, true] {
            let mut transaction = committer.begin(Timestamp::from_secs(2)).unwrap();
            assert_eq!(transaction.index_names().unwrap().is_complete(), is_complete);
            let _ = transaction.commit().unwrap().reveal();
        }
        let transaction = committer.begin(Timestamp::from_secs(3)).unwrap();
        for number in 0..NAMES_AT_ONCE {
            let lookalike = TenantName::parse(&format!("TENANT {number}")).unwrap();
            assert_eq!(transaction.free_tenant(&lookalike).err(), Some(Error::TenantNameLookalike));
        }
    }

    #[test]
    fn users_of_earlier_versions_are_indexed_in_steps_and_damaged_ones_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_secs(1)).unwrap();
        for number in 0..NAMES_AT_ONCE + 1 {
            transaction
                .put_user(&User { username: Username::parse(&format!("a/{number:04}")).unwrap(), ..User::example() });
        }
        transaction.put(b"ubroken".to_vec(), b"{".to_vec());
        let _ = transaction.commit().unwrap().reveal();
        let mut transaction = committer.begin(Timestamp::from_secs(2)).unwrap();
        assert!(!transaction.index_names().unwrap().is_complete());
        let _ = transaction.commit().unwrap().reveal();
        let mut transaction = committer.begin(Timestamp::from_secs(3)).unwrap();
        let progress = transaction.index_names().unwrap();
        assert!(progress.is_complete());
        assert_eq!((progress.with_slash, progress.example.as_deref()), (NAMES_AT_ONCE as u64 + 1, Some("a/0000")));
        assert_eq!(transaction.free_username(&name("Broken")).err(), Some(Error::UsernameLookalike));
        assert_eq!(
            transaction.free_tenant(&TenantName::parse("ACME").unwrap()).err(),
            Some(Error::TenantNameLookalike)
        );
    }
}
