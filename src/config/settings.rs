//! Flags that are used as they are given. The part of the server that a group is for is handed the whole group where it can be, so
//! that another flag in it needs nothing but the place where it is used.

use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{ArgAction, Args, value_parser};

use crate::domain::{DEFAULT_EVENT_BYTES, Erase, MAX_EVENT_BYTES, Quotas, is_blank};

/// Settings of sign-ins.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct SignIns {
    /// Seconds that a sign-in lasts, from 1 to 3153600000 (100 years).
    #[arg(long, env = "BROKER_JWT_EXPIRY", default_value = "86400", value_parser = value_parser!(u64).range(1..=3_153_600_000).map(Duration::from_secs))]
    pub jwt_expiry: Duration,
    /// Seconds that the access token of a session lasts, from 1 to 86400 (a day).
    #[arg(long, env = "BROKER_ACCESS_EXPIRY", default_value = "900", value_parser = value_parser!(u64).range(1..=86_400).map(Duration::from_secs))]
    pub access_expiry: Duration,
    /// Seconds after its last refresh that a session ends, from 1 to 3153600000 (100 years).
    #[arg(long, env = "BROKER_REFRESH_EXPIRY", default_value = "2592000", value_parser = value_parser!(u64).range(1..=3_153_600_000).map(Duration::from_secs))]
    pub refresh_expiry: Duration,
    /// Audience (`aud`) of JWTs, 1 to 256 bytes; their scopes are in `scope` then [default: none, and `aud` has the
    /// scopes].
    #[arg(long, env = "BROKER_JWT_AUDIENCE", value_parser = audience)]
    pub jwt_audience: Option<String>,
}

/// Settings of passwords.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct Passwords {
    /// Characters that a new password must have.
    #[arg(long, env = "BROKER_PASSWORD_MIN", default_value_t = 8, value_parser = value_parser!(u8).range(1..=64).map(usize::from))]
    pub password_min: usize,
    /// Refuse new passwords that are common, or that zxcvbn scores below 3.
    #[arg(long, env = "BROKER_PASSWORD_CHECKER", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub password_checker: bool,
    /// Seconds that a password reset code lasts.
    #[arg(long, env = "BROKER_TOTP_DURATION", default_value = "300", value_parser = value_parser!(u64).range(1..=86_400).map(Duration::from_secs))]
    pub totp_duration: Duration,
}

/// What becomes of a user who is deleted.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct Deletions {
    /// Seconds for which nobody gets the name of a deleted user.
    #[arg(long, env = "BROKER_NAME_QUARANTINE", default_value = "2592000", value_parser = value_parser!(u64).range(..=3_153_600_000).map(Duration::from_secs))]
    pub name_quarantine: Duration,
    /// What happens to the events that a deleted user inserted: remove, or anonymise to put another name in the place of theirs.
    #[arg(long, env = "BROKER_ERASE", default_value = "anonymise", value_parser = erase)]
    pub erase: Erase,
}

/// Limits of inserts and streams.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct Limits {
    /// Streams that a user may have open; one more ends the oldest. 0 is no limit.
    #[arg(long, env = "BROKER_STREAMS_PER_USER", default_value_t = 0)]
    pub streams_per_user: u32,
    /// Bytes that an event may have, name and data together.
    #[arg(long, env = "BROKER_MAX_EVENT_BYTES", default_value_t = DEFAULT_EVENT_BYTES, value_parser = value_parser!(u64).range(1..=MAX_EVENT_BYTES as u64).map(|bytes| bytes as usize))]
    pub max_event_bytes: usize,
    /// Event names that a tenant may have.
    #[arg(long, env = "BROKER_MAX_NAMES", default_value_t = 100_000, value_parser = value_parser!(u64).range(1..))]
    pub max_names: u64,
    /// Events of a user that may be bound to streams (while_connected).
    #[arg(long, env = "BROKER_MAX_WHILE_CONNECTED", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..))]
    pub max_while_connected: u64,
    /// Idempotency keys that are remembered per user. The oldest are forgotten first.
    #[arg(long, env = "BROKER_MAX_IDEMPOTENCY_KEYS", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..))]
    pub max_idempotency_keys: u64,
    /// Events that a user may insert in a second; 0 is no limit.
    #[arg(long, env = "BROKER_INSERT_RATE", default_value_t = 0)]
    pub insert_rate: u32,
    /// Events that all users of a tenant together may insert in a second; 0 is no limit.
    #[arg(long, env = "BROKER_TENANT_INSERT_RATE", default_value_t = 0)]
    pub tenant_insert_rate: u32,
}

impl Limits {
    /// Limits of what inserts leave in the database.
    pub fn quotas(&self) -> Quotas {
        Quotas { names: self.max_names, bound: self.max_while_connected, keys: self.max_idempotency_keys }
    }
}

/// Settings of retention.
#[derive(Args, Clone, Debug)]
#[command(rename_all = "snake_case")]
pub struct Retained {
    /// Seconds for which every insert is kept in exact order; 0 keeps the latest of each name only.
    #[arg(long, env = "BROKER_RETAIN_FOR", default_value = "86400", value_parser = value_parser!(u64).range(..=3_153_600_000).map(Duration::from_secs))]
    pub retain_for: Duration,
    /// Inserts of each tenant that are kept in exact order; 0 keeps the latest of each name only.
    #[arg(long, env = "BROKER_RETAIN_EVENTS", default_value_t = 100_000, value_parser = value_parser!(u64).range(..=1_000_000_000).map(|events| events as usize))]
    pub retain_events: usize,
}

/// What happens to the events of a deleted user.
fn erase(word: &str) -> Result<Erase, String> {
    Erase::parse(word).ok_or_else(|| "it is remove or anonymise".to_owned())
}

/// The audience of JWTs: a name or a URL (RFC 7519, section 4.1.3), short enough to be in each.
pub fn audience(text: &str) -> Result<String, String> {
    const MAX_BYTES: usize = 256;
    let is_trimmed = !text.starts_with(is_blank) && !text.ends_with(is_blank);
    let is_plain = !text.is_empty() && is_trimmed && text.len() <= MAX_BYTES && !text.chars().any(char::is_control);
    if is_plain {
        Ok(text.to_owned())
    } else {
        Err(format!("an audience has 1 to {MAX_BYTES} bytes, no blanks at its ends"))
    }
}
