//! How values are written. A user is JSON, which an operator can read in a dump; an event, of which there are thousands
//! a second, is a header of lengths and then its text.

mod event;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::transaction::Progress;
use crate::domain::{
    Account, Email, EventName, Generation, PasswordHash, Payload, Position, ResetChallenge, Scope, Secret, TenantName,
    Timestamp, User, Username,
};

pub use event::{EventParts, StoredData, encode_event, event_parts};

type Decoded<T> = Result<T, &'static str>;

pub fn encode_position(position: Position) -> [u8; 8] {
    position.get().to_be_bytes()
}

pub fn decode_position(value: &[u8]) -> Decoded<Position> {
    let bytes = value.try_into().map_err(|_| "a position has 8 bytes")?;
    Ok(Position::new(u64::from_be_bytes(bytes)))
}

pub fn encode_moment(moment: Timestamp) -> [u8; 8] {
    moment.as_millis().to_be_bytes()
}

pub fn decode_moment(value: &[u8]) -> Decoded<Timestamp> {
    value.try_into().map(u64::from_be_bytes).map(Timestamp::from_millis).map_err(|_| "a moment has 8 bytes")
}

/// The latest event of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestRow {
    pub position: Position,
    /// The name was removed then.
    pub is_removal: bool,
    /// When it expires, where it does.
    pub expires_at: Option<Timestamp>,
    /// With which stream it goes, where it does; those that were written before this was written down lack it.
    pub stream: Option<u64>,
    /// In how many chunks its data stands; none where that stands in its row. Known here, it need not be looked up by whoever
    /// takes it away.
    pub chunks: u8,
}

impl LatestRow {
    /// One that stays.
    pub fn at(position: Position) -> Self {
        Self { position, is_removal: false, expires_at: None, stream: None, chunks: 0 }
    }
}

/// The moment of what does not expire, where something follows it.
const NEVER: u64 = u64::MAX;

/// A position, and one byte more, of 1, for a removal, or eight more for the moment at which it expires and yet eight more for the
/// stream that it goes with; and then the number of its chunks, where it has some. There are never less than two.
pub fn encode_latest(latest: LatestRow) -> Vec<u8> {
    let mut value = latest.position.get().to_be_bytes().to_vec();
    if latest.is_removal {
        value.push(1);
        return value;
    }
    if latest.expires_at.is_some() || latest.stream.is_some() {
        let moment = latest.expires_at.map_or(NEVER, Timestamp::as_millis);
        value.extend_from_slice(&moment.to_be_bytes());
        value.extend(latest.stream.into_iter().flat_map(u64::to_be_bytes));
    }
    if latest.chunks > 0 {
        value.push(latest.chunks);
    }
    value
}

pub fn decode_latest(value: &[u8]) -> Decoded<LatestRow> {
    let (position, rest) = value.split_first_chunk::<8>().ok_or("a position has 8 bytes")?;
    let latest = LatestRow::at(Position::new(u64::from_be_bytes(*position)));
    if rest == [1] {
        return Ok(LatestRow { is_removal: true, ..latest });
    }
    const WRONG: &str = "a position is followed by neither the mark of a removal nor a moment";
    let (numbers, last) = rest.as_chunks::<8>();
    let (moment, stream) = match numbers {
        [] => (NEVER, None),
        [moment] => (u64::from_be_bytes(*moment), None),
        [moment, stream] => (u64::from_be_bytes(*moment), Some(u64::from_be_bytes(*stream))),
        _ => return Err(WRONG),
    };
    let chunks = match last {
        [] => 0,
        [chunks] if *chunks > 1 => *chunks,
        _ => return Err(WRONG),
    };
    let expires_at = (moment != NEVER).then(|| Timestamp::from_millis(moment));
    Ok(LatestRow { expires_at, stream, chunks, ..latest })
}

/// A number of names, or of other things.
pub fn encode_count(count: u64) -> Vec<u8> {
    count.to_be_bytes().to_vec()
}

pub fn decode_count(value: &[u8]) -> Decoded<u64> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| "a number has 8 bytes")
}

pub fn encode_progress(progress: Progress) -> [u8; 16] {
    let number = u128::from(progress.head.get()) << 64 | u128::from(progress.commits);
    number.to_be_bytes()
}

pub fn decode_progress(value: &[u8]) -> Decoded<Progress> {
    let bytes = value.try_into().map_err(|_| "progress has 16 bytes")?;
    let number = u128::from_be_bytes(bytes);
    Ok(Progress { head: Position::new((number >> 64) as u64), commits: number as u64 })
}

/// Who inserted what expires: length of the username (2 bytes), username, name.
pub fn encode_expiry(username: &Username, name: &EventName) -> Vec<u8> {
    let (username, name) = (username.as_str().as_bytes(), name.as_str().as_bytes());
    [&(username.len() as u16).to_be_bytes(), username, name].concat()
}

pub fn decode_expiry(value: &[u8]) -> Decoded<(Username, EventName)> {
    const WRONG: &str = "an expiry is not what was written";
    let (length, rest) = value.split_first_chunk::<2>().ok_or(WRONG)?;
    let (username, name) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(WRONG)?;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| WRONG);
    let username = Username::parse(text(username)?).map_err(|_| WRONG)?;
    Ok((username, EventName::parse(text(name)?).map_err(|_| WRONG)?))
}

/// Where what goes with a stream stands (8 bytes), and who inserted it.
pub fn encode_bound(position: Position, username: &Username) -> Vec<u8> {
    [&encode_position(position)[..], username.as_str().as_bytes()].concat()
}

pub fn decode_bound(value: &[u8]) -> Decoded<(Position, Username)> {
    const WRONG: &str = "what goes with a stream is not what was written";
    let (position, username) = value.split_first_chunk::<8>().ok_or(WRONG)?;
    let username = std::str::from_utf8(username).map_err(|_| WRONG)?;
    Ok((Position::new(u64::from_be_bytes(*position)), Username::parse(username).map_err(|_| WRONG)?))
}

/// Which of a user's idempotency keys is the oldest that may be remembered (8 bytes), and how many they have used.
pub fn encode_turns(oldest: u64, used: u64) -> Vec<u8> {
    [oldest, used].map(u64::to_be_bytes).concat()
}

pub fn decode_turns(value: &[u8]) -> Decoded<(u64, u64)> {
    let ([oldest, used], []) = value.as_chunks::<8>() else { return Err("turns have 16 bytes") };
    Ok((u64::from_be_bytes(*oldest), u64::from_be_bytes(*used)))
}

/// What an insert with an idempotency key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// From then on it is forgotten.
    pub until: Timestamp,
    /// Of what was asked.
    pub fingerprint: [u8; 32],
    /// The position of the first event; the others follow it.
    pub first: Position,
    /// How many they are.
    pub count: u64,
    /// When.
    pub timestamp: Timestamp,
    /// Which of its user's it is, and in which tenant that was. Those of before this was written down lack it.
    pub place: Option<(u64, TenantName)>,
}

/// What an answer begins with, and its fingerprint is made by (`events::Insert`). One of before there were versions, which is
/// made in the same way, has [`UNVERSIONED_ANSWER_BYTES`] and no such byte.
const ANSWER_VERSION: u8 = 1;
/// A fingerprint and four numbers.
const UNVERSIONED_ANSWER_BYTES: usize = 64;

pub fn encode_answered(answered: &Answered) -> Vec<u8> {
    let numbers = [answered.until.as_millis(), answered.first.get(), answered.count, answered.timestamp.as_millis()];
    let mut value = [&answered.fingerprint[..], numbers.map(u64::to_be_bytes).as_flattened()].concat();
    if let Some((number, tenant)) = &answered.place {
        value.insert(0, ANSWER_VERSION);
        value.extend_from_slice(&number.to_be_bytes());
        value.extend_from_slice(tenant.as_str().as_bytes());
    }
    value
}

pub fn decode_answered(value: &[u8]) -> Decoded<Answered> {
    const WRONG: &str = "an answer is not what was written";
    let is_versioned = value.len() != UNVERSIONED_ANSWER_BYTES;
    let value = if is_versioned { value.strip_prefix(&[ANSWER_VERSION]).ok_or(WRONG)? } else { value };
    let (fingerprint, rest) = value.split_first_chunk::<32>().ok_or(WRONG)?;
    let (numbers, rest) = rest.split_first_chunk::<32>().ok_or(WRONG)?;
    let ([until, first, count, timestamp], []) = numbers.as_chunks::<8>() else { return Err(WRONG) };
    let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
    let place = if is_versioned {
        let (of_user, tenant) = rest.split_first_chunk::<8>().ok_or(WRONG)?;
        let tenant = std::str::from_utf8(tenant).map_err(|_| WRONG)?;
        Some((number(of_user), TenantName::parse(tenant).map_err(|_| WRONG)?))
    } else {
        None
    };
    Ok(Answered {
        until: Timestamp::from_millis(number(until)),
        fingerprint: *fingerprint,
        first: Position::new(number(first)),
        count: number(count),
        timestamp: Timestamp::from_millis(number(timestamp)),
        place,
    })
}

/// A user as it is kept. A field that is added later must have a default.
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
    /// JSON as text, so that it comes back byte for byte.
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

/// How long the hash of a password may come to be; today's are 97 bytes.
const MAX_HASH_BYTES: usize = 128;

/// How large a user can become unless an admin gives them more: with all that the server writes as long as it can be.
pub fn user_bytes_at_most(user: &User) -> usize {
    let hash_bytes = user.password_hash.expose().len().max(MAX_HASH_BYTES);
    let largest = User {
        tenant_since: Position::new(u64::MAX),
        scopes_since: Position::new(u64::MAX),
        password_hash: PasswordHash::new("x".repeat(hash_bytes)),
        generation: Generation(u64::MAX),
        // The longer word, here and for the next: neither switch may fail for want of a byte.
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
        // The list of throw-away providers grows; an address that was good when it was given stays.
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

/// The part of a user that is asked for at every door. The rest is passed over.
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

#[cfg(test)]
mod tests;
