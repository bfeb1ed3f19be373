//! Users as lines of an export, and users that are imported from such lines, with the hashes of their passwords.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::password::{Kept, PasswordPool, Work};
use super::user_fields::{Fields, UserInput, to_json};
use super::users::{CreateUser, new_generation};
use super::{Admin, Identity, totp};
use crate::domain::{NewUsername, PasswordHash, Secret, TenantName, User, Username, wire};
use crate::error::Error;
use crate::store::{Lane, Store, Users};
use crate::writer::{Anywhere, Batch, Change};

/// The setting that holds how much work each check of a password does.
const WORK_SETTING: &str = "password_work";

/// Whether an export has the secrets that a sign-in is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashes {
    /// It has none.
    Hidden,
    /// It has the hash of the password, and the secret of the authenticator app.
    Shown,
}

#[derive(Serialize)]
struct ExportedUser<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    two_factor: Option<bool>,
    revoked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_secret: Option<String>,
}

/// A user that cannot be read.
#[derive(Serialize)]
struct DamagedUser<'a> {
    username: &'a str,
    damaged: bool,
}

/// A user as a line of an export, without its kind. One that cannot be read has nothing but its name, and the log names it.
///
/// # Errors
/// [`Error::Internal`].
pub fn exported(
    store: &Store,
    username: &Username,
    user: Option<&User>,
    hashes: Hashes,
) -> Result<Box<RawValue>, Error> {
    let whole = user.map(|user| whole(user, hashes)).transpose();
    match store.unless_damaged(whole)?.flatten() {
        Some(line) => Ok(line),
        None => to_json(&DamagedUser { username: username.as_str(), damaged: true }),
    }
}

fn whole(user: &User, hashes: Hashes) -> Result<Box<RawValue>, Error> {
    let shown = hashes == Hashes::Shown;
    let hash = user.password_hash.expose();
    to_json(&ExportedUser {
        fields: Fields::of(user)?,
        two_factor: user.two_factor,
        revoked: user.revoked,
        password_hash: (shown && !hash.is_empty()).then_some(hash),
        totp_secret: shown.then(|| totp::base_32(&user.totp_secret)),
    })
}

/// What an imported user has beside the fields of one that an admin creates.
#[derive(Deserialize)]
pub struct ImportedSecrets {
    password_hash: Option<Secret>,
    totp_secret: Option<Secret>,
    revoked: Option<bool>,
}

/// A user that is to be imported.
#[derive(Serialize, Deserialize)]
pub struct ImportedUser {
    new: CreateUser,
    /// How much work it is to check the password.
    work: Work,
}

impl Identity {
    /// Reads how much work each check of a password is to do. It may be another process that has imported users.
    pub(super) fn load_work(store: &Store, passwords: &PasswordPool) -> Result<(), Error> {
        passwords.set_work(work_of(store.setting(WORK_SETTING)?.as_deref()).work);
        Ok(())
    }

    /// Checks a user that is to be imported, as far as that can be done before the writer decides. Without a hash nobody can sign in
    /// until the password is reset.
    ///
    /// # Errors
    /// Those of [`Identity::create_user`], but for the password's; [`Error::PasswordHashInvalid`], [`Error::TotpSecretInvalid`];
    /// [`Error::BodyInvalid`] if there is a password.
    pub fn imported_user(
        &self,
        _: &Admin,
        mut input: UserInput,
        secrets: ImportedSecrets,
    ) -> Result<ImportedUser, Error> {
        let ImportedSecrets { password_hash, totp_secret, revoked } = secrets;
        if input.password.is_some() {
            return Err(Error::BodyInvalid("an imported user has a password_hash, and no password".to_owned()));
        }
        let tenant = input.tenant_name.take();
        let tenant = tenant.ok_or_else(|| Error::BodyInvalid("missing field `tenant_name`".to_owned()))?;
        let name = NewUsername::parse(&input.username)?;
        let tenant = TenantName::parse(&tenant)?;
        let secret = match totp_secret.as_ref().map(text).transpose()? {
            Some(text) => totp::of_base_32(text).ok_or(Error::TotpSecretInvalid)?,
            None => totp::new_secret(),
        };
        let mut user = User::new(Uuid::new_v4(), name.get().clone(), tenant, secret);
        user.generation = new_generation();
        user.revoked = revoked.unwrap_or(false);
        input.edit()?.apply(&mut user);
        let mut work = Work::default();
        if let Some(hash) = password_hash.as_ref().map(text).transpose()? {
            let (scheme, cost) = Kept::parse(hash).map_err(Error::PasswordHashInvalid)?.cost();
            work = Work::of(scheme, cost);
            user.password_hash = PasswordHash::new(hash.to_owned());
        }
        self.check_form(&user)?;
        Ok(ImportedUser { new: CreateUser { name, user }, work })
    }

    /// Has checks of passwords do no more work than the hashes take that are left. Once all imported users have signed in, their hashes
    /// are ours.
    ///
    /// # Errors
    /// [`Error::Storage`]; those of [`crate::writer::Writer::submit`].
    pub async fn forget_work(&self) -> Result<(), Error> {
        let store = &self.0.store;
        let Some(before) = store.setting(WORK_SETTING)? else { return Ok(()) };
        let (mut users, mut needed) = (Users::new(None), Work::default());
        loop {
            let step = store.read_on(&Lane::MAINTENANCE, move |store| {
                let is_more = users.next(store, |_, user| {
                    let hash = user.as_ref().and_then(|user| Kept::parse(user.password_hash.expose()).ok());
                    let work = hash.map_or(Work::default(), |hash| {
                        let (scheme, cost) = hash.cost();
                        Work::of(scheme, cost)
                    });
                    needed = needed.and(work);
                    Ok(false)
                })?;
                Ok::<_, Error>((users, needed, is_more))
            });
            let is_more;
            (users, needed, is_more) = step.await??;
            if !is_more {
                break;
            }
        }
        self.0.writer.submit(LowerWork { before, needed }).await
    }
}

/// The text of a secret, which came from a string of JSON.
fn text(secret: &Secret) -> Result<&str, Error> {
    std::str::from_utf8(secret.expose()).map_err(|_| Error::BodyInvalid("it is not UTF-8".to_owned()))
}

/// How much work each check does, as it is kept.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct KeptWork {
    work: Work,
    /// How many users were imported, so that it is seen if there are more.
    users: u64,
}

/// One that cannot be read is measured again.
fn work_of(setting: Option<&[u8]>) -> KeptWork {
    setting.and_then(|setting| serde_json::from_slice(setting).ok()).unwrap_or_default()
}

fn put_work(batch: &mut Batch<'_>, work: KeptWork) -> Result<(), Error> {
    let setting = serde_json::to_vec(&work).map_err(|error| Error::Internal(error.to_string()))?;
    batch.put_setting(WORK_SETTING, setting);
    Ok(())
}

impl ImportedUser {
    /// Creates the user as a part of a change.
    ///
    /// # Errors
    /// Those of [`Identity::imported_user`] that depend on what there is already. Then the change has to undo what this has written.
    pub fn put(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let Self { new, work } = self;
        new.decide(batch)?;
        let before = work_of(batch.setting(WORK_SETTING)?.as_deref());
        let most = before.work.and(work);
        // In the commit that has the user: no check of their password does less.
        put_work(batch, KeptWork { work: most, users: before.users + 1 })
    }
}

/// Has checks of passwords do less work, unless users were imported meanwhile.
#[derive(Serialize, Deserialize)]
pub(super) struct LowerWork {
    #[serde(with = "wire::bytes")]
    before: Vec<u8>,
    needed: Work,
}

impl Change for LowerWork {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        if batch.setting(WORK_SETTING)?.as_ref() == Some(&self.before) {
            put_work(batch, KeptWork { work: self.needed, ..work_of(Some(&self.before)) })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
