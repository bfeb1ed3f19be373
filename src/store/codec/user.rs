//! Users.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::numbers::Decoded;
use super::stored::{self, Stored};
use crate::domain::{
    Account, Email, Generation, PasswordHash, Payload, PendingTotp, Position, RECOVERY_CODES, RecoveryHash,
    ResetChallenge, Scope, Secret, TenantName, Timestamp, User, Username,
};

/// A user as it is stored. A field that is added later must have a default.
#[derive(Serialize, Deserialize)]
#[serde(remote = "User")]
struct StoredUser {
    id: Uuid,
    #[serde(with = "stored")]
    username: Username,
    #[serde(rename = "tenant_name", with = "stored")]
    tenant: TenantName,
    #[serde(with = "stored")]
    tenant_since: Position,
    #[serde(default, with = "stored")]
    scopes_since: Position,
    #[serde(with = "stored")]
    password_hash: PasswordHash,
    #[serde(with = "stored")]
    generation: Generation,
    #[serde(default, with = "stored")]
    email: Option<Email>,
    #[serde(default, with = "stored")]
    scopes: Option<Vec<Scope>>,
    #[serde(default, with = "stored")]
    data: Option<Payload>,
    two_factor: Option<bool>,
    revoked: bool,
    #[serde(with = "stored")]
    totp_secret: Secret,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored")]
    pending_totp: Option<PendingTotp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "stored")]
    recovery_codes: Vec<RecoveryHash>,
    totp_spent_step: Option<u64>,
    #[serde(default, with = "stored")]
    reset: Option<ResetChallenge>,
}

#[derive(Serialize, Deserialize)]
pub struct StoredReset {
    code: String,
    expires_at_millis: u64,
    tries_left: u8,
}

impl Stored for ResetChallenge {
    type As = StoredReset;

    fn store(&self) -> StoredReset {
        StoredReset {
            code: String::from_utf8_lossy(self.code.expose()).into_owned(),
            expires_at_millis: self.expires_at.as_millis(),
            tries_left: self.tries_left,
        }
    }

    fn restore(stored: StoredReset) -> Option<Self> {
        let expires_at = Timestamp::from_millis(stored.expires_at_millis);
        Some(Self { code: Secret::new(stored.code), expires_at, tries_left: stored.tries_left })
    }
}

#[derive(Serialize, Deserialize)]
pub struct StoredPending {
    #[serde(with = "stored")]
    secret: Secret,
    #[serde(with = "stored")]
    expires_at: Timestamp,
}

impl Stored for PendingTotp {
    type As = StoredPending;

    fn store(&self) -> StoredPending {
        StoredPending { secret: self.secret.clone(), expires_at: self.expires_at }
    }

    fn restore(StoredPending { secret, expires_at }: StoredPending) -> Option<Self> {
        Some(Self { secret, expires_at })
    }
}

pub fn encode_user(user: &User) -> Vec<u8> {
    let mut value = Vec::new();
    // Strings and numbers always serialize.
    let _ = StoredUser::serialize(user, &mut serde_json::Serializer::new(&mut value));
    value
}

pub fn decode_user(value: &[u8]) -> Decoded<User> {
    let mut json = serde_json::Deserializer::from_slice(value);
    let user = StoredUser::deserialize(&mut json).and_then(|user| json.end().map(|()| user));
    user.map_err(|_| "a user is not the JSON that was written")
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
        pending_totp: Some(PendingTotp {
            secret: user.totp_secret.clone(),
            expires_at: Timestamp::from_millis(u64::MAX),
        }),
        recovery_codes: vec![RecoveryHash([u8::MAX; 16]); RECOVERY_CODES],
        reset: Some(ResetChallenge {
            code: Secret::new("000000"),
            expires_at: Timestamp::from_millis(u64::MAX),
            tries_left: u8::MAX,
        }),
        ..user.clone()
    };
    encode_user(&largest).len()
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

/// The account of a user, without its sessions, which are in another row.
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
        sessions: Box::default(),
    })
}
