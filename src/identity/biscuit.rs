use biscuit_auth::builder::{fact, string};
use biscuit_auth::{Algorithm, Biscuit, KeyPair, PrivateKey};
use serde::Serialize;

use crate::domain::{Scope, Username};
use crate::error::Error;
use crate::store::Store;
use crate::writer::{Batch, Change, Writer};

const SETTING: &str = "biscuit_root";

/// The key that signs every biscuit. Made once and kept in the database, so that a service that knows its public half can
/// check any token.
pub struct RootKey(KeyPair);

/// What a service gets to know of somebody.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// When the proof expires, in seconds since the Unix epoch.
    pub expiry: u64,
    /// The public key: 32 bytes of Ed25519.
    pub key: Vec<u8>,
    /// The rights.
    pub scopes: Vec<String>,
    /// The biscuit, serialized.
    pub token: Vec<u8>,
    /// Who.
    pub username: String,
}

struct KeepKey(Vec<u8>);

impl Change for KeepKey {
    type Outcome = ();

    fn decide(self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.put_setting(SETTING, self.0);
        Ok(())
    }
}

impl RootKey {
    /// The kept key, or a new one that is kept from now on.
    ///
    /// # Errors
    /// [`Error::Storage`] where it cannot be read or kept.
    pub async fn load(store: &Store, writer: &Writer) -> Result<Self, Error> {
        if let Some(kept) = store.setting(SETTING)? {
            let key = PrivateKey::from_bytes(&kept, Algorithm::Ed25519)
                .map_err(|_| Error::Storage("the biscuit root key is damaged".to_owned()))?;
            return Ok(Self(KeyPair::from(&key)));
        }
        let pair = KeyPair::new();
        writer.submit(KeepKey(pair.private().to_bytes().to_vec())).await?;
        Ok(Self(pair))
    }

    /// A biscuit with one authority fact `right(resource, operation)` a scope.
    ///
    /// # Errors
    /// [`Error::Internal`], where the library cannot build it.
    pub fn mint(&self, username: &Username, scopes: &[Scope], expiry: u64) -> Result<Verified, Error> {
        let mut builder = Biscuit::builder();
        for scope in scopes {
            let (resource, operation) = scope.parts();
            // Terms, never text that is parsed: a scope cannot say anything else than itself.
            builder = builder.fact(fact("right", &[string(resource), string(operation)])).map_err(failed)?;
        }
        Ok(Verified {
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
