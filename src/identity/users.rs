use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::password::Share;
use super::policy::{Accepted, PasswordPolicy};
use super::token::{Subject, TokenForm};
use super::totp::Issuer;
use super::user_fields::{UserEdit, UserInput, view};
use super::{Admin, Identity, totp};
use crate::domain::{Email, Generation, NewUsername, Password, PasswordHash, TenantName, User, Username};
use crate::error::Error;
use crate::writer::{Anywhere, Batch, Change};

pub(super) fn new_generation() -> Generation {
    Generation(u64::from_be_bytes(crate::random::bytes()))
}

impl Identity {
    /// Creates a user.
    ///
    /// # Errors
    /// In this order: [`Error::BodyInvalid`] without a password or a tenant, [`Error::EmailInvalid`] or
    /// [`Error::EmailDisposable`], [`Error::UsernameInvalid`], [`Error::UsernameTaken`], [`Error::UsernameLookalike`],
    /// [`Error::TenantNameInvalid`], [`Error::TenantNameLookalike`], [`Error::PasswordInvalid`], those of
    /// [`super::PasswordPolicy::check`], [`Error::ScopesInvalid`], [`Error::DataTooDeep`], [`Error::ScopesTooLarge`],
    /// [`Error::UserTooLarge`], and those of [`crate::writer::Writer::submit`].
    pub async fn create_user(&self, admin: &Admin, input: UserInput) -> Result<(), Error> {
        let act = admin.act("user", "created", &input.username);
        act.ends(self.create(admin, input).await)
    }

    async fn create(&self, admin: &Admin, input: UserInput) -> Result<(), Error> {
        let share = |_: &Username| Share::of_admin(admin.from);
        let user = self.prepare_user(share, input).await?;
        self.0.writer.submit(user).await
    }

    /// Checks everything about a new user that can be checked early, in the order of the errors, and hashes the password at last.
    pub(super) async fn prepare_user(
        &self,
        share: impl Fn(&Username) -> Share,
        mut input: UserInput,
    ) -> Result<CreateUser, Error> {
        let missing = |field| Error::BodyInvalid(format!("missing field `{field}`"));
        let password = input.password.take().ok_or_else(|| missing("password"))?;
        let tenant = input.tenant_name.take().ok_or_else(|| missing("tenant_name"))?;
        let email = input.email(None)?;
        let name = NewUsername::parse(&input.username)?;
        let username = name.get();
        // It is checked here for the order of the errors, and to save the hash. The writer decides.
        self.0.store.check_username(&name)?;
        let tenant = TenantName::parse(&tenant)?;
        self.0.store.check_tenant(&tenant)?;
        let password = self.new_password(share(username), Password::parse(password)?, username, email.as_ref()).await?;
        let mut user = User::new(Uuid::new_v4(), username.clone(), tenant, totp::new_secret());
        user.generation = new_generation();
        input.edit()?.apply(&mut user);
        // It is checked here to save the hash. The writer decides.
        self.check_form(&user)?;
        user.password_hash = self.0.passwords.hash(share(username), password).await?;
        Ok(CreateUser { name, user })
    }

    /// Checks that a token of a new user would not be too long.
    pub(super) fn check_form(&self, user: &User) -> Result<(), Error> {
        let scopes = user.scopes.as_ref().or(self.0.settings.default_scopes.as_ref());
        let subject = Subject { scopes: scopes.map(Vec::as_slice).unwrap_or_default(), ..Subject::from(user) };
        self.0.tokens.form().check(&subject, None)
    }

    /// Changes a user. The user's streams end if the change invalidates their sign-in, and continue after a change of
    /// tenant or scopes.
    ///
    /// # Errors
    /// [`Error::UserUnknown`], and those of [`Identity::create_user`] except for the username's.
    pub async fn update_user(&self, admin: &Admin, input: UserInput) -> Result<(), Error> {
        let act = admin.act("user", "updated", &input.username);
        act.ends(self.update(admin, input).await)
    }

    async fn update(&self, admin: &Admin, mut input: UserInput) -> Result<(), Error> {
        let share = || Share::of_admin(admin.from);
        let user = self.known_user(&input.username)?;
        let email = input.email(user.email.clone())?;
        let tenant = input.tenant_name.take().as_deref().map(TenantName::parse).transpose()?;
        tenant.as_ref().map_or(Ok(()), |tenant| self.0.store.check_tenant(tenant))?;
        let password = match input.password.take() {
            None => None,
            Some(password) => {
                Some(self.new_password(share(), Password::parse(password)?, &user.username, email.as_ref()).await?)
            }
        };
        // Before the hash, for the order of the errors. The writer applies it to the user of then.
        let edit = input.edit()?;
        let password_hash = match password {
            None => None,
            Some(password) => Some(self.0.passwords.hash(share(), password).await?),
        };
        let username = user.username;
        let generation = new_generation();
        self.0.writer.submit(UpdateUser { username, edit, tenant, password_hash, generation }).await
    }

    /// Revokes a user, which refuses every sign-in and ends the user's streams, or restores the user. Earlier tokens
    /// stay invalid.
    ///
    /// # Errors
    /// [`Error::UserUnknown`], and those of [`crate::writer::Writer::submit`].
    pub async fn set_revoked(&self, admin: &Admin, username: &str, revoked: bool) -> Result<(), Error> {
        let act = admin.act("user", if revoked { "revoked" } else { "unrevoked" }, username);
        let change = async {
            let username = Username::parse(username).map_err(|_| Error::UserUnknown)?;
            self.0.writer.submit(SetRevoked { username, revoked, generation: new_generation() }).await
        };
        act.ends(change.await)
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
        let user = self.known_user(username).map_err(unknown_is_unauthorized);
        let qr = user.and_then(|user| totp::qr(&Issuer::parse(issuer)?, &user.username, &user.totp_secret));
        admin.act("QR code", "made", username).ends(qr)
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
        let policy = PasswordPolicy::from(&self.0.settings.passwords);
        self.0.passwords.judge(share, policy, password, known).await
    }
}

pub(super) fn unknown_is_unauthorized(error: Error) -> Error {
    if error == Error::UserUnknown { Error::Unauthorized } else { error }
}

/// Creates a user.
#[derive(Serialize, Deserialize)]
pub(super) struct CreateUser {
    pub(super) name: NewUsername,
    pub(super) user: User,
}

impl Change for CreateUser {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let Self { name, mut user } = self;
        // Whose name is free is written, whoever sent this.
        user.username = name.get().clone();
        let username = batch.free_username(&name)?;
        let tenant = batch.free_tenant(&user.tenant)?;
        user.scopes = user.scopes.or_else(|| batch.rules().default_scopes.clone());
        TokenForm::of(batch.rules()).check(&Subject::from(&user), None)?;
        batch.put_user_as_given(&user, None)?;
        batch.claim(username);
        batch.claim(tenant);
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct UpdateUser {
    username: Username,
    edit: UserEdit,
    tenant: Option<TenantName>,
    password_hash: Option<PasswordHash>,
    generation: Generation,
}

impl Change for UpdateUser {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let before = batch.user(&self.username)?.ok_or(Error::UserUnknown)?;
        let mut user = before.clone();
        self.edit.apply(&mut user);
        // Earlier sign-ins used the old password, or no code. Neither is enough any more.
        let is_asked_for_more = user.needs_code() && !before.needs_code();
        let ends_sign_ins = self.password_hash.is_some() || is_asked_for_more;
        if let Some(hash) = self.password_hash {
            user.set_password(hash, self.generation);
        }
        if is_asked_for_more {
            user.generation = self.generation;
        }
        if before.needs_code() && !user.needs_code() {
            user.switch_two_factor_off();
        }
        let tenant = self.tenant.as_ref().map(|tenant| batch.free_tenant(tenant)).transpose()?;
        user.tenant = self.tenant.unwrap_or(user.tenant);
        let is_moved = user.tenant != before.tenant;
        if is_moved {
            user.tenant_since = batch.head();
        }
        let has_other_scopes = user.scopes() != before.scopes();
        if has_other_scopes {
            user.scopes_since = batch.head();
        }
        TokenForm::of(batch.rules()).check(&Subject::from(&user), Some(&Subject::from(&before)))?;
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

#[derive(Serialize, Deserialize)]
pub(super) struct SetRevoked {
    username: Username,
    revoked: bool,
    generation: Generation,
}

impl Change for SetRevoked {
    type Outcome = ();
    type Reach = Anywhere;

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        let mut user = batch.user(&self.username)?.ok_or(Error::UserUnknown)?;
        // This includes a token that was issued while the user was revoked: it must never work.
        if self.revoked || user.revoked {
            user.reset = None;
            user.pending_totp = None;
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
