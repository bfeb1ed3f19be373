//! Sessions: JSON, as users are.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::numbers::Decoded;
use super::stored::{self, Stored};
use crate::domain::{FormerSecret, Generation, HashKeyId, SecretHash, Session, SessionId, Timestamp, Username};

const WRONG: &str = "a session is not the JSON that was written";

/// A session, and the moment in the key of the row by which maintenance finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    pub session: Session,
    pub due_at: Timestamp,
}

/// A session as it is stored. A field that is added later must have a default.
#[derive(Serialize, Deserialize)]
struct StoredSession {
    #[serde(with = "stored")]
    username: Username,
    #[serde(with = "stored")]
    generation: Generation,
    hash_key: HashKeyId,
    #[serde(with = "stored")]
    family: SecretHash,
    #[serde(with = "stored")]
    current: SecretHash,
    #[serde(with = "stored")]
    former: Vec<FormerSecret>,
    #[serde(with = "stored")]
    created_at: Timestamp,
    #[serde(with = "stored")]
    used_at: Timestamp,
    #[serde(with = "stored")]
    expires_at: Timestamp,
    #[serde(with = "stored")]
    due_at: Timestamp,
    address: String,
    client: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub struct StoredFormer {
    #[serde(with = "stored")]
    hash: SecretHash,
    #[serde(with = "stored")]
    replaced_at: Timestamp,
}

impl Stored for FormerSecret {
    type As = StoredFormer;

    fn store(&self) -> StoredFormer {
        let Self { hash, replaced_at } = *self;
        StoredFormer { hash, replaced_at }
    }

    fn restore(StoredFormer { hash, replaced_at }: StoredFormer) -> Option<Self> {
        Some(Self { hash, replaced_at })
    }
}

impl Stored for SecretHash {
    type As = String;

    fn store(&self) -> String {
        BASE64_STANDARD.encode(self)
    }

    fn restore(text: String) -> Option<Self> {
        BASE64_STANDARD.decode(text).ok()?.try_into().ok()
    }
}

pub fn encode_session(SessionRow { session, due_at }: SessionRow) -> Vec<u8> {
    let Session { username, generation, hash_key, family, current, former, .. } = session;
    let Session { created_at, used_at, expires_at, address, client, .. } = session;
    let stored = StoredSession {
        username,
        generation,
        hash_key,
        family,
        current,
        former,
        created_at,
        used_at,
        expires_at,
        due_at,
        address,
        client,
    };
    // Strings and numbers always serialize.
    serde_json::to_vec(&stored).unwrap_or_default()
}

pub fn decode_session(value: &[u8]) -> Decoded<SessionRow> {
    let stored: StoredSession = serde_json::from_slice(value).map_err(|_| WRONG)?;
    let StoredSession { username, generation, hash_key, family, current, former, .. } = stored;
    let StoredSession { created_at, used_at, expires_at, due_at, address, client, .. } = stored;
    let session = Session {
        username,
        generation,
        hash_key,
        family,
        current,
        former,
        created_at,
        used_at,
        expires_at,
        address,
        client,
    };
    Ok(SessionRow { session, due_at })
}

/// The generation of a user, and the sessions that they have in it: eight bytes each.
pub fn encode_sessions_of(generation: Generation, sessions: &[SessionId]) -> Vec<u8> {
    let numbers = std::iter::once(generation.0).chain(sessions.iter().map(|id| id.get()));
    numbers.flat_map(u64::to_be_bytes).collect()
}

pub fn decode_sessions_of(value: &[u8]) -> Decoded<(Generation, Vec<SessionId>)> {
    const WRONG: &str = "the sessions of a user are not what was written";
    let (numbers, rest) = value.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|number| u64::from_be_bytes(*number));
    let generation = numbers.next().filter(|_| rest.is_empty()).ok_or(WRONG)?;
    let sessions = numbers.map(|number| SessionId::new(number).ok_or(WRONG)).collect::<Result<_, _>>()?;
    Ok((Generation(generation), sessions))
}
