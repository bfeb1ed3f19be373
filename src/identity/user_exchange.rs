//! Users as lines of an export.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::totp;
use super::user_fields::{data_of, to_json};
use crate::domain::{Email, Scope, User, Username};
use crate::error::Error;
use crate::store::Store;

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
    id: Uuid,
    username: &'a str,
    tenant_name: &'a str,
    email: Option<&'a str>,
    scopes: Option<Vec<&'a str>>,
    data: Option<&'a RawValue>,
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
    let whole = user.map(|user| data_of(user).and_then(|data| whole(user, data, hashes))).transpose();
    match store.unless_damaged(whole)?.flatten() {
        Some(line) => Ok(line),
        None => to_json(&DamagedUser { username: username.as_str(), damaged: true }),
    }
}

fn whole(user: &User, data: Option<&RawValue>, hashes: Hashes) -> Result<Box<RawValue>, Error> {
    let shown = hashes == Hashes::Shown;
    let hash = user.password_hash.expose();
    to_json(&ExportedUser {
        id: user.id,
        username: user.username.as_str(),
        tenant_name: user.tenant.as_str(),
        email: user.email.as_ref().map(Email::as_str),
        scopes: user.scopes.as_ref().map(|scopes| scopes.iter().map(Scope::as_str).collect()),
        data,
        two_factor: user.two_factor,
        revoked: user.revoked,
        password_hash: (shown && !hash.is_empty()).then_some(hash),
        totp_secret: shown.then(|| totp::base_32(&user.totp_secret)),
    })
}
