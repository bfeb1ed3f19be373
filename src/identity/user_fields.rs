//! The fields of a user in JSON: as an admin sends them, and as an admin sees them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::{Email, Payload, PayloadError, Scope, Secret, TenantName, User, Username};
use crate::error::Error;

/// A user as an admin sends one, to be made or changed. A field that is absent stays as it is; `null` clears a field that may
/// be unset.
#[derive(Deserialize)]
pub struct UserInput {
    pub(super) username: String,
    pub(super) password: Option<Secret>,
    pub(super) tenant_name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    scopes: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Option<Box<RawValue>>>,
    two_factor: Option<bool>,
}

/// The account that somebody who signs up asks for. Everything else about it is decided here.
#[derive(Deserialize)]
pub struct NewAccount {
    pub(super) username: String,
    password: Secret,
    email: Option<String>,
    data: Option<Box<RawValue>>,
    pub(super) invite: Option<Secret>,
}

impl NewAccount {
    /// The user, in this tenant and with these scopes; `None` gives them the default scopes.
    pub(super) fn into_input(self, tenant: &TenantName, scopes: Option<&[Scope]>) -> UserInput {
        let Self { username, password, email, data, invite: _ } = self;
        UserInput {
            username,
            password: Some(password),
            tenant_name: Some(tenant.to_string()),
            email: Some(email),
            scopes: scopes.map(|scopes| Some(scopes.iter().map(ToString::to_string).collect())),
            data: Some(data),
            two_factor: None,
        }
    }
}

/// What users change about their own account.
#[derive(Deserialize)]
pub struct OwnInput {
    /// It must be there: `null` clears it.
    #[serde(deserialize_with = "nullable")]
    data: Option<Box<RawValue>>,
}

impl OwnInput {
    /// How many bytes the data has as it came.
    pub(super) fn bytes(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.get().len())
    }

    /// The data.
    ///
    /// # Errors
    /// [`Error::DataTooDeep`].
    pub(super) fn into_data(self) -> Result<Option<Payload>, Error> {
        self.data.as_deref().map(payload).transpose()
    }
}

/// Reads a field that may be `null` and must not be absent.
fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Tells a field that is `null` from one that is absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The fields of a user that are to change, except password and tenant, on which more depends. In its form as bytes, a field that stays
/// as it is, is absent.
#[derive(Serialize, Deserialize)]
pub(super) struct UserEdit {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    email: Option<Option<Email>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    scopes: Option<Option<Vec<Scope>>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    data: Option<Option<Payload>>,
    two_factor: Option<bool>,
}

impl UserEdit {
    /// Writes the fields over those of a user.
    pub(super) fn apply(self, user: &mut User) {
        let Self { email, scopes, data, two_factor } = self;
        user.email = email.unwrap_or(user.email.take());
        user.scopes = scopes.unwrap_or(user.scopes.take());
        user.data = data.unwrap_or(user.data.take());
        user.two_factor = two_factor.or(user.two_factor);
    }
}

impl UserInput {
    /// The fields that are to change.
    ///
    /// # Errors
    /// In this order: [`Error::EmailInvalid`] or [`Error::EmailDisposable`], [`Error::ScopesInvalid`], [`Error::DataTooDeep`].
    pub(super) fn edit(&self) -> Result<UserEdit, Error> {
        let email = self.email.as_ref().map(|email| email.as_deref().map(Email::parse).transpose()).transpose()?;
        let parse = |scopes: &Option<Vec<String>>| scopes.as_deref().map(Scope::parse_all).transpose();
        let scopes = self.scopes.as_ref().map(parse).transpose()?;
        let data = self.data.as_ref().map(|data| data.as_deref().map(payload).transpose()).transpose()?;
        Ok(UserEdit { email, scopes, data, two_factor: self.two_factor })
    }

    /// The email address of a user who had this one before.
    ///
    /// # Errors
    /// [`Error::EmailInvalid`] or [`Error::EmailDisposable`].
    pub(super) fn email(&self, before: Option<Email>) -> Result<Option<Email>, Error> {
        match &self.email {
            Some(email) => email.as_deref().map(Email::parse).transpose(),
            None => Ok(before),
        }
    }
}

fn payload(data: &RawValue) -> Result<Payload, Error> {
    Payload::from_valid_json(data.get()).map_err(|PayloadError::TooDeep| Error::DataTooDeep)
}

/// What everybody who may see a user sees first: the user, an admin, and who reads an export.
#[derive(Serialize)]
pub(super) struct Fields<'a> {
    id: Option<Uuid>,
    username: &'a str,
    tenant_name: Option<&'a str>,
    email: Option<&'a str>,
    scopes: Option<Vec<&'a str>>,
    data: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    /// # Errors
    /// [`Error::Damaged`] if the data of the user is no JSON.
    pub(super) fn of(user: &'a User) -> Result<Self, Error> {
        let data = user.data.as_ref().map(|data| serde_json::from_str(data.as_str())).transpose();
        let damaged = |error| Error::Damaged(format!("the data of user {} is damaged: {error}", user.username));
        Ok(Self {
            id: Some(user.id),
            username: user.username.as_str(),
            tenant_name: Some(user.tenant.as_str()),
            email: user.email.as_ref().map(Email::as_str),
            scopes: user.scopes.as_ref().map(|scopes| scopes.iter().map(Scope::as_str).collect()),
            data: data.map_err(damaged)?,
        })
    }
}

/// Stands for a secret.
const HIDDEN: &str = "***";

#[derive(Serialize)]
struct AdminView<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    two_factor: Option<bool>,
    revoked: Option<bool>,
    password: &'static str,
    totp: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<bool>,
}

/// A user as an admin sees one, as JSON without secrets.
///
/// # Errors
/// [`Error::Damaged`] if the data of the user is no JSON.
pub fn view(user: &User) -> Result<Box<RawValue>, Error> {
    to_json(&AdminView {
        fields: Fields::of(user)?,
        two_factor: user.two_factor,
        revoked: Some(user.revoked),
        password: HIDDEN,
        totp: HIDDEN,
        damaged: None,
    })
}

/// A user that cannot be read. It has the keys that other users have, and their values are `null`.
///
/// # Errors
/// [`Error::Internal`].
pub fn view_of_damaged(username: &Username) -> Result<Box<RawValue>, Error> {
    let username = username.as_str();
    to_json(&AdminView {
        fields: Fields { id: None, username, tenant_name: None, email: None, scopes: None, data: None },
        two_factor: None,
        revoked: None,
        password: HIDDEN,
        totp: HIDDEN,
        damaged: Some(true),
    })
}

#[derive(Serialize)]
struct OwnView<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    two_factor: bool,
}

/// A user as they see themselves, as JSON.
///
/// # Errors
/// As [`view`].
pub fn own_view(user: &User) -> Result<Box<RawValue>, Error> {
    to_json(&OwnView { fields: Fields::of(user)?, two_factor: user.needs_code() })
}

/// A value as JSON.
///
/// # Errors
/// [`Error::Internal`].
pub(super) fn to_json(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value).map_err(|error| Error::Internal(error.to_string()))
}
