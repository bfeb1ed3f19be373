//! Which names are taken, with all that may be taken for them: a row for each skeleton of a username and of a tenant's name,
//! and one for each tenant that there is. The writer looks at them when somebody is to have a new name, and writes those of the
//! new name in the same batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::room::{MAX_CHANGE_BYTES, NAMES_ROWS_BYTES};
use super::{Store, Transaction, codec, keys};
use crate::domain::{NewTenantName, NewUsername, SKELETON_VERSION, Skeleton, TenantName, Username};
use crate::error::Error;

/// Where it is kept how far the users have been gone through.
const SETTING: &str = "names";
/// How many users are gone through at a time.
const USERS_AT_ONCE: usize = 256;
// Twice, for what is kept of how far this has come.
const _: () = assert!(2 * USERS_AT_ONCE * NAMES_ROWS_BYTES <= MAX_CHANGE_BYTES);

/// A name that is free, and the rows that take it.
#[must_use]
pub struct Claim(Vec<(Vec<u8>, Vec<u8>)>);

/// How far the users have been gone through whose names earlier versions did not note.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamesNoted {
    version: u8,
    /// The last one; `None` where that is all.
    after: Option<String>,
    /// How many have a `/` in their names. There will be no others.
    pub with_slash: u64,
    /// One of them.
    pub example: Option<String>,
}

impl NamesNoted {
    /// Whether every user has been gone through.
    pub fn is_complete(&self) -> bool {
        self.version == SKELETON_VERSION && self.after.is_none()
    }
}

type Get<'a> = dyn Fn(&[u8]) -> Result<Option<Arc<[u8]>>, Error> + 'a;

fn is_taken(get: &Get<'_>, kind: keys::NameKind, name: &str) -> Result<bool, Error> {
    for skeleton in Skeleton::all_of(name) {
        if get(&keys::skeleton(kind, &skeleton))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn rows(kind: keys::NameKind, name: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    Skeleton::all_of(name).into_iter().map(move |skeleton| (keys::skeleton(kind, &skeleton), name.as_bytes().to_vec()))
}

fn names_noted(get: &Get<'_>) -> Result<NamesNoted, Error> {
    let key = keys::setting(SETTING);
    let Some(kept) = get(&key)? else { return Ok(NamesNoted::default()) };
    // What cannot be read is made anew, by going through all users again.
    Ok(serde_json::from_slice(&kept).unwrap_or_default())
}

fn free_username(get: &Get<'_>, username: &NewUsername) -> Result<Claim, Error> {
    let name = username.get().as_str();
    if get(&keys::user(username.get()))?.is_some() {
        return Err(Error::UsernameTaken);
    }
    if is_taken(get, keys::NameKind::User, name)? {
        return Err(Error::UsernameLookalike);
    }
    Ok(Claim(rows(keys::NameKind::User, name).collect()))
}

fn free_tenant(get: &Get<'_>, tenant: &TenantName) -> Result<Claim, Error> {
    if get(&keys::tenant(tenant))?.is_some() {
        return Ok(Claim(Vec::new()));
    }
    let tenant = NewTenantName::parse(tenant.as_str())?;
    let name = tenant.get().as_str();
    if is_taken(get, keys::NameKind::Tenant, name)? {
        return Err(Error::TenantNameLookalike);
    }
    let itself = (keys::tenant(tenant.get()), Vec::new());
    Ok(Claim(rows(keys::NameKind::Tenant, name).chain([itself]).collect()))
}

impl Store {
    /// Whether a new user could have a name, as it is now: [`Transaction::free_username`] decides.
    ///
    /// # Errors
    /// As there.
    pub fn check_username(&self, username: &NewUsername) -> Result<(), Error> {
        free_username(&|key| self.get(key), username).map(drop)
    }

    /// Whether a user could come to a tenant, as it is now: [`Transaction::free_tenant`] decides.
    ///
    /// # Errors
    /// As there.
    pub fn check_tenant(&self, tenant: &TenantName) -> Result<(), Error> {
        free_tenant(&|key| self.get(key), tenant).map(drop)
    }

    /// How far the users of earlier versions have been gone through.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn names_noted(&self) -> Result<NamesNoted, Error> {
        names_noted(&|key| self.get(key))
    }
}

impl Transaction<'_> {
    /// Looks whether a new user may have a name.
    ///
    /// # Errors
    /// [`Error::UsernameTaken`], [`Error::UsernameLookalike`]; [`Error::Overloaded`] until all users of earlier versions have been
    /// gone through; [`Error::Storage`].
    pub fn free_username(&self, username: &NewUsername) -> Result<Claim, Error> {
        self.all_are_noted()?;
        free_username(&|key| self.get(key), username)
    }

    /// Looks whether a user may come to a tenant: one that there is, whatever its name, or a new one.
    ///
    /// # Errors
    /// For a new one, [`Error::TenantNameInvalid`] and [`Error::TenantNameLookalike`]; [`Error::Overloaded`] until all users of
    /// earlier versions have been gone through; [`Error::Storage`].
    pub fn free_tenant(&self, tenant: &TenantName) -> Result<Claim, Error> {
        self.all_are_noted()?;
        free_tenant(&|key| self.get(key), tenant)
    }

    fn all_are_noted(&self) -> Result<(), Error> {
        if names_noted(&|key| self.get(key))?.is_complete() { Ok(()) } else { Err(Error::Overloaded) }
    }

    /// Takes a name that is free, in this same transaction.
    pub fn claim(&mut self, Claim(rows): Claim) {
        rows.into_iter().for_each(|(key, value)| self.put(key, value));
    }

    /// Goes through some more of the users whose names earlier versions did not note. Of names that look alike already, all stay.
    ///
    /// # Errors
    /// [`Error::Storage`]; nothing is written then.
    pub fn note_names(&mut self) -> Result<NamesNoted, Error> {
        let kept = names_noted(&|key| self.get(key))?;
        let mut noted = if kept.version == SKELETON_VERSION { kept } else { NamesNoted::default() };
        if noted.is_complete() {
            return Ok(noted);
        }
        noted.version = SKELETON_VERSION;
        // What comes right after the last one's key.
        let from =
            noted.after.as_ref().map_or(keys::USERS.to_vec(), |after| [keys::USERS, after.as_bytes(), &[0]].concat());
        let mut users: Vec<(Username, Option<TenantName>)> = Vec::new();
        self.committer.store.scan(&from, &keys::end_of(keys::USERS), &mut |key, value| {
            // What cannot be read is an error for who asks for it, and is passed over here.
            let Some(username) = keys::of_user(key) else { return Ok(true) };
            let tenant = codec::decode_account(value).ok().map(|account| account.tenant);
            users.push((username, tenant));
            Ok(users.len() < USERS_AT_ONCE)
        })?;
        noted.after = users.last().filter(|_| users.len() == USERS_AT_ONCE).map(|(last, _)| last.to_string());
        // All is read before anything is written.
        let mut new = BTreeMap::new();
        let mut note = |rows: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>| {
            for (key, value) in rows {
                if !new.contains_key(&key) && self.get(&key)?.is_none() {
                    new.insert(key, value);
                }
            }
            Ok::<_, Error>(())
        };
        for (username, tenant) in users {
            if !username.is_one_segment() {
                noted.with_slash += 1;
                noted.example.get_or_insert_with(|| username.to_string());
            }
            note(&mut rows(keys::NameKind::User, username.as_str()))?;
            if let Some(tenant) = tenant {
                let itself = (keys::tenant(&tenant), Vec::new());
                note(&mut rows(keys::NameKind::Tenant, tenant.as_str()).chain([itself]))?;
            }
        }
        let kept = serde_json::to_vec(&noted).map_err(|error| Error::Internal(error.to_string()))?;
        self.claim(Claim(new.into_iter().collect()));
        self.put_setting(SETTING, kept);
        Ok(noted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Timestamp, User};

    fn name(text: &str) -> NewUsername {
        NewUsername::parse(text).unwrap()
    }

    #[test]
    fn of_two_that_look_alike_in_one_commit_the_second_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_secs(1)).unwrap();
        let refused = transaction.free_username(&name("zoe")).err();
        assert_eq!(refused, Some(Error::Overloaded), "not before all are noted");
        assert!(transaction.note_names().unwrap().is_complete());
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
    fn users_of_before_are_noted_step_by_step_and_what_cannot_be_read_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let (_, mut committer) = Store::open(directory.path(), 1 << 20).unwrap();
        let mut transaction = committer.begin(Timestamp::from_secs(1)).unwrap();
        for number in 0..USERS_AT_ONCE + 1 {
            transaction
                .put_user(&User { username: Username::parse(&format!("a/{number:04}")).unwrap(), ..User::example() });
        }
        transaction.put(b"ubroken".to_vec(), b"{".to_vec());
        let _ = transaction.commit().unwrap().reveal();
        let mut transaction = committer.begin(Timestamp::from_secs(2)).unwrap();
        assert!(!transaction.note_names().unwrap().is_complete());
        let _ = transaction.commit().unwrap().reveal();
        let mut transaction = committer.begin(Timestamp::from_secs(3)).unwrap();
        let noted = transaction.note_names().unwrap();
        assert!(noted.is_complete());
        assert_eq!((noted.with_slash, noted.example.as_deref()), (USERS_AT_ONCE as u64 + 1, Some("a/0000")));
        assert_eq!(transaction.free_username(&name("Broken")).err(), Some(Error::UsernameLookalike));
        assert_eq!(
            transaction.free_tenant(&TenantName::parse("ACME").unwrap()).err(),
            Some(Error::TenantNameLookalike)
        );
    }
}
