//! The command line: every flag, with its variable, default and range. The doc comments of the fields are the text of
//! `--help`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};

use super::archiving::ArchiveFlags;
use super::channels::ChannelFlags;
use super::file::File;
use super::mqtt::MqttFlags;
use super::notiflux::NotifluxFlags;
use super::settings::{Deletions, Limits, Passwords, Retained, SignIns};
use super::sign_ups::SignUpFlags;
use super::sources::{Given, Setting};
use super::values::{DEFAULT_ACME_DIRECTORY, said, secret};
use crate::domain::{BasePath, Secret};

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
pub const DEFAULT_PORT: u16 = 8080;
pub const DEFAULT_HTTPS_PORT: u16 = 443;
pub const DEFAULT_ADMIN_TOKEN: &str = "letmein";
pub const DEFAULT_JWT_SECRET: &str = "secret";
pub const DEFAULT_KEY_PATH: &str = "certs/private_key.pem";
pub const DEFAULT_CERT_PATH: &str = "certs/chain.pem";
pub const DEFAULT_CERTS: &str = "certs";
pub const DEFAULT_DOMAIN: &str = "localhost";

/// A real-time backend in one binary: accounts, sign-in and live shared data over Server-Sent Events.
#[derive(Parser)]
#[allow(missing_docs, reason = "the groups say what they are, and clap would take a comment here for their text")]
#[command(name = "broker", version, rename_all = "snake_case", rename_all_env = "screaming_snake")]
pub struct Flags {
    /// File with flags, in TOML [default: none]. A flag or a variable takes precedence over the file.
    #[arg(long, env = "BROKER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Port for plain HTTP; 0 takes any free one.
    #[arg(long, env = "BROKER_PORT", default_value_t = DEFAULT_PORT)]
    pub port: u16,
    /// Port for HTTPS, with --secure.
    #[arg(long, env = "BROKER_HTTPS_PORT", default_value_t = DEFAULT_HTTPS_PORT)]
    pub https_port: u16,
    /// Address to listen on [default: 127.0.0.1 with default or short secrets, else 0.0.0.0].
    #[arg(long, env = "BROKER_HOST")]
    pub host: Option<IpAddr>,
    /// Port for /metrics, without TLS; 0 takes any free one [default: none, and metrics are not served].
    #[arg(long, env = "BROKER_METRICS_PORT")]
    pub metrics_port: Option<u16>,
    /// Address to serve /metrics on. Whoever reaches it may read them.
    #[arg(long, env = "BROKER_METRICS_HOST", default_value = "127.0.0.1")]
    pub metrics_host: IpAddr,
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
    #[command(flatten)]
    pub sign_ins: SignIns,
    #[command(flatten)]
    pub sign_ups: SignUpFlags,
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
    #[arg(long, env = "BROKER_CERTS", default_value = DEFAULT_CERTS)]
    pub certs: PathBuf,
    /// Directory of the database.
    #[arg(long, env = "BROKER_DB", default_value = "db")]
    pub db: PathBuf,
    /// Bytes of the journal after which it is moved into the database. Until then its changes are kept in memory, too.
    #[arg(long, env = "BROKER_JOURNAL_BYTES", default_value_t = JOURNAL_BYTES, value_parser = clap::value_parser!(u64).range(65_536..=4_294_967_296))]
    pub journal_bytes: u64,
    #[command(flatten)]
    pub archiving: ArchiveFlags,
    /// Which events users may see and insert: open is all of their tenant, scopes is by pattern:get and pattern:post.
    #[arg(long, env = "BROKER_AUTHORIZE", value_enum, default_value_t = AuthorizeFlag::Open)]
    pub authorize: AuthorizeFlag,
    /// Scopes of a user that is created without any, with commas between.
    #[arg(long, env = "BROKER_DEFAULT_SCOPES", default_value = "")]
    pub default_scopes: String,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub retained: Retained,
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
    #[command(flatten)]
    pub passwords: Passwords,
    #[command(flatten)]
    pub deletions: Deletions,
    #[command(flatten)]
    pub notiflux: NotifluxFlags,
    #[command(flatten)]
    pub channels: ChannelFlags,
    #[command(flatten)]
    pub mqtt: MqttFlags,
    /// NTP servers, host or host:port with commas between; empty trusts the local clock.
    #[arg(long, env = "BROKER_NTP_SERVERS", default_value = "time.cloudflare.com,time.google.com,pool.ntp.org")]
    pub ntp_servers: String,
    /// Trust the NTP servers even if they move the clock by more than a day from the local clock and the newest change
    /// in the database. For one start.
    #[arg(long, env = "BROKER_ACCEPT_CLOCK_STEP", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub accept_clock_step: bool,
    /// Seconds from the wish that the server stops to its end, in which clients are sent elsewhere and streams end one after the other;
    /// 0 ends them at once.
    #[arg(long, env = "BROKER_DRAIN_FOR", default_value = "0", value_parser = clap::value_parser!(u64).range(..=3600).map(Duration::from_secs))]
    pub drain_for: Duration,
    /// Format of the log.
    #[arg(long, env = "BROKER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Log level: error, warn, info, debug or trace, or a filter such as broker=debug.
    #[arg(long, env = "BROKER_LOG", default_value = "info")]
    pub log: String,
    #[arg(skip)]
    pub settings: Vec<Setting>,
    #[arg(skip)]
    pub file: Option<File>,
}

impl Flags {
    /// Reads a command line of flags alone, the variables and the configuration file.
    ///
    /// # Errors
    /// A text that says what to change.
    pub fn read(
        args: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let matches = Self::command().try_get_matches_from(args).map_err(|error| said(&error))?;
        Self::of_matches(&matches, variable)
    }

    /// Takes what clap has read, the variables `BROKER_…` among it; then the configuration file, and the variables of the programs whose
    /// place Broker can take.
    ///
    /// All of it is one command line in the end, so that every value is checked by the same rules wherever it is from.
    ///
    /// # Errors
    /// A text that says what to change.
    pub fn of_matches(matches: &ArgMatches, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let command = Self::command();
        let file = matches.get_one::<PathBuf>("config").map(|path| File::read(path, &command)).transpose()?;
        let given: Vec<_> = command.get_arguments().map(|flag| Given::of(flag, matches, file.as_ref())).collect();
        let args = std::iter::once("broker".into()).chain(given.iter().filter_map(Given::as_flag));
        let matches = Self::command().try_get_matches_from(args).map_err(|error| said(&error))?;
        let mut flags = Self::from_arg_matches(&matches).map_err(|error| said(&error))?;
        let (host, port) = flags.notiflux.address(&variable)?;
        flags.mqtt.take_variables(&variable);
        flags.host = flags.host.or(host);
        if matches.value_source("port") == Some(ValueSource::DefaultValue) {
            flags.port = port.unwrap_or(flags.port);
        }
        flags.settings = given.into_iter().map(Given::into).collect();
        flags.file = file;
        Ok(flags)
    }

    /// The token of the admin endpoints, from its flag or its file.
    ///
    /// # Errors
    /// A text that says what to change.
    pub fn admin_token(&self) -> Result<Secret, String> {
        secret("admin_token", self.admin_token.clone(), DEFAULT_ADMIN_TOKEN, self.admin_token_file.as_deref())
    }
}

/// The rule that decides which events a user may see and insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuthorizeFlag {
    /// All users see and insert all events of their tenant.
    Open,
    /// Scopes.
    Scopes,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use clap::{Arg, CommandFactory};

    use super::*;

    /// A flag as the page writes it: name, variable and default, each in backticks, or nothing.
    type Row = [String; 3];

    #[test]
    fn the_page_on_configuration_lists_every_flag_with_its_variable_and_default_and_no_other() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let page = std::fs::read_to_string(page).unwrap();
        let documented: Vec<_> = page.lines().filter_map(row_of_line).collect();
        let flags: BTreeSet<_> = Flags::command().get_arguments().map(row_of_flag).collect();
        assert_eq!(documented.iter().cloned().collect::<BTreeSet<_>>(), flags);
        assert_eq!(documented.len(), flags.len(), "a flag is listed twice");
    }

    /// A line of a table of flags, such as "| `--port` | `BROKER_PORT` | `8080` | …".
    fn row_of_line(line: &str) -> Option<Row> {
        let mut cells = line.strip_prefix("| `--")?.split('|').map(|cell| cell.trim().to_owned());
        Some([format!("`--{}", cells.next()?), cells.next()?, cells.next()?])
    }

    fn row_of_flag(flag: &Arg) -> Row {
        let quoted = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let [variable, default] = [flag.get_env(), flag.get_default_values().first().map(|value| value.as_os_str())]
            .map(|text| text.unwrap_or_default().to_str().unwrap().to_owned());
        [quoted(&format!("--{}", flag.get_long().unwrap())), quoted(&variable), quoted(&default)]
    }

    #[test]
    fn help_says_what_broker_is_whatever_groups_its_flags_come_in() {
        let about = Flags::command().get_about().map(ToString::to_string);
        assert_eq!(about.unwrap().split(':').next(), Some("A real-time backend in one binary"));
    }
}
