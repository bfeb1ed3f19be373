//! Invites.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::numbers::Decoded;
use super::stored::{self, Stored};
use crate::domain::{Invite, Inviter, Scope, TenantName, Timestamp, Username};

/// An invite as it is stored, without the secret. A field that is added later must have a default.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Invite")]
struct StoredInvite {
    #[serde(rename = "tenant_name", with = "stored")]
    tenant: TenantName,
    #[serde(default, with = "stored")]
    scopes: Option<Vec<Scope>>,
    #[serde(with = "stored")]
    made_at: Timestamp,
    #[serde(with = "stored")]
    expires_at: Timestamp,
    uses_left: u16,
    #[serde(default, with = "stored")]
    made_by: Option<Inviter>,
}

#[derive(Serialize, Deserialize)]
pub struct StoredInviter {
    username: String,
    id: Uuid,
}

impl Stored for Inviter {
    type As = StoredInviter;

    fn store(&self) -> StoredInviter {
        StoredInviter { username: self.username.to_string(), id: self.id }
    }

    fn restore(stored: StoredInviter) -> Option<Self> {
        Some(Self { username: Username::parse(&stored.username).ok()?, id: stored.id })
    }
}

pub fn encode_invite(invite: &Invite) -> Vec<u8> {
    let mut value = Vec::new();
    // Strings and numbers always serialize.
    let _ = StoredInvite::serialize(invite, &mut serde_json::Serializer::new(&mut value));
    value
}

pub fn decode_invite(value: &[u8]) -> Decoded<Invite> {
    let mut json = serde_json::Deserializer::from_slice(value);
    let invite = StoredInvite::deserialize(&mut json).and_then(|invite| json.end().map(|()| invite));
    invite.map_err(|_| "an invite is not the JSON that was written")
}
