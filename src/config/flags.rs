//! The command line: every flag, with its variable, default and range. The doc comments of the fields are the text of
//! `--help`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};

use crate::domain::{BasePath, DEFAULT_EVENT_BYTES, MAX_EVENT_BYTES, is_blank};

/// The format of a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The default size of the journal before a checkpoint, in bytes.
const JOURNAL_BYTES: u64 = 64 << 20;
pub const DEFAULT_ADMIN_TOKEN: &str = "letmein";
pub const DEFAULT_JWT_SECRET: &str = "secret";
pub const DEFAULT_KEY_PATH: &str = "certs/private_key.pem";
pub const DEFAULT_CERT_PATH: &str = "certs/chain.pem";
pub const DEFAULT_DOMAIN: &str = "localhost";
pub const DEFAULT_ACME_DIRECTORY: &str = rustls_acme::acme::LETS_ENCRYPT_PRODUCTION_DIRECTORY;

/// A real-time backend in one binary: accounts, sign-in and live shared data over Server-Sent Events.
#[derive(Parser)]
#[command(name = "broker", version, rename_all = "snake_case", rename_all_env = "screaming_snake")]
pub struct Flags {
    /// Port for plain HTTP; 0 takes any free one.
    #[arg(long, env = "BROKER_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Port for HTTPS, with --secure.
    #[arg(long, env = "BROKER_HTTPS_PORT", default_value_t = 443)]
    pub https_port: u16,
    /// Address to listen on [default: 127.0.0.1 with default or short secrets, else 0.0.0.0].
    #[arg(long, env = "BROKER_HOST")]
    pub host: Option<IpAddr>,
    /// Origins that browsers may call from, with commas between, or *; https://*.example.com is any one label.
    #[arg(long, env = "BROKER_ORIGIN", default_value = "*")]
    pub origin: String,
    /// Reverse proxies that are trusted to tell a client's address, by x-forwarded-for or forwarded: addresses and
    /// networks such as 127.0.0.1 or 10.0.0.0/8, with commas between.
    #[arg(long, env = "BROKER_TRUSTED_PROXIES", default_value = "")]
    pub trusted_proxies: String,
    /// Path below which browsers see Broker behind a proxy, such as /api/.
    #[arg(long, env = "BROKER_BASE_PATH", default_value = "/", value_parser = BasePath::parse)]
    pub base_path: BasePath,
    /// Seconds that a sign-in lasts, from 1 to 3153600000 (100 years).
    #[arg(long, env = "BROKER_JWT_EXPIRY", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=3_153_600_000))]
    pub jwt_expiry: u64,
    /// Audience (`aud`) of JWTs, 1 to 256 bytes; their scopes are in `scope` then [default: none, and `aud` has the
    /// scopes].
    #[arg(long, env = "BROKER_JWT_AUDIENCE", value_parser = audience)]
    pub jwt_audience: Option<String>,
    /// Secret that signs JWTs. Better in a file or the environment than here, where every user of the machine sees it.
    #[arg(long, env = "BROKER_JWT_SECRET", hide_env_values = true, default_value = DEFAULT_JWT_SECRET)]
    pub jwt_secret: String,
    /// File with the secret that signs JWTs.
    #[arg(long, env = "BROKER_JWT_SECRET_FILE")]
    pub jwt_secret_file: Option<PathBuf>,
    /// Serve HTTPS instead of plain HTTP.
    #[arg(long, env = "BROKER_SECURE", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub secure: bool,
    /// With --secure: get and renew the certificate by ACME.
    #[arg(long, env = "BROKER_AUTO_CERT", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub auto_cert: bool,
    /// With --auto_cert=false: the private key, PEM.
    #[arg(long, env = "BROKER_KEY_PATH", default_value = DEFAULT_KEY_PATH)]
    pub key_path: PathBuf,
    /// With --auto_cert=false: the certificate chain, PEM.
    #[arg(long, env = "BROKER_CERT_PATH", default_value = DEFAULT_CERT_PATH)]
    pub cert_path: PathBuf,
    /// Directory where ACME keeps its account and certificates.
    #[arg(long, env = "BROKER_CERTS", default_value = "certs")]
    pub certs: PathBuf,
    /// Directory of the database.
    #[arg(long, env = "BROKER_DB", default_value = "db")]
    pub db: PathBuf,
    /// Bytes of the journal after which it is moved into the database. Until then its changes are kept in memory, too.
    #[arg(long, env = "BROKER_JOURNAL_BYTES", default_value_t = JOURNAL_BYTES, value_parser = clap::value_parser!(u64).range(65_536..=4_294_967_296))]
    pub journal_bytes: u64,
    /// Which events users may see and insert: open is all of their tenant, scopes is by pattern:get and pattern:post.
    #[arg(long, env = "BROKER_AUTHORIZE", value_enum, default_value_t = AuthorizeFlag::Open)]
    pub authorize: AuthorizeFlag,
    /// Scopes of a user that is created without any, with commas between.
    #[arg(long, env = "BROKER_DEFAULT_SCOPES", default_value = "")]
    pub default_scopes: String,
    /// Streams that a user may have open; one more ends the oldest. 0 is no limit.
    #[arg(long, env = "BROKER_STREAMS_PER_USER", default_value_t = 0)]
    pub streams_per_user: u32,
    /// Bytes that an event may have, name and data together.
    #[arg(long, env = "BROKER_MAX_EVENT_BYTES", default_value_t = DEFAULT_EVENT_BYTES as u64, value_parser = clap::value_parser!(u64).range(1..=MAX_EVENT_BYTES as u64))]
    pub max_event_bytes: u64,
    /// Event names that a tenant may have.
    #[arg(long, env = "BROKER_MAX_NAMES", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_names: u64,
    /// Events of a user that may be bound to streams (while_connected).
    #[arg(long, env = "BROKER_MAX_WHILE_CONNECTED", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_while_connected: u64,
    /// Idempotency keys that are remembered per user. The oldest are forgotten first.
    #[arg(long, env = "BROKER_MAX_IDEMPOTENCY_KEYS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_idempotency_keys: u64,
    /// Events that a user may insert in a second; 0 is no limit.
    #[arg(long, env = "BROKER_INSERT_RATE", default_value_t = 0)]
    pub insert_rate: u32,
    /// Events that all users of a tenant together may insert in a second; 0 is no limit.
    #[arg(long, env = "BROKER_TENANT_INSERT_RATE", default_value_t = 0)]
    pub tenant_insert_rate: u32,
    /// Seconds for which every insert is kept in exact order; 0 keeps the latest of each name only.
    #[arg(long, env = "BROKER_RETAIN_FOR", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(..=3_153_600_000))]
    pub retain_for: u64,
    /// Inserts of each tenant that are kept in exact order; 0 keeps the latest of each name only.
    #[arg(long, env = "BROKER_RETAIN_EVENTS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub retain_events: u64,
    /// Domain name of the certificate.
    #[arg(long, env = "BROKER_DOMAIN", default_value = DEFAULT_DOMAIN)]
    pub domain: String,
    /// ACME directory URL [default: Let's Encrypt].
    #[arg(long, env = "BROKER_ACME_DIRECTORY", default_value = DEFAULT_ACME_DIRECTORY)]
    pub acme_directory: String,
    /// PEM file with the root certificate of the ACME server itself, if it is not a public one.
    #[arg(long, env = "BROKER_ACME_CA")]
    pub acme_ca: Option<PathBuf>,
    /// Token of the admin endpoints. Better in a file or the environment than here.
    #[arg(long, env = "BROKER_ADMIN_TOKEN", hide_env_values = true, default_value = DEFAULT_ADMIN_TOKEN)]
    pub admin_token: String,
    /// File with the token of the admin endpoints.
    #[arg(long, env = "BROKER_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Characters that a new password must have.
    #[arg(long, env = "BROKER_PASSWORD_MIN", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub password_min: u8,
    /// Refuse new passwords that are common, or that zxcvbn scores below 3.
    #[arg(long, env = "BROKER_PASSWORD_CHECKER", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub password_checker: bool,
    /// Seconds that a password reset code lasts.
    #[arg(long, env = "BROKER_TOTP_DURATION", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub totp_duration: u64,
    /// NTP servers, host or host:port with commas between; empty trusts the local clock.
    #[arg(long, env = "BROKER_NTP_SERVERS", default_value = "time.cloudflare.com,time.google.com,pool.ntp.org")]
    pub ntp_servers: String,
    /// Trust the NTP servers even if they move the clock by more than a day from the local clock and the newest change
    /// in the database. For one start.
    #[arg(long, env = "BROKER_ACCEPT_CLOCK_STEP", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub accept_clock_step: bool,
    /// Format of the log.
    #[arg(long, env = "BROKER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Log level: error, warn, info, debug or trace, or a filter such as broker=debug.
    #[arg(long, env = "BROKER_LOG", default_value = "info")]
    pub log: String,
}

/// The rule that decides which events a user may see and insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthorizeFlag {
    /// All users see and insert all events of their tenant.
    Open,
    /// Scopes.
    Scopes,
}

/// The audience of JWTs: a name or a URL (RFC 7519, section 4.1.3), short enough to be in each.
fn audience(text: &str) -> Result<String, String> {
    const MAX_BYTES: usize = 256;
    let is_trimmed = !text.starts_with(is_blank) && !text.ends_with(is_blank);
    let is_plain = !text.is_empty() && is_trimmed && text.len() <= MAX_BYTES && !text.chars().any(char::is_control);
    if is_plain {
        Ok(text.to_owned())
    } else {
        Err(format!("an audience has 1 to {MAX_BYTES} bytes, no blanks at its ends"))
    }
}
