//! Users.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::numbers::Decoded;
use crate::domain::{
    Account, Email, Generation, PasswordHash, Payload, Position, ResetChallenge, Scope, Secret, TenantName, Timestamp,
    User, Username,
};

/// A user as it is stored. A field that is added later needs a default.
#[derive(Serialize, Deserialize)]
struct StoredUser {
    id: Uuid,
    username: String,
    tenant_name: String,
    tenant_since: u64,
    #[serde(default)]
    scopes_since: u64,
    password_hash: String,
    generation: u64,
    email: Option<String>,
    scopes: Option<Vec<String>>,
    /// JSON as text, so that it is read back byte for byte.
    data: Option<String>,
    two_factor: Option<bool>,
    revoked: bool,
    /// Base64.
    totp_secret: String,
    totp_spent_step: Option<u64>,
    reset: Option<StoredReset>,
}

#[derive(Serialize, Deserialize)]
struct StoredReset {
    code: String,
    expires_at_millis: u64,
    tries_left: u8,
}

pub fn encode_user(user: &User) -> Vec<u8> {
    let stored = StoredUser {
        id: user.id,
        username: user.username.to_string(),
        tenant_name: user.tenant.to_string(),
        tenant_since: user.tenant_since.get(),
        scopes_since: user.scopes_since.get(),
        password_hash: user.password_hash.expose().to_owned(),
        generation: user.generation.0,
        email: user.email.as_ref().map(|email| email.as_str().to_owned()),
        scopes: user.scopes.as_ref().map(|scopes| scopes.iter().map(ToString::to_string).collect()),
        data: user.data.as_ref().map(ToString::to_string),
        two_factor: user.two_factor,
        revoked: user.revoked,
        totp_secret: BASE64_STANDARD.encode(user.totp_secret.expose()),
        totp_spent_step: user.totp_spent_step,
        reset: user.reset.as_ref().map(|reset| StoredReset {
            code: String::from_utf8_lossy(reset.code.expose()).into_owned(),
            expires_at_millis: reset.expires_at.as_millis(),
            tries_left: reset.tries_left,
        }),
    };
    // Plain structs of strings and numbers always serialize.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// How long a password hash may become. Today's have 97 bytes.
const MAX_HASH_BYTES: usize = 128;

/// The largest size of a user unless an admin adds to it: everything that the server writes is as long as it can be.
pub fn user_bytes_at_most(user: &User) -> usize {
    let hash_bytes = user.password_hash.expose().len().max(MAX_HASH_BYTES);
    let largest = User {
        tenant_since: Position::new(u64::MAX),
        scopes_since: Position::new(u64::MAX),
        password_hash: PasswordHash::new("x".repeat(hash_bytes)),
        generation: Generation(u64::MAX),
        // `false` is the longer word, here and below. Neither switch may fail for lack of a byte.
        revoked: false,
        two_factor: Some(false),
        totp_spent_step: Some(u64::MAX),
        reset: Some(ResetChallenge {
            code: Secret::new("000000"),
            expires_at: Timestamp::from_millis(u64::MAX),
            tries_left: u8::MAX,
        }),
        ..user.clone()
    };
    encode_user(&largest).len()
}

pub fn decode_user(value: &[u8]) -> Decoded<User> {
    let stored: StoredUser = serde_json::from_slice(value).map_err(|_| "a user is not the JSON that was written")?;
    Ok(User {
        id: stored.id,
        username: Username::parse(&stored.username).map_err(|_| "a username is not one")?,
        tenant: TenantName::parse(&stored.tenant_name).map_err(|_| "a tenant's name is not one")?,
        tenant_since: Position::new(stored.tenant_since),
        scopes_since: Position::new(stored.scopes_since),
        password_hash: PasswordHash::new(stored.password_hash),
        generation: Generation(stored.generation),
        // The list of disposable providers grows. An address that was accepted once stays valid.
        email: stored.email.map(Email::from_stored),
        scopes: stored
            .scopes
            .map(|scopes| Scope::all_from_stored(&scopes))
            .transpose()
            .map_err(|_| "a scope is not one")?,
        data: stored.data.as_deref().map(Payload::from_stored),
        two_factor: stored.two_factor,
        revoked: stored.revoked,
        totp_secret: Secret::new(BASE64_STANDARD.decode(stored.totp_secret).map_err(|_| "a secret is not base64")?),
        totp_spent_step: stored.totp_spent_step,
        reset: stored.reset.map(|reset| ResetChallenge {
            code: Secret::new(reset.code),
            expires_at: Timestamp::from_millis(reset.expires_at_millis),
            tries_left: reset.tries_left,
        }),
    })
}

/// The fields of a user that every request needs. The others are skipped.
#[derive(Deserialize)]
struct StoredAccount {
    id: Uuid,
    tenant_name: String,
    tenant_since: u64,
    #[serde(default)]
    scopes_since: u64,
    generation: u64,
    scopes: Option<Vec<String>>,
    two_factor: Option<bool>,
    revoked: bool,
}

pub fn decode_account(value: &[u8]) -> Decoded<Account> {
    let stored: StoredAccount = serde_json::from_slice(value).map_err(|_| "a user is not the JSON that was written")?;
    let scopes = Scope::all_from_stored(&stored.scopes.unwrap_or_default()).map_err(|_| "a scope is not one")?;
    Ok(Account {
        id: stored.id,
        tenant: TenantName::parse(&stored.tenant_name).map_err(|_| "a tenant's name is not one")?,
        tenant_since: Position::new(stored.tenant_since),
        scopes_since: Position::new(stored.scopes_since),
        generation: Generation(stored.generation),
        scopes: scopes.into(),
        needs_code: stored.two_factor == Some(true),
        revoked: stored.revoked,
    })
}
