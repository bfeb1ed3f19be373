//! What is to be erased of a deleted user.

use serde::{Deserialize, Serialize};

use super::numbers::Decoded;
use crate::domain::{Erase, Erasure, Position, TenantName, Username};

/// An erasure as it is stored. A field that is added later must have a default.
#[derive(Serialize, Deserialize)]
struct StoredErasure {
    username: String,
    stand_in: String,
    erase: String,
    tenant: Option<String>,
    until: u64,
}

pub fn encode_erasure(erasure: &Erasure) -> Vec<u8> {
    let stored = StoredErasure {
        username: erasure.username.to_string(),
        stand_in: erasure.stand_in.to_string(),
        erase: erasure.erase.as_str().to_owned(),
        tenant: erasure.tenant.as_ref().map(ToString::to_string),
        until: erasure.until.get(),
    };
    // Strings and numbers always serialize.
    serde_json::to_vec(&stored).unwrap_or_default()
}

pub fn decode_erasure(value: &[u8]) -> Decoded<Erasure> {
    const WRONG: &str = "an erasure is not what was written";
    let stored: StoredErasure = serde_json::from_slice(value).map_err(|_| WRONG)?;
    Ok(Erasure {
        username: Username::parse(&stored.username).map_err(|_| WRONG)?,
        // It has a colon, which no user's name has.
        stand_in: Username::from_stored(&stored.stand_in).map_err(|_| WRONG)?,
        erase: Erase::parse(&stored.erase).ok_or(WRONG)?,
        tenant: stored.tenant.as_deref().map(TenantName::parse).transpose().map_err(|_| WRONG)?,
        until: Position::new(stored.until),
    })
}
