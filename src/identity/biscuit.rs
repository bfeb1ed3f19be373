use std::time::{Duration, UNIX_EPOCH};

use biscuit_auth::builder::{date, fact, string};
use biscuit_auth::macros::check;
use biscuit_auth::{Algorithm, Biscuit, KeyPair, PrivateKey};
use serde::Serialize;
use uuid::Uuid;

use super::kept_key::kept_key;
use crate::domain::{Account, Timestamp, Username};
use crate::error::Error;
use crate::store::Store;
use crate::writer::Writer;

const SETTING: &str = "biscuit_root";

/// The key that signs every biscuit. It is created once and kept in the database, so that a service with its public
/// half can check any token.
pub struct RootKey(KeyPair);

/// The facts that a service learns about a user.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The id of the user, which never changes.
    pub id: Uuid,
    /// The user's tenant.
    pub tenant_name: String,
    /// When the sign-in expires, in seconds since the Unix epoch.
    pub expiry: u64,
    /// The public key: 32 bytes of Ed25519.
    pub key: Vec<u8>,
    /// The scopes of the user.
    pub scopes: Vec<String>,
    /// The biscuit, serialized.
    pub token: Vec<u8>,
    /// The username.
    pub username: String,
}

impl RootKey {
    /// Loads the key, or creates and keeps a new one.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read or kept.
    pub async fn load(store: &Store, writer: &Writer) -> Result<Self, Error> {
        let draw = || KeyPair::new().private().to_bytes().to_vec();
        let kept = kept_key(SETTING, draw, store, writer).await?;
        let key = PrivateKey::from_bytes(&kept, Algorithm::Ed25519)
            .map_err(|_| Error::Storage("the biscuit root key is damaged".to_owned()))?;
        Ok(Self(KeyPair::from(&key)))
    }

    /// Creates a biscuit with these authority facts: `user`, `tenant`, `expiry`, and `right(resource, operation)` for
    /// each scope. It checks that the `time` that the service gives is before its expiry. Without a time, or with a
    /// later one, it permits nothing.
    ///
    /// # Errors
    /// [`Error::Internal`] if the library cannot build it.
    pub fn mint(&self, username: &Username, account: &Account, expires_at: Timestamp) -> Result<Verified, Error> {
        let Account { id, tenant, scopes, .. } = account;
        let expiry = expires_at.as_secs();
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(expiry));
        let until = until.ok_or_else(|| Error::Internal("a token lasts longer than there are times".to_owned()))?;
        // Values are passed as terms, and never parsed as text. So a name or a scope cannot inject other facts.
        let mut builder = Biscuit::builder()
            .fact(fact("user", &[string(username.as_str())]))
            .and_then(|builder| builder.fact(fact("tenant", &[string(tenant.as_str())])))
            .and_then(|builder| builder.fact(fact("expiry", &[date(&until)])))
            .and_then(|builder| builder.check(check!("check if time($time), $time < {until}", until = until)))
            .map_err(failed)?;
        for scope in scopes.iter() {
            let (resource, operation) = scope.parts();
            builder = builder.fact(fact("right", &[string(resource), string(operation)])).map_err(failed)?;
        }
        Ok(Verified {
            id: *id,
            tenant_name: tenant.to_string(),
            expiry,
            key: self.0.public().to_bytes(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            token: builder.build(&self.0).and_then(|biscuit| biscuit.to_vec()).map_err(failed)?,
            username: username.to_string(),
        })
    }
}

fn failed(error: biscuit_auth::error::Token) -> Error {
    Error::Internal(error.to_string())
}
