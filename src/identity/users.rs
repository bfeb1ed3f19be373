use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::password::Share;
use super::policy::Accepted;
use super::token::{Subject, TokenForm};
use super::totp::Issuer;
use super::{Admin, Identity, totp};
use crate::domain::{
    Email, Generation, NewUsername, Password, PasswordHash, Payload, PayloadError, Position, Scope, TenantName, User,
    Username,
};
use crate::error::Error;
use crate::writer::{Batch, Change};

/// A new user, as an admin sends it.
#[derive(Deserialize)]
pub struct NewUser {
    username: String,
    password: String,
    tenant_name: String,
    email: Option<String>,
    data: Option<Box<RawValue>>,
    scopes: Option<Vec<String>>,
    two_factor: Option<bool>,
}

/// A change of a user, as an admin sends it. An absent field stays as it is; `null` clears an optional field.
#[derive(Deserialize)]
pub struct UserPatch {
    username: String,
    tenant_name: Option<String>,
    password: Option<String>,
    #[serde(default, deserialize_with = "present")]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Option<Box<RawValue>>>,
    #[serde(default, deserialize_with = "present")]
    scopes: Option<Option<Vec<String>>>,
    two_factor: Option<bool>,
}

/// Tells a field that is `null` from one that is absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A user as an admin sees it.
#[derive(Serialize)]
struct UserView<'a> {
    id: Option<Uuid>,
    username: &'a str,
    tenant_name: Option<&'a str>,
    email: Option<&'a str>,
    scopes: Option<Vec<&'a str>>,
    data: Option<&'a RawValue>,
    two_factor: Option<bool>,
    revoked: Option<bool>,
    password: &'static str,
    totp: &'static str,
    /// Only for a user that cannot be read. All other fields but the name are `null` then.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<bool>,
}

const HIDDEN: &str = "***";

pub(super) fn view(user: &User) -> Result<Box<RawValue>, Error> {
    let unreadable =
        |error: serde_json::Error| Error::Damaged(format!("the data of user {} is damaged: {error}", user.username));
    let data = user.data.as_ref().map(|data| serde_json::from_str(data.as_str())).transpose().map_err(unreadable)?;
    let view = UserView {
        id: Some(user.id),
        username: user.username.as_str(),
        tenant_name: Some(user.tenant.as_str()),
        email: user.email.as_ref().map(Email::as_str),
        scopes: user.scopes.as_ref().map(|scopes| scopes.iter().map(Scope::as_str).collect()),
        data,
        two_factor: user.two_factor,
        revoked: Some(user.revoked),
        password: HIDDEN,
        totp: HIDDEN,
        damaged: None,
    };
    serde_json::value::to_raw_value(&view).map_err(unreadable)
}

/// A user that cannot be read, with the keys that other users have.
pub(super) fn view_of_damaged(username: &Username) -> Result<Box<RawValue>, Error> {
    let view = UserView {
        id: None,
        username: username.as_str(),
        tenant_name: None,
        email: None,
        scopes: None,
        data: None,
        two_factor: None,
        revoked: None,
        password: HIDDEN,
        totp: HIDDEN,
        damaged: Some(true),
    };
    serde_json::value::to_raw_value(&view).map_err(|error| Error::Internal(error.to_string()))
}

fn payload(data: &RawValue) -> Result<Payload, Error> {
    Payload::from_valid_json(data.get()).map_err(|PayloadError::TooDeep| Error::DataTooDeep)
}

pub(super) fn new_generation() -> Generation {
    Generation(u64::from_be_bytes(crate::random::bytes()))
}

impl Identity {
    /// Creates a user.
    ///
    /// # Errors
    /// In this order: [`Error::EmailInvalid`] or [`Error::EmailDisposable`], [`Error::UsernameInvalid`],
    /// [`Error::UsernameTaken`], [`Error::UsernameLookalike`], [`Error::TenantNameInvalid`],
    /// [`Error::TenantNameLookalike`], [`Error::PasswordInvalid`], those of [`super::PasswordPolicy::check`],
    /// [`Error::ScopesInvalid`], [`Error::ScopesTooLarge`], [`Error::DataTooDeep`], [`Error::UserTooLarge`], and those
    /// of [`crate::writer::Writer::submit`].
    pub async fn create_user(&self, admin: &Admin, new: NewUser) -> Result<(), Error> {
        let share = || Share::of_admin(admin.from);
        let email = new.email.as_deref().map(Email::parse).transpose()?;
        let name = NewUsername::parse(&new.username)?;
        let username = name.get().clone();
        // It is checked here for the order of the errors, and to save the hash. The writer decides.
        self.0.store.check_username(&name)?;
        let tenant = TenantName::parse(&new.tenant_name)?;
        self.0.store.check_tenant(&tenant)?;
        let password = self.new_password(share(), Password::parse(new.password)?, &username, email.as_ref()).await?;
        let scopes = new.scopes.as_deref().map(Scope::parse_all).transpose()?.or_else(|| self.0.default_scopes.clone());
        let id = Uuid::new_v4();
        let form = self.0.tokens.form().clone();
        // It is checked here to save the hash. The writer decides.
        let (generation, granted) = (new_generation(), scopes.as_deref().unwrap_or_default());
        form.check(&Subject { username: &username, tenant: &tenant, scopes: granted, id, generation }, None)?;
        let data = new.data.as_deref().map(payload).transpose()?;
        let user = User {
            id,
            username,
            tenant,
            tenant_since: Position::START,
            scopes_since: Position::START,
            password_hash: self.0.passwords.hash(share(), password).await?,
            generation,
            email,
            scopes,
            data,
            two_factor: new.two_factor,
            revoked: false,
            totp_secret: totp::new_secret(),
            totp_spent_step: None,
            reset: None,
        };
        let username = user.username.clone();
        self.0.writer.submit(CreateUser { name, user, form }).await?;
        admin.did("user created", &username);
        Ok(())
    }

    /// Changes a user. The user's streams end if the change invalidates their sign-in, and continue after a change of
    /// tenant or scopes.
    ///
    /// # Errors
    /// [`Error::UserUnknown`], and those of [`Identity::create_user`] except for the username's.
    pub async fn update_user(&self, admin: &Admin, patch: UserPatch) -> Result<(), Error> {
        let share = || Share::of_admin(admin.from);
        let user = self.known_user(&patch.username)?;
        let email = patch.email.map(|email| email.as_deref().map(Email::parse).transpose()).transpose()?;
        let tenant = patch.tenant_name.as_deref().map(TenantName::parse).transpose()?;
        tenant.as_ref().map_or(Ok(()), |tenant| self.0.store.check_tenant(tenant))?;
        let password = match patch.password {
            None => None,
            Some(password) => {
                let email = email.as_ref().unwrap_or(&user.email);
                Some(self.new_password(share(), Password::parse(password)?, &user.username, email.as_ref()).await?)
            }
        };
        let scopes = patch.scopes.map(|scopes| scopes.as_deref().map(Scope::parse_all).transpose()).transpose()?;
        let data = patch.data.map(|data| data.as_deref().map(payload).transpose()).transpose()?;
        let password_hash = match password {
            None => None,
            Some(password) => Some(self.0.passwords.hash(share(), password).await?),
        };
        let change = UpdateUser {
            username: user.username.clone(),
            tenant,
            password_hash,
            email,
            data,
            scopes,
            two_factor: patch.two_factor,
            generation: new_generation(),
            form: self.0.tokens.form().clone(),
        };
        self.0.writer.submit(change).await?;
        admin.did("user updated", &user.username);
        Ok(())
    }

    /// Revokes a user, which refuses every sign-in and ends the user's streams, or restores the user. Earlier tokens
    /// stay invalid.
    ///
    /// # Errors
    /// [`Error::UserUnknown`], and those of [`crate::writer::Writer::submit`].
    pub async fn set_revoked(&self, admin: &Admin, username: &str, revoked: bool) -> Result<(), Error> {
        let username = Username::parse(username).map_err(|_| Error::UserUnknown)?;
        let change = SetRevoked { username: username.clone(), revoked, generation: new_generation() };
        self.0.writer.submit(change).await?;
        admin.did(if revoked { "user revoked" } else { "user unrevoked" }, &username);
        Ok(())
    }

    /// A user, as JSON without secrets.
    ///
    /// # Errors
    /// [`Error::UserUnknown`], [`Error::Storage`].
    pub fn get_user(&self, _: &Admin, username: &str) -> Result<Box<RawValue>, Error> {
        view(&self.known_user(username)?)
    }

    /// A QR code of a user's secret for an authenticator app: PNG, base64.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] for an unknown user, as the contract requires; [`Error::IssuerInvalid`];
    /// [`Error::QrTooLarge`].
    pub fn create_qr(&self, admin: &Admin, issuer: &str, username: &str) -> Result<String, Error> {
        let user = self.known_user(username).map_err(unknown_is_unauthorized)?;
        let qr = totp::qr(&Issuer::parse(issuer)?, &user.username, &user.totp_secret)?;
        admin.did("QR code made", &user.username);
        Ok(qr)
    }

    fn known_user(&self, username: &str) -> Result<User, Error> {
        let username = Username::parse(username).map_err(|_| Error::UserUnknown)?;
        self.0.store.user(&username)?.ok_or(Error::UserUnknown)
    }

    /// Checks a new password against the policy, on a thread that may be busy for a while.
    pub(super) async fn new_password(
        &self,
        share: Share,
        password: Password,
        username: &Username,
        email: Option<&Email>,
    ) -> Result<Accepted, Error> {
        let known = std::iter::once(username.as_str()).chain(email.map(Email::as_str)).map(str::to_owned).collect();
        self.0.passwords.judge(share, self.0.policy, password, known).await
    }
}

pub(super) fn unknown_is_unauthorized(error: Error) -> Error {
    if error == Error::UserUnknown { Error::Unauthorized } else { error }
}

struct CreateUser {
    name: NewUsername,
    user: User,
    form: TokenForm,
}

impl Change for CreateUser {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let username = batch.free_username(&self.name)?;
        let tenant = batch.free_tenant(&self.user.tenant)?;
        self.form.check(&Subject::from(&self.user), None)?;
        batch.put_user_as_given(&self.user, None)?;
        batch.claim(username);
        batch.claim(tenant);
        Ok(())
    }
}

struct UpdateUser {
    username: Username,
    tenant: Option<TenantName>,
    password_hash: Option<PasswordHash>,
    email: Option<Option<Email>>,
    data: Option<Option<Payload>>,
    scopes: Option<Option<Vec<Scope>>>,
    two_factor: Option<bool>,
    generation: Generation,
    form: TokenForm,
}

impl Change for UpdateUser {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let before = batch.user(&self.username)?.ok_or(Error::UserUnknown)?;
        let mut user = before.clone();
        // Earlier sign-ins used the old password, or no code. Neither is enough any more.
        let is_asked_for_more = self.two_factor == Some(true) && !user.needs_code();
        let ends_sign_ins = self.password_hash.is_some() || is_asked_for_more;
        if let Some(hash) = self.password_hash {
            user.set_password(hash, self.generation);
        }
        if is_asked_for_more {
            user.generation = self.generation;
        }
        let tenant = self.tenant.as_ref().map(|tenant| batch.free_tenant(tenant)).transpose()?;
        user.tenant = self.tenant.unwrap_or(user.tenant);
        let is_moved = user.tenant != before.tenant;
        if is_moved {
            user.tenant_since = batch.head();
        }
        user.email = self.email.unwrap_or(user.email);
        user.data = self.data.unwrap_or(user.data);
        user.scopes = self.scopes.unwrap_or(user.scopes);
        let has_other_scopes = user.scopes() != before.scopes();
        if has_other_scopes {
            user.scopes_since = batch.head();
        }
        user.two_factor = self.two_factor.or(user.two_factor);
        self.form.check(&Subject::from(&user), Some(&Subject::from(&before)))?;
        batch.put_user_as_given(&user, Some(&before))?;
        if let Some(tenant) = tenant {
            batch.claim(tenant);
        }
        if ends_sign_ins {
            batch.end_streams_of(&user.username);
        } else if is_moved || has_other_scopes {
            batch.change_rights_of(&user.username);
        }
        Ok(())
    }
}

struct SetRevoked {
    username: Username,
    revoked: bool,
    generation: Generation,
}

impl Change for SetRevoked {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let mut user = batch.user(&self.username)?.ok_or(Error::UserUnknown)?;
        // This includes a token that was issued while the user was revoked: it must never work.
        if self.revoked || user.revoked {
            user.reset = None;
        }
        user.revoked = self.revoked;
        if self.revoked {
            user.generation = self.generation;
        }
        batch.put_user(&user);
        if self.revoked {
            batch.end_streams_of(&user.username);
        }
        Ok(())
    }
}
